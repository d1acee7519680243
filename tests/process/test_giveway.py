"""A queue's lease and a promise of the host, each held by one who waits for the other: neither waits for ever."""

from __future__ import annotations

import json
import os

from tests.kit import Project, finish, wait_until

WITHIN = """
touch began
while ! test -e go; do sleep 0.02; done
k1ctl queue run a -- touch inner.a & k1ctl queue run c -- touch inner.c & wait
"""
QUICK = {"K1CTL_QUEUE_STALL": "10ms"}


def events(project: Project, name: str) -> list[dict[str, object]]:
    lines = [line for path in (project.ops / "events").glob("*.jsonl") for line in path.read_text().splitlines()]
    return [row for row in map(json.loads, lines) if row["event"] == name]


def test_a_place_goes_to_who_has_room(workspace: Project) -> None:
    """Two wait for room with places that runs within a promise wait for. One gives its place back and goes on behind;
    the other's is held around it, so not its own to give: that call is refused and says what is in the way."""
    outer = workspace.popen("capacity", "run", "--need", "mem=40G", "--", "sh", "-c", WITHIN)
    wait_until((workspace.root / "began").exists)
    need = ("--need", "mem=30G", "--")
    gives = workspace.popen("queue", "run", "a", *need, "sh", "-c", "test -e inner.a && touch after", env=QUICK)
    within = ("queue", "run", "c", "--", "k1ctl", "queue", "run", "d", *need, "touch", "ran")
    cannot = workspace.popen(*within, env=QUICK)
    wait_until(lambda: len(events(workspace, "capacity.waiting")) == 2)
    (workspace.root / "go").touch()

    said = cannot.communicate(timeout=20)[1]
    assert cannot.returncode == 75 and "who has room, waits for c, which is held around this call" in said
    assert finish(outer) == 0 and finish(gives) == 0
    assert {"inner.a", "inner.c", "after"} < set(os.listdir(workspace.root))
    assert not (workspace.root / "ran").exists()
    (gave,) = events(workspace, "capacity.gave_way")
    assert gave["resource"] == "a"
