"""The tally's file ``ops/metrics/tally.json``: read, brought up to date with what is new in the events, kept.

Readers never wait: who does not get the lock counts for himself and writes nothing. A file that is missing, damaged or
of another version is made anew from all events there are.
"""

from __future__ import annotations

import fcntl
import os
import time

from k1ctl.errors import ConfigError
from k1ctl.files import flock, read_json, write_json
from k1ctl.jsontext import loads
from k1ctl.tally.fold import DAMAGE, Activity, Open, Tally
from k1ctl.tally.histogram import parse
from k1ctl.tally.kinds import Outcome
from k1ctl.tally.windows import Series

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.turnlog import Turn
    from k1ctl.workspace import Workspace

VERSION = 1
_CHUNK = 1 << 20


def path_of(workspace: Workspace) -> str:
    """The tally's file."""
    return workspace.ops_path("metrics", "tally.json")


def look(workspace: Workspace, *, now: float | None = None) -> Tally:
    """What all events come to, those of now included. Raises nothing for damage, nor for what cannot be written."""
    path, folder = path_of(workspace), workspace.ops_path("events")
    lock = _lock(path)
    try:
        tally, positions = _load(path)
        if fold(tally, positions, folder) and lock >= 0:
            for series in tally.series.values():
                series.prune(time.time() if now is None else now)
            try:
                write_json(path, _document(tally, positions))
            except (OSError, ValueError):
                pass
    finally:
        if lock >= 0:
            os.close(lock)
    return tally


def _lock(path: str) -> int:
    """A descriptor that holds the tally's lock; -1 where another one has it, or it cannot be made."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(os.path.join(os.path.dirname(path), ".tally.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return -1
    try:
        if flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path):
            return fd
    except (OSError, ConfigError):
        pass
    os.close(fd)
    return -1


def fold(tally: Tally, positions: dict[str, list[int]], folder: str) -> bool:
    """Count what is new under ``folder``; whether there was anything."""
    try:
        names = sorted(n for n in os.listdir(folder) if n.endswith(".jsonl"))
    except OSError:
        return False
    new = False
    for name in names:
        try:
            fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            new = _fold_file(tally, positions, name, fd) or new
        finally:
            os.close(fd)
    return new


def _fold_file(tally: Tally, positions: dict[str, list[int]], name: str, fd: int) -> bool:
    stat = os.fstat(fd)
    inode, offset = positions.get(name, [stat.st_ino, 0])
    if inode != stat.st_ino or stat.st_size < offset:
        offset = 0
    began = offset
    while offset < stat.st_size:
        block = os.pread(fd, _CHUNK, offset)
        end = block.rfind(b"\n") + 1
        if not end:
            break
        offset += end
        for line in block[:end].splitlines():
            try:
                tally.take(loads(line.decode()))
            except DAMAGE:
                tally.bad_lines += 1
    positions[name] = [stat.st_ino, offset]
    return offset > began


def _load(path: str) -> tuple[Tally, dict[str, list[int]]]:
    try:
        return _restored(read_json(path))
    except (OSError, *DAMAGE):
        return Tally(), {}


def _document(tally: Tally, positions: dict[str, list[int]]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "since": tally.since,
        "at": tally.at,
        "events": tally.events,
        "bad_lines": tally.bad_lines,
        "positions": positions,
        "counts": tally.counts,
        "outcomes": [[*key, number] for key, number in tally.outcomes.items()],
        "seconds": [[*key, histogram.document()] for key, histogram in tally.seconds.items()],
        "waits": {name: histogram.document() for name, histogram in tally.waits.items()},
        "last": [_row(outcome) for outcome in tally.last],
        "workspaces": {
            name: [a.at, a.event, a.build and _row(a.build), a.upload and _row(a.upload), a.turns]
            for name, a in tally.workspaces.items()
        },
        "series": [[*key, series.document()] for key, series in tally.series.items()],
        "open": {run: [o.asked, o.began, o.wait, o.resources, o.workspace, o.told] for run, o in tally.open.items()},
        "promised": tally.promised,
        "turns": {name: [getattr(turn, slot) for slot in _TURN] for name, turn in tally.turns.items()},
    }


_TURN = ("workspace", "slot", "begun", "ended", "wait", "build", "upload_wait", "upload", "idle")


def _row(outcome: Outcome) -> list[Any]:
    return [getattr(outcome, slot) for slot in _OUTCOME]


_OUTCOME = (
    "at",
    "kind",
    "target",
    "result",
    "workspace",
    "run",
    "device",
    "seconds",
    "wait_seconds",
    "code",
    "message",
)


def _outcome(row: list[Any]) -> Outcome:
    return Outcome(*row[:4], **dict(zip(_OUTCOME[4:], row[4:], strict=True)))


def _restored(document: Any) -> tuple[Tally, dict[str, list[int]]]:
    """The tally of a document. Raises one of `DAMAGE` for one that is damaged or of another version."""
    if document["version"] != VERSION:
        raise ValueError(document["version"])
    tally = Tally()
    tally.since, tally.at = str(document["since"]), str(document["at"])
    tally.events, tally.bad_lines = int(document["events"]), int(document["bad_lines"])
    tally.counts = {str(name): int(number) for name, number in document["counts"].items()}
    tally.outcomes = {(a, b, c): int(number) for a, b, c, number in document["outcomes"]}
    tally.seconds = {(a, b): parse(text) for a, b, text in document["seconds"]}
    tally.waits = {name: parse(text) for name, text in document["waits"].items()}
    tally.last = [_outcome(row) for row in document["last"]]
    for name, (at, event, build, upload, turns) in document["workspaces"].items():
        activity = tally.workspaces[name] = Activity(at, event)
        activity.build, activity.upload = build and _outcome(build), upload and _outcome(upload)
        activity.turns = int(turns)
    tally.series = {(a, b): Series(one) for a, b, one in document["series"]}
    for run, (asked, began, wait, resources, workspace, told) in document["open"].items():
        known = tally.open[run] = Open(float(asked), float(began), float(wait), list(resources), str(workspace))
        known.told = bool(told)
    tally.promised = {run: float(wait) for run, wait in document["promised"].items()}
    tally.turns = {name: _turn(row) for name, row in document["turns"].items()}
    return tally, {name: [int(inode), int(offset)] for name, (inode, offset) in document["positions"].items()}


def _turn(row: list[Any]) -> Turn:
    from k1ctl.capacity.turnlog import Turn

    made = Turn.__new__(Turn)
    for slot, value in zip(_TURN, row, strict=True):
        setattr(made, slot, value)
    made.think = None
    return made
