"""`k1ctl capacity check`, `list` and `release`: what hooks and people ask the gate."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from k1ctl.capacity import gate, histogram, promises, reservations, watched
from k1ctl.capacity.need import Need, parse
from k1ctl.config import Config, load
from k1ctl.errors import BusyError, ConfigError, K1ctlError, UsageError
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.queue.view import pause
from k1ctl.workspace import Workspace
from k1ctl_plugins.capacity.check_call import Call
from tests.kit import Project

DEFAULTS: dict[str, Any] = {
    "wait": 0.0, "reduce": False, "reserve": False, "ttl": None, "owner_pid": None, "priority": "normal",
}  # fmt: skip


def call(project: Project, need: str | None, **options: Any) -> Call:
    here = Workspace(str(project.root), str(project.root), "here", str(project.root / ".git"))
    return Call(here, load(here), need, {**DEFAULTS, **options})


def hold(project: Project, need: str) -> promises.Held:
    here = Workspace(str(project.root), str(project.root), "here", str(project.root / ".git"))
    return gate.promise(here, Config("", {}, {}), parse(need), what="ours", kind="capacity-run")


def test_look_and_reserve_on_the_command_line(workspace: Project) -> None:
    """The need or the reservation's id on stdout, the refusal with reasons, numbers and time; JSON of each."""
    asked = workspace.run("capacity", "check", "--need", "cpu=2,mem=4G,tokens=10k,disk=1M,build:fw=1").assert_ok()
    assert asked.stdout == "mem=4G,cpu=2,disk=1M,tokens=10000,build:fw=1\n" and promises.held() == []
    reserve = ("capacity", "check", "--need", "mem=40G", "--reserve", "--ttl", "5m")
    kept = workspace.run(*reserve, "--owner-pid", str(os.getpid())).assert_ok().stdout.strip()
    refused = workspace.run("capacity", "check", "--need", "mem=20G", "--json").assert_fails(75).json["error"]
    assert refused["code"] == "no-capacity" and 200 < refused["expected_seconds"] <= 300
    assert refused["reasons"][0]["promised"] == 40 << 30 and refused["reduced"] == "mem=14745M"
    told = workspace.run("capacity", "list").assert_ok().stdout
    assert kept in told and f"process {os.getpid()} ends" in told and "promised 40.0 GiB of 54.4 GiB" in told
    released = workspace.run("capacity", "release", kept, "--json").assert_ok().json
    assert [r["id"] for r in released["released"]] == [kept]
    workspace.run("capacity", "release", kept).assert_fails(1)


def test_a_look_promises_nothing_and_a_reservation_does(workspace: Project) -> None:
    """Two looks both go; of two reservations the second is refused, until the first is given back."""
    for _ in range(2):
        assert call(workspace, "mem=40G").look().need == parse("mem=40G")
    first = call(workspace, "mem=40G", reserve=True).reserve()
    assert first.promise is not None and first.promise.until is not None
    assert 590 < first.promise.until - time.time() <= 600
    with pytest.raises(BusyError):
        call(workspace, "mem=40G", reserve=True).reserve()
    less = call(workspace, "mem=40G", reserve=True, reduce=True).reserve()
    assert less.reduced and str(less.need) == "mem=14745M"
    assert [p.units["mem"] for p in promises.held()] == [40960, 14745]
    for each in (first, less):
        reservations.release(promises.folder(), each.id)
    call(workspace, "mem=54G", reserve=True).reserve()


def test_slots_are_those_of_the_queue(workspace: Project) -> None:
    """build:fw=1 is looked up in this repository's queue, who waits there counted; it cannot be reserved."""
    workspace.configure('[queue.slots]\n"build:fw" = 2\n')
    script = "k1ctl capacity check --need build:fw=2; test $? = 75 && k1ctl capacity check --need build:fw=1"
    assert workspace.run("queue", "run", "build:fw", "--", "sh", "-c", script).assert_ok().stdout == "build:fw=1\n"
    with pytest.raises(ConfigError, match="never fits"):
        call(workspace, "build:fw=3").look()
    with pytest.raises(UsageError, match="cannot be reserved"):
        call(workspace, "build:fw=1", reserve=True)
    with pytest.raises(UsageError, match="ended already"):
        call(workspace, "mem=1G", reserve=True, ttl=0.0)


def test_a_group_of_devices_is_any_one_of_them(workspace: Project) -> None:
    """device:any is there while one device is; who waits for a choice takes one; what is paused is said to be."""
    devices = "".join(f'[devices.{name}]\nhost = "127.0.0.1"\ngroups = ["desk"]\n' for name in ("k1", "k2"))
    workspace.configure(devices)
    folder = str(workspace.ops / "queue")
    tickets = [Ticket(Line(folder), {r: 1}, lambda _: 1) for r in ("device:k2", "device:k1~k2", "device:k1~k2")]
    assert tickets[0].enqueue() and call(workspace, "device:any").look().need == parse("device:any")
    with pytest.raises(BusyError, match=r"device:k2: 1 needed, 0 free; 1 promised of 1"):
        call(workspace, "device:k2").look()
    with pytest.raises(ConfigError, match="never fits"):
        call(workspace, "device:desk=2").look()
    assert tickets[1].enqueue() and not tickets[2].enqueue()
    with pytest.raises(BusyError, match="device:any: 1 needed, 0 free"):
        call(workspace, "device:any").look()
    for ticket in tickets:
        ticket.release()
        ticket.close()
    pause(folder, "device:k1", "cable")
    call(workspace, "device:desk").look()
    with pytest.raises(BusyError, match="device:k1 is paused: cable"):
        call(workspace, "mem=1G,device:k1").look()
    signal.set_wakeup_fd(-1)


@pytest.mark.parametrize(
    ("need", "options", "code"),
    [
        ("mem=60G", {}, 78),
        ("mem=4", {"ttl": 5.0}, 2),
        ("mem=4", {"owner_pid": 7}, 2),
        ("fish=4", {}, 2),
        ("", {}, 2),
        ("mem=1G", {"reserve": True, "owner_pid": 2**22 + 1}, 2),
    ],
)
def test_bad_calls(workspace: Project, need: str, options: dict[str, Any], code: int) -> None:
    """One line each, with the exit code that says whose mistake it is."""
    with pytest.raises(K1ctlError) as error:
        asked = call(workspace, need, **options)
        asked.reserve() if options.get("reserve") else asked.look()
    assert error.value.exit_code == code and "\n" not in error.value.message


def test_a_wait_is_over_when_there_is_room(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--wait` looks until it fits; a class's usual time says when that may be."""
    from k1ctl.capacity import histogram
    from k1ctl_plugins.capacity import check_call

    histogram.add("large", 1 << 30, 100.0)
    here = Workspace(str(workspace.root), str(workspace.root), "here", str(workspace.root / ".git"))
    held = gate.promise(here, Config("", {}, {}), parse("mem=40G"), what="x", kind="capacity-run", class_="large")
    with pytest.raises(BusyError) as refused:
        call(workspace, "mem=40G").look()
    assert 80 < refused.value.details["expected_seconds"] < 110
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        held.release()

    monkeypatch.setattr(check_call.time, "sleep", nap)
    assert not call(workspace, "mem=40G", wait=5.0).look().reduced and len(naps) == 1


@pytest.mark.parametrize(("memory", "agents", "exit_code"), [(16, 2, 0), (16, 4, 75), (8, 1, 0)])
def test_agents_of_four_gigabytes_on_small_hosts(
    workspace: Project, tmp_path: Path, memory: int, agents: int, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two agents of 4 GiB fit on 16 GiB, four do not (told with what fits), one does on 8 GiB."""
    facts = tmp_path / "host.json"
    facts.write_text(json.dumps({"cores": 8, "memory_bytes": memory << 30}))
    monkeypatch.setenv("K1CTL_FACTS", str(facts))
    for _ in range(agents - 1):
        try:
            call(workspace, "mem=4G", reserve=True).reserve()
        except BusyError as exc:
            assert exit_code == 75 and exc.details["reasons"][0]["free"] == 0
    asked = call(workspace, "mem=4G")
    if exit_code:
        with pytest.raises(BusyError):
            asked.look()
    else:
        asked.look()


def test_release_is_tried_out_first(workspace: Project) -> None:
    """`--dry-run` gives nothing back; a run's promise is no reservation, and is told from one."""
    from k1ctl_plugins.capacity.release import release

    held = hold(workspace, "mem=1G")
    kept = call(workspace, "mem=2G", reserve=True).reserve()
    workspace.run("capacity", "release", kept.id, "--dry-run").assert_ok()
    assert [p.id for p in promises.held()] == [held.promise.id, kept.id]
    with pytest.raises(reservations.ReservationNotFoundError, match="is no reservation"):
        reservations.release(promises.folder(), held.promise.id)
    assert CliRunner().invoke(release, []).exit_code == 2
    held.release()


def test_money_is_the_last_gate(workspace: Project) -> None:
    """Where the budget has limits, tokens are asked of it once the host has room: a look and a promise are refused with
    its reasons, nothing stays promised, and nothing was ever held in the ledger. Nobody waits here for budget."""
    workspace.configure('[budget]\nagent_day = "10k"\n')
    assert call(workspace, "mem=1M,tokens=10k").look().need.tokens == 10_000
    asked = call(workspace, "mem=1M,tokens=11k", wait=9.0)  # what never fits is not waited for
    for act in (asked.look, call(workspace, "mem=1M,tokens=11k", reserve=True).reserve):
        with pytest.raises(BusyError) as found:
            act()
        assert found.value.code == "budget-exhausted" and found.value.details["never"]
        assert found.value.details["reasons"][0]["need"] == 11_000 and "budget set" in found.value.hint
    assert promises.held() == []
    with pytest.raises(ConfigError):
        call(workspace, "mem=900G,tokens=11k").look()
    assert not (workspace.ops / "state.db").exists()
    workspace.run("budget", "reserve", "9k", "--agent", "here").assert_ok()
    with pytest.raises(BusyError) as found:
        call(workspace, "tokens=2k", reserve=True, wait=9.0).reserve()
    assert "not for this" in found.value.hint and found.value.details["expected_seconds"] <= 600


def test_a_class_says_what_memory_is_needed(workspace: Project) -> None:
    """--class needs what its runs took; a need that names memory itself wins; of a class nobody knows nothing is made
    up, and neither option at all is a wrong call."""
    for _ in range(5):
        histogram.add("large", 1 << 30, 1.0)
    known = histogram.of("large")
    assert known is not None
    assert call(workspace, None, class_="large").asked == Need(known.target)
    assert call(workspace, "cpu=1", class_="large").look().need == Need(known.target, 1.0)
    assert call(workspace, "mem=2G", class_="large").asked == parse("mem=2G")
    assert call(workspace, "cpu=1", class_="unheard").asked == parse("cpu=1")
    for class_ in ("unheard", ""):
        with pytest.raises(UsageError):
            call(workspace, None, class_=class_)


def test_a_list_tells_who_stands_still(workspace: Project) -> None:
    """A run whose command is suspended, while a guardian watches it; a reservation is one in JSON, too."""
    with contextlib.ExitStack() as stack:
        ours = hold(workspace, "mem=1G")
        stack.callback(ours.release)
        call(workspace, "mem=2G", reserve=True).reserve()
        command = watched.create(
            {"id": f"{ours.promise.run}-1", "session": 0, "since": 1.0, "cgroup": None, "what": "npm test"}
        )
        stack.callback(os.close, command.lock(watched.WATCH))
        seen = watched.Seen(command.folder)
        stack.callback(seen.close)
        told = []
        for at in (0.0, 5.0):
            seen.put(suspended_at=at)
            rows = workspace.run("capacity", "list", "--json").assert_ok().json["promises"]
            told.append([(row["state"], row["suspended"]) for row in rows])
        assert told == [[("held", False), ("reserved", False)], [("held", True), ("reserved", False)]]
        lines = workspace.run("capacity", "list").assert_ok().stdout.splitlines()
        assert [line.split()[1] for line in lines[1:3]] == ["suspended", "reserved"]
