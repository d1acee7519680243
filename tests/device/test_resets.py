"""Restarts between two looks, and what explains them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.device import guard, resets
from k1ctl.device.resets import AFTER_SECONDS, Sample
from k1ctl.errors import BusyError
from k1ctl.files import Locked
from k1ctl.units import rfc3339
from k1ctl.workspace import host_dir
from tests.kit import Project, finish, wait_until

DEVICE = {"name": "k1", "host": "127.0.0.1", "ota_port": 3232, "mac": "02:4B:31:00:00:01"}
AT = 1_800_000_000.0  # a moment to come: no other event is near


def record(uptime_ms: Any, outcome: str = "answered", told: float = 100.0) -> dict[str, Any]:
    answer = {"outcome": outcome, "document": {"uptime_ms": uptime_ms}, "document_monotonic": told}
    other = {"outcome": "no-answer"}
    both = {"/api/health": answer, "/api/device/info": other}
    return {"answers": both, "wall": 1000.0, "monotonic": 100.5, "seconds": 0.6}


def test_a_sample_tells_when_the_device_started() -> None:
    """From the moment in which the uptime was told; nothing where it was carried over from an earlier answer."""
    found = resets.sample(record(5000))
    assert found == Sample(5000, 100.0, pytest.approx(99.9), pytest.approx(994.5))
    assert resets.sample(record(5000, "limited")) is None
    for told in ("long", True, -1, 1 << 32, 10**400):  # no start of a device was then
        assert resets.sample(record(told)) is None


def test_a_reset_is_seen_whoever_asked_in_between() -> None:
    """An uptime that grew by less than the time that passed is of another start; the counter's wrap is none."""
    before = Sample(60_000, 100.0, 99.9, 0.0)
    assert not resets.between(before, Sample(70_100, 110.1, 110.0, 0.0))
    assert resets.between(before, Sample(3_000, 110.1, 110.0, 0.0))
    assert resets.between(before, Sample(65_000, 110.1, 110.0, 0.0))
    wrapped = Sample((1 << 32) - 1000, 100.0, 99.9, 0.0)
    assert not resets.between(wrapped, Sample(9_100, 110.1, 110.0, 0.0))


def events(workspace: Project, *rows: tuple[float, str, dict[str, Any]]) -> None:
    folder = workspace.ops / "events"
    folder.mkdir(exist_ok=True)
    for when, event, fields in rows:
        at = rfc3339(AT + when)
        with (folder / f"{at[:10]}.jsonl").open("a") as f:
            f.write(json.dumps({"at": at, "event": event, "workspace": "tokyo", **fields}) + "\n")


def why(workspace: Project, at: float = AT) -> str:
    facts = workspace.facts()
    return resets.explanation(facts, load(facts, {}), DEVICE, at)


@pytest.mark.parametrize(
    ("granted", "ended", "resources", "explained"),
    [
        (-30.0, -10.0, {"device:k1": 1}, True),
        (-30.0, 10.0, {"console:k1": 1}, True),
        (-7200.0, -5.0, {"device:k1": 1, "build:fw": 1}, True),
        (-60.0, -AFTER_SECONDS - 1, {"device:k1": 1}, False),
        (6.0, 20.0, {"device:k1": 1}, False),
        (-30.0, -10.0, {"device:k2": 1}, False),
        (-600.0, None, {"device:k1": 1}, True),
        (-1000.0, None, {"device:k1": 1}, False),
    ],
)
def test_a_lease_in_its_time_explains_it(
    workspace: Project, granted: float, ended: float | None, resources: dict[str, int], explained: bool
) -> None:
    """A lease of the device or its console from before until shortly after its end; one without an end for a while."""
    rows = [(granted, "queue.granted", {"run": "r1", "ticket": 7, "resources": resources})]
    events(workspace, *rows, *([(ended, "run.ended", {"run": "r1"})] if ended is not None else []))
    assert why(workspace) == ("tokyo: run r1" if explained else "")


def test_a_script_gives_it_back(workspace: Project) -> None:
    """What `queue acquire` took ends with its release, by the ticket; a line that is torn is passed over."""
    resources = {"device:k1": 1}
    events(
        workspace,
        (-60.0, "queue.granted", {"run": "r1", "ticket": 7, "resources": resources}),
        (-40.0, "queue.released", {"run": "", "ticket": 7, "resources": resources}),
    )
    with next((workspace.ops / "events").iterdir()).open("a") as f:
        f.write('{"at": "2027-01-15T08:00:00.000Z", "event": "queue.granted", "resour\n')
    assert why(workspace) == "" and why(workspace, AT - 30) == "tokyo: run r1"


def test_who_has_it_now_explains_it(workspace: Project) -> None:
    """A lease that goes on, by what its owner is called."""
    holder = workspace.popen("queue", "run", "console:k1", "--label", "monitor", "--", "sleep", "60")
    try:
        assert wait_until(lambda: why(workspace, time.time())) == "repo: monitor"
    finally:
        holder.terminate()
        holder.communicate()
        finish(holder)


def test_another_repository_explains_it(workspace: Project) -> None:
    """Who took the host's guard shortly before, unless that is a run of ours: those have events of their own."""
    path = Path(guard.guard_path(guard.guard_key(DEVICE), host_dir()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"workspace": "osaka", "run": "r9", "pid": 2, "since": rfc3339(AT - 60)}))
    assert why(workspace) == "osaka: run r9"
    assert why(workspace, AT + 3600) == ""
    os.makedirs(workspace.ops / "runs" / "r9")
    assert why(workspace) == ""


def test_an_unexplained_reset_is_one_event(workspace: Project) -> None:
    """Two watchers that place one restart a little differently write one event; the next restart is another."""
    facts = workspace.facts()
    found = Sample(5000, 100.0, 99.9, AT)
    assert resets.note_unexplained(facts, "k1", found)
    assert not resets.note_unexplained(facts, "k1", found._replace(started_at=AT + 1.5))
    assert resets.note_unexplained(facts, "k1", found._replace(started_at=AT + 30))
    with Locked(facts.ops_path("device", "k1.reset.lock")), pytest.raises(BusyError):  # and waits for nobody stopped
        resets.note_unexplained(facts, "k1", found._replace(started_at=AT + 60))
    told = workspace.events("device.unexplained-reset")
    assert [(e["device"], e["reset_at"]) for e in told] == [("k1", rfc3339(AT)), ("k1", rfc3339(AT + 30))]
