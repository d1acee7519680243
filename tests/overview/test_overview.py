"""One look tells what is so: who holds, who waits, and what each workspace does are one story."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.device import images
from k1ctl.files import write_json
from k1ctl.overview.text import screen
from k1ctl.queue import history, view
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.units import rfc3339
from tests.kit import Project
from tests.overview.looking import CONFIG, look, named

Stand = Callable[..., Ticket]


@pytest.fixture
def stand(workspace: Project) -> Iterator[Stand]:
    """Stand in line for ``needs`` as a workspace: the ticket, held by this process."""
    tickets = []

    def enqueue(name: str, needs: dict[str, int], slots: int = 1, **facts: Any) -> Ticket:
        line = Line(str(workspace.ops / "queue"))
        own = {"workspace": name, "kind": "upload", "run": f"run-{name}", "queued_at": rfc3339(time.time() - 30)}
        ticket = Ticket(line, needs, lambda r: slots, key=f"{name}{needs}", facts={**own, **facts})
        if ticket.enqueue():
            ticket.tell(granted_at=rfc3339(time.time() - 5), granted=time.time() - 5)
        tickets.append(ticket)
        return ticket

    before = signal.set_wakeup_fd(-1)
    yield enqueue
    signal.set_wakeup_fd(before)
    for ticket in tickets:
        ticket.close()


def test_who_holds_who_waits_and_when(workspace: Project, stand: Stand) -> None:
    """The holder, the order of those behind it, what each workspace does, and when each may start, are one story."""
    workspace.configure(CONFIG)
    for name in ("oslo", "lava", "bloom"):
        workspace.add_worktree(name)
    for _ in range(3):
        history.add(str(workspace.ops / "queue"), "device:k1", 20.0)
    stand("oslo", {"device:k1": 1, "tree:00ff": 1}, label="upload fw")
    stand("lava", {"device:k1": 1})
    stand("bloom", {"device:k1": 1})
    stand("lava", {"build:fw": 1}, 2, kind="build", run="run-b")
    found = look(workspace)
    assert found.errors == {}
    oslo, lava = named(found, "oslo"), named(found, "lava")
    assert (oslo["state"], oslo["holds"], oslo["branch"]) == ("uploading", ["device:k1"], "oslo")
    assert 4.9 < oslo["doing"][0]["seconds"] < 60
    assert lava["state"] == "building" and lava["holds"] == ["build:fw"]
    assert [(d["state"], d["position"]) for d in lava["doing"] if d["kind"] == "upload"] == [("waiting", 1)]
    assert named(found, workspace.root.name)["state"] == "idle"
    slot = next(row for row in found.slots.rows if row["resource"] == "device:k1")
    assert [each["workspace"] for each in slot["held"]] == ["oslo"]
    assert (slot["waiting"], slot["typical_seconds"], slot["held_slots"]) == (2, 20.0, 1)
    assert not any(row["resource"].startswith("tree:") for row in found.slots.rows)
    first, second = found.waiting.rows
    assert [(r["workspace"], r["position"]) for r in (first, second)] == [("lava", 1), ("bloom", 2)]
    assert 10 < first["expected_seconds"] < 15.1 and round(second["expected_seconds"] - first["expected_seconds"]) == 20
    folder = str(workspace.ops / "queue")
    slots = load(workspace.facts()).slots
    for row in found.waiting.rows:  # the same as `queue show` tells, up to the time between two looks
        stands = view.standing(folder, row["ticket"], slots)
        assert stands is not None and stands.position == row["position"]


def test_names_that_are_not_unique(workspace: Project, stand: Stand, tmp_path: Path) -> None:
    """Of two worktrees in folders of one name, the run's record tells which one works; of two repositories that share
    a queue, who is not of this one is told as such."""
    workspace.configure(f'[queue]\ndir = "{workspace.ops / "queue"}"\n{CONFIG}[devices.k2]\nhost = "k2.local"\n')
    for place in ("a", "b"):
        workspace.git("worktree", "add", "-q", "-b", place, str(tmp_path / place / "oslo"))
    run = "20260101-000000.000-abcd"
    write_json(str(workspace.ops / "runs" / run / "run.json"), {"run": run, "workspace_path": str(tmp_path / "b/oslo")})
    stand("oslo", {"device:k1": 1}, run=run)
    stand("oslo", {"build:fw": 1}, 2, kind="build", run="20260101-000000.000-ffff")
    rows = {row["path"]: row["state"] for row in look(workspace).workspaces.rows if row["name"].startswith("oslo")}
    assert rows == {str(tmp_path / "a/oslo"): "idle", str(tmp_path / "b/oslo"): "uploading", None: "building"}
    stand("bergen", {"device:k2": 1}, run="20260101-000000.000-eeee")
    found = look(workspace)
    slots = {row["resource"]: row["held"] for row in found.slots.rows}
    assert slots["build:fw"][0]["workspace"] == "oslo (another repository)"
    assert [row["holder"]["workspace"] for row in found.devices.rows] == ["oslo", "bergen (another repository)"]


def test_a_pause_is_told_where_it_holds_somebody_up(workspace: Project, stand: Stand) -> None:
    """A paused resource is among the problems, and nobody who waits for it is promised a time."""
    workspace.configure(CONFIG)
    view.pause(str(workspace.ops / "queue"), "build:fw", "the disk is full")
    history.add(str(workspace.ops / "queue"), "build:fw", 5.0)
    stand("oslo", {"build:fw": 1}, 2, kind="build")
    found = look(workspace)
    [row] = found.waiting.rows
    assert row["expected_seconds"] is None and "the disk is full" in row["blocked"]
    assert [p["text"] for p in found.problems] == ["build:fw is paused: the disk is full"]
    assert named(found, "oslo")["path"] is None, "who has no worktree here stands in the line all the same"


def test_a_place_that_was_kept_for_too_long_is_none(workspace: Project, stand: Stand) -> None:
    """A parked ticket is shown as long as its place is kept, whether or not somebody has taken it away since."""
    stand("oslo", {"device:k1": 1})
    ticket = stand("lava", {"device:k1": 1})
    ticket.leave()
    folder = workspace.ops / "queue" / "tickets"
    [parked] = [file for file in folder.iterdir() if file.name.startswith("p")]
    assert [row["state"] for row in look(workspace).waiting.rows] == ["parked"]
    os.utime(parked, (1, 1))
    assert look(workspace).waiting.rows == []


def test_an_image_that_is_being_sent(workspace: Project, stand: Stand) -> None:
    """While the run that sends it has the device no image is said to run; nor afterwards, where nobody knows."""
    workspace.configure(CONFIG)
    facts = workspace.facts()
    stand("oslo", {"device:k1": 1}, run="u1")
    sent = {"artifact": "0123abcd", "target": "fw", "sha256": "0" * 64, "run": "u1", "workspace": "oslo"}
    images.begin(facts, "k1", sent)
    assert look(workspace).devices.rows[0]["image"]["outcome"] == "sending"
    assert "gets 0123abcd of oslo" in screen(look(workspace))
    images.begin(facts, "k1", {**sent, "run": "u2"})
    assert "may run 0123abcd of oslo" in screen(look(workspace))


def test_damage_in_what_a_holder_wrote(workspace: Project, stand: Stand) -> None:
    """A ticket whose owner wrote nonsense still holds, and times that are none make no estimate."""
    workspace.configure(CONFIG)
    history.add(str(workspace.ops / "queue"), "device:k1", float("nan"))
    history.add(str(workspace.ops / "queue"), "device:k1", float("inf"))
    stand("oslo", {"device:k1": 1}, run={"a": 1}, kind=[], granted_at=5, waits_for=[1])
    stand("lava", {"device:k1": 1}, workspace=[1], label=5)
    found = look(workspace)
    assert found.errors == {} and "0 B of" in screen(found)
    json.dumps(found.document(), allow_nan=False)
    [row] = [row for row in found.slots.rows if row["resource"] == "device:k1"]
    assert (row["held_slots"], row["waiting"], row["typical_seconds"]) == (1, 1, None)


def test_nothing_is_written_but_the_tally(workspace: Project, stand: Stand) -> None:
    """A look changes no file of the queue, of devices and of the host."""
    workspace.configure(CONFIG)
    stand("oslo", {"device:k1": 1})
    load(workspace.facts())

    def files() -> set[str]:
        tops = (workspace.ops, Path(os.environ["K1CTL_HOST_DIR"]))
        return {str(path) for top in tops for path in top.rglob("*")}

    before = files()
    look(workspace)
    new = {os.path.relpath(path, workspace.ops) for path in files() - before}
    assert new <= {"metrics", "metrics/tally.json", "metrics/.tally.lock"}
