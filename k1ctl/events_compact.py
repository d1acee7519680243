"""Closed days are compressed, and removed when they are older than what is kept; no event is lost or told twice.

A day is closed by renaming its file (`k1ctl.events_files`) alone on its lock: who was in the middle of a write holds
that lock, and the day stays open; who comes later writes into a new file. What is closed never grows, so that its
compressed copy is whole when it is written and synced, and the plain file goes only then. Killed at any step, this
leaves the plain file, which readers prefer to a copy beside it.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

from k1ctl.errors import BusyError
from k1ctl.events_files import open_part, parts
from k1ctl.files import Locked, flock, sync_data, sync_folders
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.events_files import Opened, Part
    from k1ctl.workspace import Workspace

LEVEL = 6  # of zlib: a tenth of the size of most events; 9 takes three times as long for 4 % less
_DAY = 86400.0  # s
_PATIENCE = 1.0  # s
_STALE = 3600.0  # s
_LOCK = ".compact.lock"


class Row:
    """What became of a part: ``day``, ``file``, ``action`` (compressed, removed; held: a writer has it; unreadable: no
    file, or not ours), bytes before and after."""

    __slots__ = ("action", "after_bytes", "before_bytes", "day", "file")

    def __init__(self, part: Part, action: str, before: int, after: int) -> None:
        self.day, self.file, self.action = part.day, part.name, action
        self.before_bytes, self.after_bytes = before, after

    def document(self) -> dict[str, Any]:
        """The row as JSON."""
        return {name: getattr(self, name) for name in ("day", "file", "action", "before_bytes", "after_bytes")}


def compact(
    workspace: Workspace,
    *,
    older: float,
    keep: float | None = None,
    dry_run: bool = False,
    now: float | None = None,
) -> list[Row]:
    """Compress the days that ended ``older`` seconds ago, and remove those that ended ``keep`` seconds ago (None:
    none); today's is left alone. With ``dry_run`` the rows say what would be done.

    Days are counted (`k1ctl.tally`) before they are removed. What cannot be read is passed over, and told. Raises
    BusyError while another call is at it, ConfigError where the filesystem has no flock, OSError.
    """
    folder = workspace.ops_path("events")
    if not os.path.isdir(folder):
        return []
    now = time.time() if now is None else now
    last = _day(now - max(0.0, older) - _DAY)
    gone = "" if keep is None else min(_day(now - keep - _DAY), last)
    if dry_run:
        return _planned(folder, gone, last)
    lock = Locked(os.path.join(folder, _LOCK), blocking=False)
    try:
        lock.__enter__()
    except BusyError:
        raise BusyError(f"{folder} is being compressed by another call", hint="wait for it") from None
    try:
        _tidy(folder)
        _tidy_tally(workspace.ops_path("metrics"))
        rows = _close(folder, last)
        for part in parts(folder, until=last):
            if not part.packed and not part.open:
                rows.append(_compress(folder, part))
        return rows + (_remove(workspace, folder, gone) if gone else [])
    finally:
        lock.__exit__()


def _planned(folder: str, gone: str, last: str) -> list[Row]:
    rows = []
    for part in parts(folder, until=last):
        if not os.path.isfile(path := os.path.join(folder, part.name)):
            rows.append(Row(part, "unreadable", 0, 0))
            continue
        size = os.stat(path).st_size
        if gone and part.day <= gone:
            rows.append(Row(part, "removed", size, 0))
        elif not part.packed:
            rows.append(Row(part, "compressed", size, size))
    return rows


def _tidy(folder: str) -> None:
    """Remove what a killed call left half written."""
    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(".gz.tmp"):
            os.unlink(os.path.join(folder, name))


def _tidy_tally(folder: str) -> None:
    """The same of who was killed while he kept the tally; what is young may still be written."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith(".tally") and name.endswith(".tmp"):
            with suppress(OSError):
                if os.stat(path).st_mtime < time.time() - _STALE:
                    os.unlink(path)


def _close(folder: str, last: str) -> list[Row]:
    """Close the days up to ``last``; returns those that could not be."""
    held = []
    for part in parts(folder, until=last):
        if not part.open:
            continue
        path, opened = os.path.join(folder, part.name), _open(folder, part)
        if opened is None:
            held.append(Row(part, "unreadable", 0, 0))
            continue
        fd = opened.fd
        try:
            if _alone(fd, path):
                os.rename(path, os.path.join(folder, part.closed))
            else:
                size = os.fstat(fd).st_size
                held.append(Row(part, "held", size, size))
        finally:
            os.close(fd)
    sync_folders(folder)
    return held


def _open(folder: str, part: Part) -> Opened | None:
    """The part's file; None for what cannot be read: a folder or a pipe of that name, a file of somebody else."""
    try:
        return open_part(folder, part)
    except PermissionError:
        return None


def _alone(fd: int, path: str) -> bool:
    """Whether the lock could be had within `_PATIENCE`: writers hold it for microseconds, or were stopped."""
    end = time.monotonic() + _PATIENCE
    while not flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def _compress(folder: str, part: Part) -> Row:
    """Replace one closed part by its compressed copy."""
    path, opened = os.path.join(folder, part.closed), _open(folder, part)
    if opened is None:
        return Row(part, "unreadable", 0, 0)
    with opened:
        size, packed = _copy(opened.fd, path + ".gz")
    sync_folders(folder)
    os.unlink(path)
    return Row(part, "compressed", size, packed)


def _copy(fd: int, path: str) -> tuple[int, int]:
    """Write a gzip file of what ``fd`` has, whole or not at all, synced; returns (bytes read, bytes written)."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.tmp")
    try:
        size, packed = _pack(fd, temporary)
        os.replace(temporary, path)
    except OSError:  # a full disk: no worse for us
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return size, packed


def _pack(fd: int, path: str) -> tuple[int, int]:
    import zlib

    to = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        packer, size, packed = zlib.compressobj(LEVEL, zlib.DEFLATED, 31), 0, 0
        while data := os.pread(fd, 1 << 20, size):
            size += len(data)
            packed += _write(to, packer.compress(data))
        packed += _write(to, packer.flush())
        sync_data(to)
    finally:
        os.close(to)
    return size, packed


def _write(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _remove(workspace: Workspace, folder: str, last: str) -> list[Row]:
    """Remove the oldest days up to ``last``, but none that is open nor what follows it, once they are counted for
    good."""
    from k1ctl.tally.store import count_removed

    going: list[Part] = []
    for part in parts(folder, until=last):
        if not part.packed:
            going = [earlier for earlier in going if earlier.day != part.day]
            break
        going.append(part)
    if not going:
        return []
    count_removed(workspace, going[-1].day)
    rows = []
    for part in going:
        path = os.path.join(folder, part.name)
        rows.append(Row(part, "removed", os.lstat(path).st_size, 0))
        os.unlink(path)
    return rows


def _day(seconds: float) -> str:
    return rfc3339(max(0.0, seconds))[:10]
