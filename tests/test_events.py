"""The record of decisions: whole lines, in order, never in the way of the work."""

from __future__ import annotations

import json
import os
import sys
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl import events
from k1ctl.events import append, emit, parse, read
from k1ctl.events_find import Wanted, newest
from k1ctl.events_follow import Follower
from k1ctl.files import LINE_LIMIT, Locked
from k1ctl.tally import current
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace
from tests.kit import Project, processes

NUMBERS = st.integers(-(2**63), 2**63)
WRITER = """
import sys, threading
from k1ctl.events import emit
from k1ctl.workspace import Workspace
def work(name):
    w = Workspace(sys.argv[1], sys.argv[1], name)
    for n in range(30):
        emit(w, "test.written", number=n, text="x" * (n * 211 % 6000))
team = [threading.Thread(target=work, args=(f"{sys.argv[2]}-{t}",)) for t in range(10)]
[t.start() for t in team]; [t.join() for t in team]
"""


def test_a_hundred_writers_tear_no_event(workspace: Project) -> None:
    """100 writers in 10 processes: every event is there, whole, in its writer's order, short enough to be atomic; and
    each of 3 followers, who look all the time, tells what the file has, in its order."""
    folder, done = str(workspace.ops / "events"), Event()
    told: list[list[tuple[str, int]]] = [[], [], []]

    def follow(found: list[tuple[str, int]]) -> None:
        follower, last = Follower(folder), False
        while not last:
            last = done.wait(0.005)
            found += [(event["workspace"], event["number"]) for event in follower.news()]
        follower.close()

    followers = [Thread(target=follow, args=(found,)) for found in told]
    for follower in followers:
        follower.start()
    try:
        codes = processes([[sys.executable, "-c", WRITER, str(workspace.root), str(p)] for p in range(10)])
    finally:
        done.set()
        for follower in followers:
            follower.join()
    assert codes == [0] * 10
    assert told == [[(event["workspace"], event["number"]) for event in read(folder)]] * 3
    lines = [line for f in sorted((workspace.ops / "events").iterdir()) for line in f.read_text().splitlines()]
    assert all(len(line) < LINE_LIMIT for line in lines)
    seen: dict[str, list[int]] = {}
    for line in lines:
        event = json.loads(line)
        seen.setdefault(event["workspace"], []).append(event["number"])
    assert len(seen) == 100
    assert all(numbers == list(range(30)) for numbers in seen.values())


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.text(max_size=9000) | st.lists(NUMBERS, max_size=2000)))
def test_any_fields_fit_one_line(fields: dict[str, Any]) -> None:
    """Fields of any length end up in one whole line, cut and marked as cut when they have to be."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        emit(Workspace(folder, folder, "w"), "test.long", **fields)
        (event,) = read(f"{folder}/ops/events")
    assert event["event"] == "test.long"
    assert event.get("cut") or {k: event[k] for k in fields} == fields


def test_reading_starts_at_a_time_and_passes_over_torn_lines(workspace: Project) -> None:
    """`since` is a lower bound over files and lines; a line cut by a full disk is left out."""
    day, now = "2026-01-01", rfc3339()
    workspace.write(f"ops/events/{day}.jsonl", f'{{"at":"{day}T23:59:59.999Z","event":"a"}}\n{{"at":"2026-0\n')
    workspace.write("ops/events/2026-01-02.jsonl", '{"at":"2026-01-02T00:00:00.000Z","event":"b"}\n[1]\n')
    folder = str(workspace.ops / "events")
    assert [e["event"] for e in read(folder)] == ["a", "b"]
    assert [e["event"] for e in read(folder, since="2026-01-02")] == ["b"]
    assert list(read(folder, since=now)) == []
    assert list(read(str(workspace.ops / "missing"))) == []
    assert parse("[1]") is None


def test_what_is_no_event_hides_none(workspace: Project) -> None:
    """Behind the beginning of a line that a full disk cut, or zeros, the event that came next is told; times that are
    none, numbers that no float holds, thousands of brackets, and files that are none, fail nobody."""
    at = '{"at":"2026-01-01T10:00:00.000Z","event":'
    odd = ['{"at":5,"event":"b"}', at + '"c","n":1e999}', at + '"d","n":NaN}', "[" * 9999, '"', "", at + '"e"}\r']
    text = at + '"a"}\n' + at + '"x","tex' + at + '"b"}\n' + "\0" * 5000 + at + '"c"}\n' + "\n".join(odd) + "\n"
    workspace.write("ops/events/2026-01-01.jsonl", text)
    workspace.write("ops/events/2026-01-01 2.jsonl", text)
    workspace.write("ops/events/2026-01-02.jsonl/in-the-way", "")
    os.mkfifo(workspace.ops / "events" / "2026-01-03.jsonl")
    folder = str(workspace.ops / "events")
    assert [(e["event"], e["at"] == 5) for e in read(folder)] == [(n, i == 3) for i, n in enumerate("abcbe")]
    found = list(newest(folder, Wanted(), since="2026-01-01", until="2026-01-02"))
    assert [e["event"] for e in found] == list("ecba")
    assert [e["event"] for e in Follower(folder).news()] == list("abcbe")
    tally = current(workspace.facts())
    assert (tally.events, tally.bad_lines) == (4, 8)
    with pytest.raises(OSError, match="device"):
        append(f"{folder}/2026-01-03.jsonl", "{}")  # without a reader a pipe takes nothing


def test_who_was_stopped_while_he_closes_a_day_stops_no_writer(workspace: Project, monkeypatch: Any) -> None:
    """A lock that is not given back is waited for a moment; the line is in the file that its holder will compress."""
    monkeypatch.setattr(events, "_PATIENCE", 0.01)
    path = workspace.write("ops/events/2026-01-01.jsonl", "")
    with Locked(str(path)):
        append(str(path), '{"at":"2026-01-01T10:00:00.000Z","event":"a"}')
    monkeypatch.setattr(events, "same_file", lambda fd, path: False)  # nor does a filesystem of other ways
    append(str(path), '{"at":"2026-01-01T10:00:00.000Z","event":"b"}')
    assert [e["event"] for e in read(str(path.parent))] == ["a", "b"]


def test_an_event_that_cannot_be_written_fails_nobody(workspace: Project) -> None:
    """A file in the place of the events folder: the event is lost, the work goes on."""
    workspace.write("ops/events", "in the way")
    emit(workspace.facts(), "test.lost")


def test_an_end_is_one_and_lines_may_be_chosen(workspace: Project) -> None:
    """`until` is an upper bound over files and lines; `take` makes events of lines."""
    for day in ("2026-01-01", "2026-01-02"):
        workspace.write(
            f"ops/events/{day}.jsonl", "".join(f'{{"at":"{day}T0{n}:00:00.000Z","n":{n}}}\n' for n in "123")
        )
    folder = str(workspace.ops / "events")
    assert [e["n"] for e in read(folder, since="2026-01-01T02", until="2026-01-02T03")] == [2, 3, 1, 2]
    assert [e["n"] for e in read(folder, until="2026-01-02")] == [1, 2, 3]
    assert [e["n"] for e in read(folder, take=lambda line: {"at": "2", "n": 0} if b":2}" in line else None)] == [0, 0]
