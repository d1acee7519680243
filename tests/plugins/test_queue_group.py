"""Groups of devices through the command line: runs, scripts, nested runs, and devices out of service."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from k1ctl.config import load, parse_text
from k1ctl.errors import ConfigError, UsageError
from k1ctl.queue import choice, names, service
from tests.kit import Project

DEVICES = """
[devices.k1]
groups = ["desk"]
[devices.k2]
groups = ["desk", "wide"]
[devices.k3]
groups = ["wide"]
[queue.slots]
"device:k3" = 2
"""
TELL = ("sh", "-c", "echo got $K1CTL_DEVICE $K1CTL_DEFAULTS_DEVICE")
K1CTL = f"{sys.executable} -m k1ctl"


@pytest.fixture
def project(workspace: Project) -> Project:
    workspace.configure(DEVICES)
    return workspace


def out(project: Project, *devices: str) -> None:
    for device in devices:
        service.disable(str(project.ops / "queue"), device, "a test", "a test")


def test_a_group_is_a_resource(project: Project) -> None:
    """The command is told which device it has, its default from then on; record, events and history name that alone."""
    out(project, "k1")
    done = project.run("queue", "run", "device:desk", "--", *TELL).assert_ok()
    assert (done.stdout, done.stderr) == ("got k2 k2\n", "k1ctl: the device is k2\n")
    assert project.run("queue", "run", "device:k2", "--", *TELL).assert_ok().stdout == "got\n"
    for event in ("queue.granted", "run.ended"):
        assert len(project.events(event)) == 2
    assert project.events("queue.granted")[0]["resources"] == {"device:k2": 1}
    [second, first] = project.run("queue", "history", "--json").assert_ok().json["runs"]
    assert first["resources"] == second["resources"] == {"device:k2": 1}
    assert (project.ops / "queue" / "history" / "device:k2").read_text().count("\n") == 2


def test_a_group_of_one_device_is_a_group(project: Project) -> None:
    """Also where but one device is left to choose from, command, record and script are told which it is."""
    done = project.run("queue", "run", "device:any", "device:k1", "device:k2", "--", *TELL).assert_ok()
    assert (done.stdout, done.stderr) == ("got k3 k3\n", "k1ctl: the device is k3\n")
    [run] = (project.ops / "runs").glob("*/run.json")
    assert json.loads(run.read_text())["device"] == "k3"
    text = f"""path=$({K1CTL} queue ticket device:desk device:k2) || exit; exec 9<>"$path"
        {K1CTL} queue acquire --fd 9"""
    assert subprocess.check_output(["sh", "-c", text], cwd=project.root, text=True) == "k1\n"


def test_a_script_takes_one_of_a_group(project: Project) -> None:
    """`acquire` prints which device it is, also when it is called again; the lease is that device's."""
    out(project, "k1", "k2")
    text = f"""path=$({K1CTL} queue ticket device:any) || exit; exec 9<>"$path"
        {K1CTL} queue acquire --fd 9 && {K1CTL} queue acquire --fd 9 --json && ls ops/queue/tickets"""
    done = subprocess.run(["sh", "-c", text], cwd=project.root, stdout=subprocess.PIPE, text=True, check=True)
    first, again, *tickets = done.stdout.splitlines()
    told: dict[str, Any] = json.loads(again)
    assert (first, told["device"], told["resources"]) == ("k3", "k3", {"device:k3": 1})
    assert [t for t in tickets if t.endswith(".device:k3=1") and t.startswith("r")] and not any(
        "~" in t for t in tickets
    )


def test_a_lease_around_is_one_of_the_group(project: Project) -> None:
    """A run inside a lease on a device of the group has it already; inside another it may not wait for one."""
    inner = [*K1CTL.split(), "queue", "run", "device:desk", "--", *TELL]
    assert project.run("queue", "run", "device:k2", "--", *inner).assert_ok().stdout == "got k2 k2\n"
    assert [r["resources"] for r in project.run("queue", "history", "--json").json["runs"]] == [{"device:k2": 1}] * 2
    project.run("queue", "run", "device:k3", "--", *inner).assert_fails(2, "could wait for each other")


def test_a_submitted_run_has_no_device_of_its_callers(project: Project) -> None:
    """It has no share in the lease around the call, so it is not told of that lease's device either."""
    text = f"{K1CTL} queue wait $({K1CTL} queue submit device:k3 -- {TELL[0]} {TELL[1]} '{TELL[2]}')"
    out(project, "k1")
    done = project.run("queue", "run", "device:desk", "--", "sh", "-c", text).assert_ok()
    assert done.stdout == "got\n"


def test_enable_and_disable(project: Project) -> None:
    """Told by queue list and the events, undone by enable alone; what cannot be is refused in a line."""
    disable, cable = ("device", "disable", "k1"), ("--reason", "the cable\nis out")
    dry = project.run(*disable, *cable, "--dry-run", "--json").assert_ok().json
    assert (dry["changed"], dry["reason"], dry["since"]) == (True, "the cable is out", None)
    assert project.run("queue", "list", "--json").json["out_of_service"] == {}
    done = project.run(*disable, *cable, "--json").assert_ok().json
    told = project.run("queue", "list", "--json").assert_ok().json["out_of_service"]["k1"]
    assert told == {key: done[key] for key in ("reason", "by", "since")}
    assert "device:k1 is out of service: the cable is out (" in project.run("queue", "list").assert_ok().stderr
    assert "was already out of service: lent ?[31m;" in project.run(*disable, "--reason", "lent \x1b[31m").stderr
    assert "out of service: lent ?[31m (" in project.run("queue", "list").assert_ok().stderr
    assert "device enable k1" in project.run("queue", "resume", "device:k1").assert_ok().stderr
    project.run("queue", "run", "device:k1", "--wait", "0s", "--", "true").assert_fails(75, "out of service: lent ?")
    assert project.run("device", "enable", "k1", "--json").assert_ok().json["was"]["reason"] == "lent \x1b[31m"
    assert [e["device"] for kind in ("disabled", "enabled") for e in project.events(f"device.{kind}")] == ["k1", "k1"]
    project.run("device", "disable", "k9", *cable).assert_fails(78, "no device 'k9'")
    project.run("device", "enable", "k9").assert_fails(78, "no device 'k9'")
    project.run(*disable, "--reason", " ").assert_fails(2, "say why")
    project.run("queue", "pause", "device:desk").assert_fails(2, "a group of devices: k1, k2", "queue pause device:k1")


def test_what_a_word_stands_for(project: Project) -> None:
    """A device for itself, a group and any for theirs, in the order of the file; what has too few slots is left out."""
    config = load(project.facts())

    def settled(*words: str) -> dict[str, int]:
        return choice.settled(names.parse_needs(words), config)

    assert settled("device:k1", "build:fw=2", "console:any") == {"device:k1": 1, "build:fw": 2, "console:any": 1}
    assert settled("device:desk") == {"device:k1~k2": 1}
    assert settled("device:any") == {"device:k1~k2~k3": 1}
    assert settled("device:any=2") == {"device:k3": 2}
    assert settled("device:any", "device:k2") == {"device:k1~k3": 1, "device:k2": 1}
    assert settled("device:shelf") == {"device:shelf": 1}, "no group: a resource like any other"
    assert settled(*settled("device:shelf")) == {"device:shelf": 1}
    for words in (("device:desk", "device:wide"), ("device:desk", "device:k1", "device:k2")):
        with pytest.raises(UsageError):
            settled(*words)
    with pytest.raises(UsageError):
        names.parse_needs(["device:k1~k2"])
    with pytest.raises(UsageError, match="device:k2 or device:k3 has 2 slots, 3 were") as refused:
        names.check_slots(settled("device:wide=3"), config.slots)
    assert '"device:k2" = 3 in' in refused.value.hint
    project.configure('[devices."a,b"]\n[devices."x/y"]\n[devices.k2]\n')
    config = load(project.facts())
    assert settled("device:any") == {"device:k2": 1}, "nobody can stand in line for the others"
    project.configure('[devices."a,b"]\n')
    with pytest.raises(UsageError, match="'device:a,b' is not a resource name"):
        choice.settled({"device:any": 1}, load(project.facts()))
    project.configure("")
    with pytest.raises(ConfigError, match="no device is configured"):
        choice.settled({"device:any": 1}, load(project.facts()))


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("[devices.any]\n", 1, "any is the group of all devices"),
        ('[devices.any]\nhost = "x"\n', 2, "any is the group of all devices"),
        ('[devices.k1]\ngroups = ["any"]\n', 2, "any is the group of all devices"),
        ('[devices.k1]\ngroups = ["desk", "k2"]\n[devices.k2]\n', 2, "k2 is a device"),
        ('[devices.k1]\ngroups = ["a~b"]\n', 2, "'device:a~b' is not a resource name"),
        ('[devices.k1]\ngroups = "desk"\n', 2, "a list of texts"),
    ],
)
def test_a_word_means_one_thing(text: str, line: int, why: str) -> None:
    """A configuration in which a group could be taken for a device is refused, with the line."""
    with pytest.raises(ConfigError, match=f"^k1ctl.toml:{line}: .*{why}"):
        parse_text(text, "k1ctl.toml")
