"""`queue history`, `queue stats` and `queue bump` through the command line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from k1ctl.queue import view
from k1ctl.units import parse_rfc3339
from k1ctl_plugins.queue.past import percentile, span, totals
from tests.kit import Project, wait_until


def test_nothing_yet(workspace: Project) -> None:
    """An empty list is a list, exit 0, and looking makes no folder."""
    assert workspace.run("queue", "history", "--json").assert_ok().json == {"ok": True, "runs": []}
    assert workspace.run("queue", "history", "--jsonl").assert_ok().stdout == ""
    told = workspace.run("queue", "stats", "--json").assert_ok().json
    assert (told["runs"], told["resources"], told["workspaces"]) == (0, [], [])
    for command in ("history", "stats"):
        assert workspace.run("queue", command).assert_ok().stdout == ""
    assert list(workspace.ops.iterdir()) == []


def test_past_runs_and_what_they_come_to(workspace: Project) -> None:
    """Newest first, with wait, duration and outcome; totals by resource and workspace; filters; a lost run is told."""
    oslo = workspace.add_worktree("oslo")
    workspace.run("queue", "run", "a", "--", "true").assert_ok()
    workspace.run("queue", "run", "a", "b=1", "--label", "both", "--", "sh", "-c", "exit 4", cwd=oslo).assert_fails(4)
    workspace.run("queue", "run", "b", "--timeout", "50ms", "--", "sleep", "60").assert_fails(124)
    with workspace.popen("queue", "run", "a", "--", "sh", "-c", "echo up; exec sleep 60") as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        workspace.run("queue", "run", "a", "--wait", "100ms", "--", "true").assert_fails(75)
        [entry] = [t for t in workspace.run("queue", "list", "--json").json["tickets"] if t["state"] == "running"]
        os.kill(entry["pid"], signal.SIGSTOP)
        holder.kill()
        os.kill(entry["pid"], signal.SIGKILL)
        os.killpg(entry["group"], signal.SIGKILL)
    wait_until(lambda: len(workspace.run("queue", "history", "--json").json["runs"]) == 5)

    rows: list[dict[str, Any]] = workspace.run("queue", "history", "--jsonl").assert_ok().jsonl
    assert [r["outcome"] for r in rows] == ["queue-timeout", "lost", "timed-out", "command-failed", "done"]
    assert [r["exit_code"] for r in rows] == [75, None, 124, 4, 0]
    assert [r["run"] for r in rows] == sorted((r["run"] for r in rows), reverse=True)
    assert rows[0]["wait_seconds"] >= 0.1
    assert rows[0]["run_seconds"] is None
    assert rows[2]["run_seconds"] >= 0.05
    assert (rows[3]["label"], rows[3]["workspace"], rows[3]["resources"]) == ("both", "oslo", {"a": 1, "b": 1})
    assert [r["outcome"] for r in workspace.run("queue", "history", "b", "--json").json["runs"]] == [
        "timed-out", "command-failed",
    ]  # fmt: skip
    assert len(workspace.run("queue", "history", "--workspace", "oslo", "--json").json["runs"]) == 1
    assert [r["run"] for r in workspace.run("queue", "history", "--limit", "2", "--json").json["runs"]] == [
        r["run"] for r in rows[:2]
    ]
    shown = workspace.run("queue", "history").assert_ok().stdout.splitlines()
    assert (len(shown), shown[0].split()[0]) == (6, "RUN")

    told = workspace.run("queue", "stats", "--json").assert_ok().json
    by = {t["resource"]: t for t in told["resources"]}
    assert (by["a"]["runs"], by["a"]["failures"], by["a"]["timeouts"], by["a"]["not_started"]) == (4, 2, 0, 1)
    assert (by["b"]["runs"], by["b"]["failures"], by["b"]["timeouts"]) == (2, 2, 1)
    assert by["a"]["wait_max_seconds"] >= 0.1 > by["a"]["wait_p50_seconds"]
    assert 0 < by["a"]["busy_share"] < 1
    assert by["b"]["run_max_seconds"] == rows[2]["run_seconds"]
    assert [(t["workspace"], t["runs"]) for t in told["workspaces"]] == [("oslo", 1), ("repo", 4)]
    assert told["kept_at_most"] == 1000
    assert workspace.run("queue", "stats", "--since", "0", "--json").json["runs"] == 0
    assert "RESOURCE" in workspace.run("queue", "stats").assert_ok().stdout


def test_damaged_records_are_passed_over(workspace: Project) -> None:
    """Garbage under ops/runs neither fails the call nor stands in its answer."""
    workspace.run("queue", "run", "a", "--", "true").assert_ok()
    [good] = (workspace.ops / "runs").iterdir()
    for i, text in enumerate(["", "{", "[]", '{"run": 5}', json.dumps({"run": "x"})]):
        bad: Path = workspace.ops / "runs" / f"20200101-000000.000-000{i}"
        bad.mkdir()
        (bad / "run.json").write_text(text)
    (workspace.ops / "runs" / "README").write_text("mine")
    assert [r["run"] for r in workspace.run("queue", "history", "--json").assert_ok().json["runs"]] == [good.name]
    workspace.run("queue", "stats").assert_ok()


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_was_there(values: list[float], percent: int) -> None:
    """At least that many percent of the values do not exceed it, and it is the smallest such value."""
    values.sort()
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(v <= found for v in values) >= percent * len(values)
    smaller = [v for v in values if v < found]
    assert not smaller or 100 * len(smaller) < percent * len(values)


def test_totals_of_nothing() -> None:
    """No runs, no groups."""
    assert totals([]) == {"resources": [], "workspaces": []}
    assert percentile([], 50) is None


def test_how_busy_a_resource_was() -> None:
    """What was held of what could be: more slots make it less, a lost run counts as nothing, a choice has all slots."""
    row = {"workspace": "w", "started_at": None, "exit_code": 0, "outcome": "", "wait_seconds": 1.0, "run_seconds": 2.0}
    held = [{**row, "resources": {"device:k1": n}, "held_seconds": h} for n, h in ((1, 5.0), (2, 10.0), (1, None))]
    open_one = {**row, "resources": {"device:k1~k2": 1}, "held_seconds": None}
    slots = {"device:k1": 2, "device:k2": 1}
    [one, other] = totals([*held, open_one], 50.0, lambda r: slots[r])["resources"]
    assert (one["busy_share"], other["busy_share"]) == (0.25, 0.0)
    assert totals(held)["resources"][0]["busy_share"] is None
    at = [{"queued_at": "2026-01-03T10:15:10.000Z"}, {"queued_at": "2026-01-03T10:15:00.000Z"}]
    now = parse_rfc3339("2026-01-03T10:16:00.000Z")
    assert (span(at, None, now), span(at, 7.0, now), span([], None, now)) == (60.0, 7.0, 0.0)


def test_bump(workspace: Project) -> None:
    """By ticket or run; where it stands then; the event says who and why; what does not wait is refused, saying why."""
    command = ("--", "sh", "-c", "while ! test -e go; do sleep 0.02; done")
    calls = [workspace.run("queue", "submit", "r", "--key", str(i), *command).assert_ok() for i in range(4)]
    runs = [call.stdout.strip() for call in calls]
    dry = workspace.run("queue", "bump", runs[3], "--dry-run", "--json").assert_ok().json
    assert (dry["ticket"], dry["changed"], dry["dry_run"]) == (4, True, True)
    assert [t["ticket"] for t in view.entries(str(workspace.ops / "queue"))] == [1, 2, 3, 4]
    assert "is at position 1" in workspace.run("queue", "bump", runs[3], "--reason", "a demo").assert_ok().stderr
    assert "was already at position 1" in workspace.run("queue", "bump", "4").assert_ok().stderr
    low = workspace.run("queue", "bump", "2", "--priority", "low", "--json").assert_ok().json
    assert (low["was"], low["priority"], low["position"]) == ("normal", "low", 3)
    rows = workspace.run("queue", "list", "--json").json["tickets"]
    assert [(t["ticket"], t["priority"]) for t in rows] == [(1, "normal"), (4, "normal"), (3, "normal"), (2, "low")]
    assert [(t.get("bumped"), t.get("asked_priority")) for t in rows[1:]] == [
        (True, None),
        (None, None),
        (None, "normal"),
    ]
    shown = workspace.run("queue", "list").assert_ok().stdout
    assert "  normal, bumped  " in shown
    assert "  low (asked normal)  " in shown
    [first, second] = workspace.events("queue.bumped")
    assert (first["ticket"], first["run"], first["reason"]) == (4, runs[3], "a demo")
    assert first["by"].endswith(" in repo")
    assert second["priority"] == "low"
    workspace.run("queue", "bump", "1").assert_fails(1, "it has been let in")
    workspace.run("queue", "bump", "99").assert_fails(1, "k1ctl queue list")
    workspace.run("queue", "bump", "4", "--priority", "urgent").assert_fails(2, "urgent")
    (workspace.root / "go").touch()
    workspace.run("queue", "wait", runs[1]).assert_ok()  # the last in line


def test_ageing_is_configuration(workspace: Project) -> None:
    """[queue] ageing lets a low one rise while it waits; the event says so, and `list` shows the priority it has."""
    workspace.configure('[queue]\nageing = "100ms"\n')
    holder = workspace.run("queue", "submit", "r", "--", "sh", "-c", "while ! test -e go; do sleep 0.02; done").stdout
    low = workspace.run("queue", "submit", "r", "--priority", "low", "--", "true").assert_ok().stdout
    wait_until(lambda: [e["priority"] for e in workspace.events("queue.aged")] == ["normal", "high"])
    assert workspace.run("queue", "list", "--json").json["tickets"][1]["priority"] == "high"
    (workspace.root / "go").touch()
    for run in (holder, low):
        workspace.run("queue", "wait", run.strip()).assert_ok()
    workspace.configure('[queue]\nageing = "soon"\n')
    workspace.run("queue", "list").assert_fails(78, "queue.ageing")
