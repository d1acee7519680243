"""`k1ctl events`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from queue import Empty, Queue
from typing import IO, Any

import pytest

from k1ctl.errors import UsageError
from k1ctl.events import emit
from k1ctl.events_find import Wanted
from k1ctl.events_follow import Follower
from k1ctl.units import rfc3339
from k1ctl_plugins.events.choose import select
from tests.kit import Project, finish, wait_until


def line(at: str, event: str, **fields: Any) -> str:
    return json.dumps({"at": at, "event": event, "workspace": "w", **fields}) + "\n"


@pytest.fixture
def recorded(workspace: Project) -> Project:
    """Three days of events."""
    workspace.write("ops/events/2026-01-01.jsonl", line("2026-01-01T10:00:00.000Z", "queue.granted", run="r1"))
    workspace.write("ops/events/2026-01-02.jsonl", line("2026-01-02T10:00:00.000Z", "queue.released", run="r1"))
    workspace.write("ops/events/2026-01-03.jsonl", line("2026-01-03T10:00:00.000Z", "upload.done", run="r2", ticket=7))
    return workspace


@pytest.mark.parametrize(
    ("args", "events"),
    [
        ([], ["queue.granted", "queue.released", "upload.done"]),
        (["--since", "2026-01-02"], ["queue.released", "upload.done"]),
        (["--since", "2026-01-02T12:00+02:00"], ["queue.released", "upload.done"]),
        (["--since", "1h"], []),
        (["--event", "queue.*"], ["queue.granted", "queue.released"]),
        (["--event", "queue.g*", "--event", "upload.*"], ["queue.granted", "upload.done"]),
        (["--run", "r1", "--limit", "1"], ["queue.released"]),
        (["--workspace", "other"], []),
        (["--until", "2026-01-02T12:00+02:00"], ["queue.granted"]),
        (["--since", "2026-01-02", "--until", "2026-01-03"], ["queue.released"]),
        (["--ticket", "7"], ["upload.done"]),
    ],
)
def test_list_chooses(args: list[str], events: list[str], recorded: Project) -> None:
    """Each filter keeps what it says, as one JSON list and as JSON lines, oldest first."""
    assert [e["event"] for e in recorded.run("events", "list", "--json", *args).assert_ok().json] == events
    assert [e["event"] for e in recorded.run("events", "list", "--jsonl", *args).assert_ok().jsonl] == events


def test_a_run_is_looked_for_from_its_day_on(workspace: Project) -> None:
    """Its id says when it began: years before are not read; a clock that was set back by a day hides nothing."""
    run = "20260104-101112.123-abcd"
    for day in ("2025-06-01", "2026-01-03", "2026-01-04", "2026-01-09"):
        workspace.write(f"ops/events/{day}.jsonl", line(f"{day}T10:00:00.000Z", day, run=run))
    for limit in (None, 9):
        found = select(str(workspace.ops / "events"), Wanted(run=run), limit=limit)
        assert [e["event"] for e in found] == ["2026-01-03", "2026-01-04", "2026-01-09"]


def test_list_for_people_has_a_line_an_event(recorded: Project) -> None:
    """Control characters in fields do not reach the terminal."""
    recorded.write("ops/events/2026-01-04.jsonl", line("2026-01-04T10:00:00.000Z", "x.y", label="a\x1b[2Jb\nc"))
    out = recorded.run("events", "list").assert_ok().stdout
    assert len(out.splitlines()) == 4
    assert "\x1b" not in out


def test_a_time_that_is_none_is_usage(recorded: Project) -> None:
    """Exit 2 and the forms that are possible."""
    recorded.run("events", "list", "--since", "soon").assert_fails(2, "soon", "1h")
    recorded.run("events", "list", "--until", "soon").assert_fails(2, "--until", "1h")
    recorded.run("events", "list", "--follow", "--json").assert_fails(2, "--follow", "--json")
    from k1ctl_plugins.events.choose import parse_time

    with pytest.raises(UsageError):
        parse_time("2026-13-45")


def test_before_any_event_there_is_an_empty_list(workspace: Project) -> None:
    """A list is a list, also without a folder."""
    assert workspace.run("events", "list", "--json").assert_ok().json == []
    assert workspace.run("events", "tail").assert_ok().stdout == ""


def test_tail_prints_the_last_ones(recorded: Project) -> None:
    """The last N over the files of several days."""
    out = recorded.run("events", "tail", "-n", "2", "--jsonl").assert_ok().jsonl
    assert [e["event"] for e in out] == ["queue.released", "upload.done"]


def test_the_follower_reads_each_event_once(workspace: Project) -> None:
    """A new day, a late line in yesterday's file, a half line, a removed and recreated folder: once each, none lost."""
    folder = workspace.ops / "events"
    follower = Follower(str(folder))
    assert follower.last(5, lambda e: True) == []

    def news() -> list[str]:
        return [e["event"] for e in follower.news()]

    today, next_day = folder / "2026-01-01.jsonl", folder / "2026-01-02.jsonl"
    workspace.write("ops/events/2026-01-01.jsonl", line("t", "a"))
    assert news() == ["a"]
    next_day.write_text(line("t", "c"))
    with today.open("a") as f:
        f.write(line("t", "b"))
    assert news() == ["b", "c"]
    text = line("t", "halved")
    with next_day.open("a") as f:
        f.write(text[:9])
        f.flush()
        assert news() == []
        f.write(text[9:])
    assert news() == ["halved"]
    shutil.rmtree(folder)
    assert news() == []
    workspace.write("ops/events/2026-01-02.jsonl", line("t", "anew") * 3)
    assert news() == ["anew"] * 3
    next_day.unlink()
    next_day.write_text(line("t", "replaced") * 5)
    assert news() == ["replaced"] * 5
    assert news() == []


def following(stream: IO[str]) -> Queue[dict[str, Any]]:
    """The events that a `tail -f --jsonl` prints, as they come."""
    found: Queue[dict[str, Any]] = Queue()

    def pump() -> None:
        with stream:
            for text in stream:
                found.put(json.loads(text))

    threading.Thread(target=pump, daemon=True).start()
    return found


def test_tail_follows_and_ends_quietly(workspace: Project) -> None:
    """New events are printed as they come, also after the folder was removed; ^C ends it with 0 and not a word."""
    process = workspace.popen("events", "tail", "-f", "-n", "0", "--event", "test.*", "--jsonl")
    assert process.stdout is not None
    events = following(process.stdout)
    process.stdout = None  # the reader closes it
    facts = workspace.facts()

    def seen(event: str) -> bool:
        emit(facts, event)
        try:
            while events.get(timeout=0.3)["event"] != event:
                pass
        except Empty:
            return False
        return True

    wait_until(lambda: seen("test.one"))
    shutil.rmtree(workspace.ops / "events")
    wait_until(lambda: seen("test.two"))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    finish(process)


def test_tail_ends_when_its_reader_does(workspace: Project) -> None:
    """`tail -f | head -1` does not stay behind, although no further event comes."""
    emit(workspace.facts(), "test.one")
    process = workspace.popen("events", "tail", "-f", "--jsonl")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "test.one"
    process.stdout.close()
    assert process.wait(20) == 0
    process.stdout = None
    finish(process)


def test_a_new_event_is_of_now(workspace: Project) -> None:
    """--since with an age keeps what just happened."""
    emit(workspace.facts(), "test.now", at_test=rfc3339())
    assert len(workspace.run("events", "list", "--since", "1h", "--json").json) == 1
    assert os.listdir(workspace.ops / "events") == [rfc3339()[:10] + ".jsonl"]


def test_list_follows_from_what_was(recorded: Project) -> None:
    """Past events first, then those that come, each once."""
    process = recorded.popen("events", "list", "--since", "2026-01-02", "--limit", "1", "--follow", "--jsonl")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "upload.done"
    emit(recorded.facts(), "test.now")
    assert json.loads(process.stdout.readline())["event"] == "test.now"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    finish(process)


def test_figures_of_a_field_and_of_an_event(workspace: Project) -> None:
    """Percentiles are values that occurred; told apart by what events have; nothing found is an empty list."""
    lines = []
    for n in range(1, 101):
        facts = {"seconds": n / 2, "bytes": n * 1024, "ok": True, "device": {"name": f"k{n % 2}"}}
        lines.append(line("2026-01-01T10:00:00.000Z", "build.finished", **facts))
    lines.append('{"at":"2026-01-01T10:00:00.000Z","event":"build.finished","seconds":1e999,"bytes":1}\n')
    workspace.write("ops/events/2026-01-01.jsonl", "".join(lines))
    (seconds,) = workspace.run("events", "stats", "seconds", "--json").assert_ok().json["figures"]
    keys = {"count": 100, "min": 0.5, "p50": 25.0, "p95": 47.5, "p99": 49.5, "max": 50.0, "sum": 2525.0}
    assert seconds == {"field": "seconds", "of": "", **keys}
    rows = workspace.run("events", "stats", "build.*", "--by", "device", "--json").assert_ok().json["figures"]
    assert [(r["field"], r["of"], r["count"]) for r in rows] == [
        (field, device, 50) for field in ("bytes", "seconds") for device in ("k0", "k1")
    ]
    out = workspace.run("events", "stats", "bytes", "--by", "workspace").assert_ok().stdout
    assert "100 KiB" in out and "50.0 KiB" in out
    assert workspace.run("events", "stats", "ok", "--json").assert_ok().json["figures"] == []
    assert "no event has nothing" in workspace.run("events", "stats", "nothing").assert_ok().stderr
    workspace.run("events", "stats", "a.b", "--event", "c.d").assert_fails(2, "a.b")


def test_compact_by_its_settings(recorded: Project) -> None:
    """What would be done, what is, nothing more to do; kept no longer than is set; a wrong age is usage."""
    planned = recorded.run("events", "compact", "--dry-run").assert_ok().stdout
    assert planned.count("compressed") == 3 and len(list((recorded.ops / "events").glob("*.jsonl"))) == 3
    done = recorded.run("events", "compact", "--json").assert_ok().json
    assert [(f["day"], f["action"]) for f in done["files"]] == [(f"2026-01-0{n}", "compressed") for n in (1, 2, 3)]
    assert "nothing to compress" in recorded.run("events", "compact").assert_ok().stderr
    past = ("events", "list", "--until", "2026-02-01", "--json")
    assert len(recorded.run(*past).json) == 3
    recorded.configure('[events]\nkeep = "1d"\n')
    assert recorded.run("events", "compact").assert_ok().stdout.count("removed") == 3
    assert recorded.run(*past).json == []
    assert [(e["compressed_files"], e["removed_files"]) for e in recorded.events("events.compacted")] == [
        (3, 0),
        (0, 3),
    ]
    recorded.run("events", "compact", "--older", "old").assert_fails(2, "--older", "old")
