"""The tally's file ``ops/metrics/tally.json``: read, brought up to date with what is new in the events, kept.

Nobody waits: who does not get the lock counts for himself and writes nothing. A file that is missing, damaged or of
another version is made anew from all events there are.

Of each part of the record it is kept how far it was read, and two marks: checksums of its first bytes and of the last
that were read. A file with the same marks goes on where it was, whatever its inode (a copy, a backup that was put
back, a day that was unpacked by hand). One that begins otherwise is another file: what was counted of the one before
stays, as for any day that somebody removed. One that begins alike and was changed behind: all is counted anew.
"""

from __future__ import annotations

import gc
import os
import time
from binascii import crc32

from k1ctl.errors import BusyError, ConfigError
from k1ctl.events_files import open_part, parts
from k1ctl.files import open_locked, read_json, write_json
from k1ctl.tally.document import Positions, restored, written
from k1ctl.tally.fold import DAMAGE, Tally
from k1ctl.units import parse_rfc3339, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.events_files import Opened, Part
    from k1ctl.workspace import Workspace

SAVE_AFTER = 1 << 16  # bytes of events: what is counted again at each look until then costs less than writing
_KEEP_EVERY = 32 << 20  # bytes of events that are counted in two seconds
_OVER = 0  # in the place of an inode: a compressed part, which does not grow
_PROBE = 256  # bytes that a mark is made of: the first line's time is among them
_NO_MARK = -1
_PATIENCE = 30.0  # s for who counts a million events; longer: he was stopped


class _ChangedError(ValueError):
    """What was counted of a part is not there any more."""


def path_of(workspace: Workspace) -> str:
    """The tally's file."""
    return workspace.ops_path("metrics", "tally.json")


def base_of(workspace: Workspace) -> str:
    """What days came to that were removed since: what a tally that is made anew begins with."""
    return workspace.ops_path("metrics", "tally-removed.json")


def look(workspace: Workspace, *, now: float | None = None, save_after: int = SAVE_AFTER) -> Tally:
    """What all events come to, those of now included; kept when ``save_after`` bytes of them are new.

    Raises nothing for damage, nor for what cannot be written.
    """
    path = path_of(workspace)
    now = time.time() if now is None else now
    # where nothing was ever written no folder is made for it
    lock = _lock(path, wait=False) if os.path.isdir(workspace.ops_path("events")) else -1
    try:

        def keep(tally: Tally, positions: Positions) -> None:
            try:
                positions.forget()
                write_json(path, written(tally, positions))
            except (OSError, ValueError):
                pass

        tally, positions, new = _counted(workspace, now, keep if lock >= 0 else None)
        tally.settle()
        if new >= save_after and lock >= 0:
            keep(tally, positions)
    finally:
        if lock >= 0:
            os.close(lock)
    return tally


def count_removed(workspace: Workspace, last: str) -> None:
    """Count the days up to ``last``, which are about to be removed, for good. Raises OSError, ConfigError, BusyError:
    then they must stay."""
    now, folder = time.time(), workspace.ops_path("events")
    lock = _lock(path_of(workspace), wait=True)
    try:
        tally, positions, _ = _counted(workspace, now)
        positions.forget()
        write_json(path_of(workspace), written(tally, positions), fsync=True)
        base, known = _read(base_of(workspace), now) or (Tally(now), Positions())
        fold(base, known, folder, until=last)
        base.settle()
        known.through = max(known.through, _day_after(last))
        known.read = {}
        write_json(base_of(workspace), written(base, known), fsync=True)
    finally:
        os.close(lock)


def _counted(
    workspace: Workspace, now: float, keep: Callable[[Tally, Positions], None] | None = None
) -> tuple[Tally, Positions, int]:
    """The tally with all events of now, and how many bytes of them are new; made anew where counted ones changed."""
    folder = workspace.ops_path("events")
    tally, positions = _load(workspace, now)
    try:
        return tally, positions, fold(tally, positions, folder, keep=keep)
    except _ChangedError:
        tally, positions = _removed(workspace, now)
        new = fold(tally, positions, folder, keep=keep)
        return tally, positions, max(new, SAVE_AFTER)  # kept, however little it is


def fold(
    tally: Tally,
    positions: Positions,
    folder: str,
    *,
    until: str = "",
    keep: Callable[[Tally, Positions], None] | None = None,
) -> int:
    """Count what is new under ``folder``, of no day after ``until``; returns its bytes. ``keep`` is called now and then
    in a long count: who is killed, or comes meanwhile, need not begin anew."""
    new = kept = 0
    for part in parts(folder, since=positions.through, until=until):
        try:
            new += _fold_part(tally, positions, folder, part)
        except OSError:
            continue  # a file that cannot be read now may be another time
        if keep is not None and new - kept >= _KEEP_EVERY:
            kept = new
            keep(tally, positions)
    return new


def _fold_part(tally: Tally, positions: Positions, folder: str, part: Part) -> int:
    key = f"{part.day}.{part.number}"
    known = positions.read.get(key)
    if part.packed and known is not None and known[0] == _OVER:
        return 0
    opened = open_part(folder, part)
    if opened is None:
        return 0
    with opened:
        inode, offset, head, tail = (*known, _NO_MARK, _NO_MARK)[:4] if known else (opened.inode, 0, _NO_MARK, _NO_MARK)
        if not opened.packed and (inode, offset) != (opened.inode, opened.size):
            offset = _where(opened, offset, head, tail)
        began, first, last = offset, b"", b""
        collecting = gc.isenabled()
        gc.disable()  # a million short-lived events make no garbage, and walking them takes a third of the time
        try:
            for block in opened.blocks(offset) if offset < opened.size else ():
                tally.take_lines(block)
                offset += len(block)
                first = first if len(first) == _PROBE else (first + block)[:_PROBE]
                last = (last + block)[-_PROBE:]
        finally:
            if collecting:
                gc.enable()
        if not opened.packed:
            head, tail = _marks(opened, offset)
        elif last:
            head = crc32(first) if not began else head if began >= _PROBE else _NO_MARK
            tail = crc32(last) if len(last) == min(offset, _PROBE) else _NO_MARK
        positions.read[key] = [_OVER if opened.packed else opened.inode, offset, head, tail]
    return offset - began


def _marks(opened: Opened, offset: int) -> tuple[int, int]:
    """The marks of a plain file that was read to ``offset``."""
    size = min(offset, _PROBE)
    return crc32(opened.read(0, size)), crc32(opened.read(offset - size, size))


def _where(opened: Opened, offset: int, head: int, tail: int) -> int:
    """Where to go on in a file that grew, or is another one than was read to ``offset``: there, or at its beginning.
    Raises _ChangedError."""
    if opened.size < min(offset, _PROBE):
        return 0
    found = _marks(opened, min(offset, opened.size))
    if opened.size >= offset and (tail in (_NO_MARK, found[1])) and head in (_NO_MARK, found[0]):
        return offset
    if head == found[0]:
        raise _ChangedError
    return 0


def _load(workspace: Workspace, now: float) -> tuple[Tally, Positions]:
    """The tally that was kept; where there is none that can be used, one of the removed days."""
    return _read(path_of(workspace), now) or _removed(workspace, now)


def _removed(workspace: Workspace, now: float) -> tuple[Tally, Positions]:
    return _read(base_of(workspace), now) or (Tally(now), Positions())


def _read(path: str, now: float) -> tuple[Tally, Positions] | None:
    try:
        kept = read_json(path)
        return None if kept is None else restored(kept, now)
    except (OSError, *DAMAGE):
        return None


def _lock(path: str, *, wait: bool) -> int:
    """A descriptor that holds the tally's lock; -1, unless ``wait``, where another one has it or it cannot be made.
    Raises BusyError when it was waited for too long."""
    lock, end = os.path.join(os.path.dirname(path), ".tally.lock"), time.monotonic() + _PATIENCE
    try:
        while (fd := open_locked(lock, blocking=False)) is None and wait:
            if time.monotonic() > end:
                raise BusyError(f"{lock} is held by another process", hint="look who has it open: lsof, fuser")
            time.sleep(0.02)
    except (OSError, ConfigError):
        if wait:
            raise
        return -1
    return -1 if fd is None else fd


def _day_after(day: str) -> str:
    return rfc3339(parse_rfc3339(day + "T00:00:00Z") + 86400)[:10]
