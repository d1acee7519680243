"""`k1ctl sim` runs a device that other commands can use, and knows whether it runs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.device.ota import send
from k1ctl.device.probe import check_identity, probe
from k1ctl.simulator import daemon
from k1ctl.units import parse_rfc3339
from tests.kit import REPOSITORY, Project, finish, wait_until


@pytest.fixture
def project(workspace: Project) -> Iterator[Project]:
    yield workspace
    daemon.stop(str(workspace.ops / "device" / "sim-k1"))


def test_start_status_stop(project: Project) -> None:
    """It starts, tells how to configure it, is found by status, takes a flash, and stops."""
    assert project.run("sim", "status").exit_code == 1
    started = project.run("sim", "start", "--json").assert_ok().json
    assert started["started"] is True
    project.configure(started["toml"])
    from k1ctl.config import load

    device = load(project.facts(), {}).named("devices", "k1")
    check_identity(probe(device), device)
    image = b"\xe9" + bytes(5000)
    assert send("127.0.0.1", device["ota_port"], image).outcome == "installed"
    status = project.run("sim", "status", "--json").assert_ok().json
    assert status["running"] and [f["outcome"] for f in status["flashes"]] == ["installed"]
    assert (project.ops / "device" / "sim-k1" / "image.bin").read_bytes() == image
    assert project.run("sim", "stop", "--json").assert_ok().json["stopped"] is True
    assert project.run("sim", "status", "--json").json["running"] is False
    assert project.run("sim", "stop", "--json").assert_ok().json["stopped"] is False


def test_start_is_idempotent(project: Project) -> None:
    """A second start leaves the first one as it is and says so; also when both come at once."""
    both = [project.popen("sim", "start", "--json") for _ in range(3)]
    said = [process.communicate()[0] for process in both]
    assert [finish(process) for process in both] == [0, 0, 0]
    assert sum('"started":true' in text for text in said) == 1
    again = project.run("sim", "start").assert_ok()
    assert "was running already" in again.stderr
    assert tomllib.loads(again.stdout)["devices"]["k1"]["host"] == "127.0.0.1"


def test_names_are_separate(project: Project) -> None:
    """Two names are two devices at once: ports, MACs, host names and USB ports of their own, each told as started."""
    names = ("k1", "k2")
    both = [project.run("sim", "start", "--name", name, "--usb", "--mdns", "--json").json for name in names]
    try:
        for key in ("ota_port", "http_port", "mac", "mdns", "usb_port"):
            assert len({told[key] for told in both}) == 2, key
        assert [told["mac"] for told in both][:1] == ["02:4B:31:00:00:01"]
        assert [told["mdns"] for told in both] == ["k1-reinvented", "k1-reinvented-k2"]
        assert len({os.path.realpath(told["usb_port"]) for told in both}) == 2
        project.configure("".join(told["toml"] for told in both))
        rows = project.run("device", "list", "--json").assert_ok().json["devices"]
        assert [(row["state"], row["usb_port"]) for row in rows] == [("online", told["usb_port"]) for told in both]
        again = project.run("sim", "start", "--name", "k2", "--mdns", "--json").assert_ok().json
        assert again["started"] is False and again["mac"] == both[1]["mac"]
        project.run("sim", "start", "--name", "k2", "--mac", both[0]["mac"]).assert_fails(75, "mac")
    finally:
        project.run("sim", "stop", "--name", "k2").assert_ok()
    project.run("sim", "status", "--name", "k1").assert_ok()


def test_a_killed_one_counts_as_stopped(project: Project) -> None:
    """After kill -9 it does not run, whatever its state file says, and can be started again."""
    pid = project.run("sim", "start", "--json").json["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: project.run("sim", "status").exit_code == 1)
    assert project.run("sim", "start", "--json").assert_ok().json["started"] is True


def test_a_wiped_folder_is_taken_up_again(project: Project) -> None:
    """After `git clean` in the root it is still found, also by its serial port's name, and can be stopped."""
    told = project.run("sim", "start", "--usb", "--json").json
    shutil.rmtree(project.ops)
    wait_until(lambda: project.run("sim", "status", "--json").json.get("pid") == told["pid"])
    wait_until(Path(told["usb_port"]).exists)
    assert project.run("sim", "stop", "--json").json["stopped"] is True


def test_other_options_are_refused_while_it_runs(project: Project) -> None:
    """It is not started anew behind its users' backs: 75, what differs, and how to go on; the same options are fine."""
    options = ["--pace", "100k", "--fault", "eof:1", "--reboot", "1s"]
    project.run("sim", "start", *options).assert_ok()
    project.run("sim", "start", *options).assert_ok()
    project.run("sim", "start").assert_ok()
    refused = project.run("sim", "start", "--fault", "refuse", "--reboot", "2s", "--json").assert_fails(75)
    assert refused.json["error"]["code"] == "sim-running"
    assert "reboot-seconds, faults" in refused.stderr and "sim stop" in refused.stderr
    project.run("sim", "start", "--fault", "nonsense").assert_fails(2)


def test_a_start_takes_the_last_ports(project: Project) -> None:
    """What was put into the configuration stays right over a stop, and over a port that somebody else has taken."""
    first = project.run("sim", "start", "--json").json
    project.run("sim", "stop").assert_ok()
    second = project.run("sim", "start", "--json").json
    assert second["toml"] == first["toml"]
    project.run("sim", "stop").assert_ok()
    with socket.socket() as other:
        other.bind(("127.0.0.1", first["http_port"]))
        other.listen()
        third = project.run("sim", "start", "--json").assert_ok().json
    assert third["ota_port"] == first["ota_port"] and third["http_port"] != first["http_port"]


def test_requests_are_counted(project: Project) -> None:
    """Status says what the device was asked on each route since its start, and what it answered."""
    started = project.run("sim", "start", "--fault", "fps=30", "--json").assert_ok().json
    project.configure(started["toml"] + "fps_min = 120\n")
    project.run("device", "health").assert_fails(1, "30 fps")
    requests = project.run("sim", "status", "--json").json["requests"]
    assert requests == {f"GET /api/{route}": {"asked": 1, "200": 1} for route in ("device/info", "health")}
    assert "2 requests, 0 of them answered 429" in project.run("sim", "status").stdout
    project.run("sim", "stop").assert_ok()
    project.run("sim", "start").assert_ok()
    assert project.run("sim", "status", "--json").json["requests"] == {}


def test_faults_are_listed(workspace: Project) -> None:
    """Every fault stands in the list with its form, and the page in docs/ has them all, too."""
    listed = workspace.run("sim", "faults", "--json").assert_ok().json["faults"]
    page = (REPOSITORY / "docs" / "simulator.md").read_text()
    for fault in listed:
        form = fault["about"].partition(":")[0]
        assert form.partition("=")[0] == fault["name"]
        assert f"`{form}`" in page
    assert "drip=BYTES" in workspace.run("sim", "faults").assert_ok().stdout


def test_times_are_told_as_text(project: Project) -> None:
    """Status gives times in RFC 3339, under names that say so, and no clock of this host."""
    project.run("sim", "start").assert_ok()
    port = project.run("sim", "status", "--json").json["ota_port"]
    send("127.0.0.1", port, b"\xe9" + bytes(500))
    status = project.run("sim", "status", "--json").assert_ok().json
    assert next(iter(status)) == "ok"
    flash = status["flashes"][0]
    times = [parse_rfc3339(t) for t in (status["started_at"], flash["started_at"], flash["ended_at"])]
    assert times == sorted(times)
    assert not {"created", "start", "end"} & {*status, *flash}
    assert "1 flash," in project.run("sim", "status").stdout


@pytest.mark.parametrize(
    "options",
    [["--fault", "nonsense"], ["--pace", "fast"], ["--reboot", "soon"], ["--name", "../x"], ["--mac", "zz"]],
)
def test_wrong_options(workspace: Project, options: list[str]) -> None:
    """A wrong option is a usage error, and nothing is started."""
    workspace.run("sim", "start", *options).assert_fails(2)
    assert not (workspace.ops / "device").exists()


def test_dry_run_starts_nothing(workspace: Project) -> None:
    """--dry-run checks the options and starts nothing."""
    workspace.run("sim", "start", "--dry-run", "--fault", "eof").assert_ok()
    assert not (workspace.ops / "device").exists()
    assert workspace.run("sim", "stop", "--dry-run", "--json").assert_ok().json["stopped"] is False


def test_a_port_in_use_is_told(project: Project, tmp_path: Path) -> None:
    """A port that somebody else has is a clear error."""
    port = project.run("sim", "start", "--json").json["ota_port"]
    failed = project.run("sim", "start", "--name", "k2", "--ota-port", str(port))
    failed.assert_fails(1, "in use")


def test_a_usb_port_is_told_and_configured(project: Project) -> None:
    """--usb: the section names the port, which stays right over a stop; a start that asks for none is the same one."""
    started = project.run("sim", "start", "--usb", "--json").assert_ok().json
    port = started["usb_port"]
    assert tomllib.loads(started["toml"])["devices"]["k1"]["usb_port"] == port and os.path.exists(port)
    assert project.run("sim", "start", "--json").assert_ok().json["usb_port"] == port
    project.run("sim", "stop").assert_ok()
    assert not os.path.lexists(port)
    assert project.run("sim", "start", "--usb", "--json").assert_ok().json["usb_port"] == port
