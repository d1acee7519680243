"""A queue's lease and a promise of the host, each held by one who waits for the other: neither waits for ever."""

from __future__ import annotations

import json

from tests.kit import Project, finish, wait_until

WITHIN = "touch began; while ! test -e go; do sleep 0.02; done; k1ctl queue run {} -- touch {}"
QUICK = {"K1CTL_QUEUE_STALL": "10ms"}


def events(project: Project, name: str) -> list[dict[str, object]]:
    lines = [line for path in (project.ops / "events").glob("*.jsonl") for line in path.read_text().splitlines()]
    return [row for row in map(json.loads, lines) if row["event"] == name]


def test_a_place_goes_to_who_has_room(workspace: Project) -> None:
    """A run waits for room with the place that a run within a promise waits for: that one goes first, then both end."""
    outer = workspace.popen("capacity", "run", "--need", "mem=40G", "--", "sh", "-c", WITHIN.format("a", "inner"))
    wait_until((workspace.root / "began").exists)
    blocked = workspace.popen(
        "queue", "run", "a", "--need", "mem=30G", "--", "sh", "-c", "test -e inner && touch after", env=QUICK
    )
    wait_until(lambda: events(workspace, "capacity.waiting"))
    (workspace.root / "go").touch()
    assert finish(outer) == 0 and finish(blocked) == 0
    assert (workspace.root / "after").exists()
    (gave,) = events(workspace, "capacity.gave_way")
    assert gave["resource"] == "a"


def test_what_is_held_around_ends_the_wait(workspace: Project) -> None:
    """A place that is held around a call is not its own to give: the call is refused and says what is in the way."""
    outer = workspace.popen("capacity", "run", "--need", "mem=40G", "--", "sh", "-c", WITHIN.format("a", "inner"))
    wait_until((workspace.root / "began").exists)
    call = ("queue", "run", "a", "--", "k1ctl", "queue", "run", "b", "--need", "mem=30G", "--", "touch", "ran")
    blocked = workspace.popen(*call, env=QUICK)
    wait_until(lambda: events(workspace, "capacity.waiting"))
    (workspace.root / "go").touch()
    said = blocked.communicate(timeout=20)[1]
    assert blocked.returncode == 75 and "who has room, waits for a, which is held around this call" in said
    assert finish(outer) == 0 and (workspace.root / "inner").exists() and not (workspace.root / "ran").exists()
