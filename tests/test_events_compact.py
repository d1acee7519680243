"""Compression of closed days: no event is lost, torn or told twice, whoever writes, is stopped or is killed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl import events, events_compact
from k1ctl.errors import BusyError
from k1ctl.events import append, read
from k1ctl.events_compact import compact
from k1ctl.events_files import parts
from k1ctl.events_find import Wanted, newest
from k1ctl.events_follow import Follower
from k1ctl.files import Locked
from k1ctl.tally.store import look, path_of
from k1ctl.units import parse_rfc3339, rfc3339
from tests.kit import Project, wait_until

DAYS = ("2026-01-01", "2026-01-02")
NOW = parse_rfc3339("2026-01-04T12:00:00.000Z")

WRITER = """
import os, sys, time
from k1ctl.events import append
folder, name = sys.argv[1:]
number = 0
while not os.path.exists(folder + "/stop"):
    day = "2026-01-01" if number < 40 else "2026-01-02"
    line = '{"at":"%sT10:00:00.000Z","event":"test.written","workspace":"%s","number":%d}'
    append(f"{folder}/{day}.jsonl", line % (day, name, number))
    number += 1
    time.sleep(0.0005)
print(number)
"""


def written(folder: Path, day: str, *numbers: int) -> None:
    """Events of a day, appended as k1ctl does."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        facts = {"at": f"{day}T10:00:00.{number:03d}Z", "event": "test.written", "workspace": "w", "number": number}
        append(str(folder / f"{day}.jsonl"), json.dumps(facts, separators=(",", ":")))


def numbers(folder: Path) -> list[int]:
    return [event["number"] for event in read(str(folder))]


def in_order(found: list[dict[str, Any]]) -> dict[str, int]:
    """How many of each writer's events there are; each writer's are the first ones, in order, none twice."""
    seen: dict[str, int] = {}
    for event in found:
        name = event["workspace"]
        assert event["number"] == seen.get(name, 0), event
        seen[name] = seen.get(name, 0) + 1
    return seen


def test_days_are_compressed_beside_writers(workspace: Project) -> None:
    """Six writers, two of them stopped and continued at random, compression all the time: a follower finds every
    writer's events from the first on, in order, none twice, and so does a reader in the end: as many as were written.
    """
    folder, dice = workspace.ops / "events", random.Random(7)
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, "-c", WRITER, str(folder)]
    writers = [subprocess.Popen([*argv, f"w{n}"], stdout=subprocess.PIPE, text=True) for n in range(6)]
    follower, followed, compressed = Follower(str(folder)), list[dict[str, Any]](), 0
    try:
        wait_until(lambda: len(parts(str(folder))) == 2)
        while compressed < 12:
            for writer in writers[:2]:
                writer.send_signal(dice.choice((signal.SIGSTOP, signal.SIGCONT)))
            rows = compact(workspace.facts(), older=0, now=NOW)
            compressed += sum(row.action == "compressed" for row in rows)
            followed += follower.news()
    finally:
        (folder / "stop").touch()
        for writer in writers:
            writer.send_signal(signal.SIGCONT)
        said = [int(writer.communicate(timeout=30)[0]) for writer in writers]
    followed += follower.news()
    follower.close()
    expected = {f"w{n}": said[n] for n in range(6) if said[n]}  # one may never have come to it
    assert in_order(followed) == in_order(list(read(str(folder)))) == expected
    compact(workspace.facts(), older=0, now=NOW)
    assert all(part.packed for part in parts(str(folder)))
    assert in_order(list(read(str(folder)))) == expected


STEPS = ("rename", "replace", "unlink", "fsync", "fdatasync", "write", "open", "close")


def test_kill_9_at_each_step_leaves_every_event_once(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the call that the kernel ended it before: readers find all events once, a tally that was kept goes on,
    and the next compression ends the work."""
    folder, place = workspace.ops / "events", workspace.facts()
    before, killed, step = 0, 0, 0
    while killed == step:
        step += 1
        written(folder, DAYS[step % 2], before, before + 1)
        before += 2
        look(place, save_after=0)
        pid = os.fork()
        if not pid:
            _die_before(step)
            compact(place, older=0, now=NOW)
            os._exit(0)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert sorted(numbers(folder)) == list(range(before)), step
        assert look(place, save_after=0).events == before
        compact(place, older=0, now=NOW)
        assert all(part.packed for part in parts(str(folder))) and not list(folder.glob(".*tmp"))
    assert step > 10
    assert sorted(numbers(folder)) == list(range(before))
    os.unlink(path_of(place))
    assert look(place).events == before


def _die_before(step: int) -> None:
    """Kill this process before its call number ``step`` to the filesystem."""
    left = [step]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def test_removed_days_stay_counted(workspace: Project) -> None:
    """Killed at each step, or not: what days came to that are removed is counted once, also by a tally made anew."""
    folder, place = workspace.ops / "events", workspace.facts()
    killed = step = total = 0
    day = parse_rfc3339("2026-01-01T00:00:00.000Z")
    while killed == step:
        step += 1
        name = rfc3339(day + step * 86400)[:10]
        written(folder, name, *range(5))
        total += 5
        compact(place, older=0, now=day + (step + 2) * 86400)
        pid = os.fork()
        if not pid:
            _die_before(step)
            compact(place, older=0, keep=0.001, now=day + (step + 2) * 86400)
            os._exit(0)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert look(place).events == total, step
        Path(path_of(place)).unlink(missing_ok=True)
        assert look(place).events == total, step
        compact(place, older=0, keep=0.001, now=day + (step + 2) * 86400)
        assert parts(str(folder)) == []
        assert look(place).events == total, step
    assert step > 15


def test_a_writer_in_the_middle_keeps_its_day(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has the lock is left alone with its file; one that is overtaken before it has the lock writes into the
    new file of the day."""
    folder, place = workspace.ops / "events", workspace.facts()
    written(folder, DAYS[0], 1)
    monkeypatch.setattr(events_compact, "_PATIENCE", 0.0)
    with open(folder / f"{DAYS[0]}.jsonl", "a") as f:
        fcntl.flock(f, fcntl.LOCK_SH)
        assert [row.action for row in compact(place, older=0, now=NOW)] == ["held"]
    assert [part.name for part in parts(str(folder))] == [f"{DAYS[0]}.jsonl"]
    lock, waiting = fcntl.flock, [True]

    def overtaken(fd: int, operation: int) -> None:
        if waiting and waiting.pop():
            compact(place, older=0, now=NOW)
        lock(fd, operation)

    monkeypatch.setattr(events.fcntl, "flock", overtaken)
    written(folder, DAYS[0], 2)
    assert [part.name for part in parts(str(folder))] == [f"{DAYS[0]}.1.jsonl.gz", f"{DAYS[0]}.jsonl"]
    assert numbers(folder) == [1, 2]


def test_a_full_disk_leaves_the_day_as_it_was(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is told, nothing half written stays, also of who was killed while he kept the tally, and the day is
    read and compressed later."""
    folder, left = workspace.ops / "events", workspace.write("ops/metrics/.tally.json.1.ab.tmp", "{")
    os.utime(left, (1, 1))
    written(folder, DAYS[0], 1, 2)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(events_compact, "_write", full)
        with pytest.raises(OSError, match="No space"):
            compact(workspace.facts(), older=0, now=NOW)
    assert sorted(os.listdir(folder)) == [".compact.lock", f"{DAYS[0]}.1.jsonl"] and not left.exists()
    assert numbers(folder) == [1, 2]
    assert [row.action for row in compact(workspace.facts(), older=0, now=NOW)] == ["compressed"]


def test_what_is_young_stays_and_a_dry_run_changes_nothing(workspace: Project) -> None:
    """Days are compressed by their end; today's never is; two at once is busy; without a folder there is nothing."""
    folder, place = workspace.ops / "events", workspace.facts()
    assert compact(place, older=0) == []
    for day in (*DAYS, "2026-01-04"):
        written(folder, day, 1)
    planned = compact(place, older=86400 * 2, now=NOW, dry_run=True)
    assert [(row.day, row.action) for row in planned] == [(DAYS[0], "compressed")]
    assert all(part.open for part in parts(str(folder)))
    with Locked(str(folder / ".compact.lock")), pytest.raises(BusyError):
        compact(place, older=0, now=NOW)
    assert [row.day for row in compact(place, older=0, now=NOW)] == list(DAYS)
    assert [row.action for row in compact(place, older=0, keep=86400 * 2, now=NOW, dry_run=True)] == ["removed"]
    names = sorted(os.listdir(folder))
    assert names == [".compact.lock", "2026-01-01.1.jsonl.gz", "2026-01-02.1.jsonl.gz", "2026-01-04.jsonl"]
    assert subprocess.run(["zcat", str(folder / names[1])], stdout=subprocess.PIPE, check=True).stdout.count(b"\n") == 1


def test_what_is_no_file_is_told_and_passed_over(workspace: Project) -> None:
    """A folder of a day's name, a pipe, a link to nothing: the other days are compressed; a copy is no day."""
    folder = workspace.ops / "events"
    written(folder, DAYS[1], 1)
    (folder / f"{DAYS[0]}.jsonl").mkdir()
    (folder / f"{DAYS[0]}.3.jsonl").symlink_to("nothing")
    os.mkfifo(folder / f"{DAYS[0]}.2.jsonl")
    (folder / f"{DAYS[1]} copy.jsonl").write_text("{}\n")
    (folder / f"{DAYS[1]}.02.jsonl").write_text("{}\n")
    for dry_run in (True, False):
        rows = compact(workspace.facts(), older=0, now=NOW, dry_run=dry_run)
        assert sorted((row.file[8:], row.action) for row in rows) == [
            ("01.2.jsonl", "unreadable"),
            ("01.3.jsonl", "unreadable"),
            ("01.jsonl", "unreadable"),
            ("02.jsonl" if dry_run else "02.1.jsonl", "compressed"),
        ]
    assert numbers(folder) == [1]


def test_a_damaged_archive_tells_what_is_whole(workspace: Project) -> None:
    """A compressed day that a disk cut short: its first events, and all of the other days."""
    folder = workspace.ops / "events"
    written(folder, DAYS[0], *range(900))
    written(folder, DAYS[1], 900)
    compact(workspace.facts(), older=0, now=NOW)
    path = folder / f"{DAYS[0]}.1.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-200])
    found = numbers(folder)
    assert found[-1] == 900 and found[:-1] == list(range(len(found) - 1)) and len(found) > 100
    assert [e["number"] for e in newest(str(folder), Wanted(), limit=3)] == [900, found[-2], found[-3]]
