"""The disk as a resource: how full it is, whether there is room for something, and what a folder takes of it."""

from __future__ import annotations

import os
import stat
from math import ceil

from k1ctl.errors import BusyError
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from k1ctl.config import Config

statvfs = os.statvfs  # tests put their own disk here
_FULL = 99  # percent: nobody goes beyond this
_BLOCK = 512  # bytes: the unit of st_blocks, whatever the filesystem's own is (sys_stat.h(0p), POSIX leaves it open)


class Use:
    """How full a filesystem is for an ordinary user, in bytes; ``percent`` is rounded up, as df(1) shows it.

    ``total`` is what is used plus what is ``free``: blocks that only the superuser may take are in neither. Files are
    counted too (``inodes``, ``inodes_free``; 0 where the filesystem makes them as it goes).
    """

    __slots__ = ("free", "inodes", "inodes_free", "total")

    def __init__(self, total: int, free: int, inodes: int = 0, inodes_free: int = 0) -> None:
        self.total, self.free, self.inodes, self.inodes_free = total, free, inodes, inodes_free

    @property
    def percent(self) -> int:
        return self.percent_with(0)

    def percent_with(self, need_bytes: int) -> int:
        """The use in percent once ``need_bytes`` more are taken; more than 100 when they do not fit."""
        return ceil(100 * (self.total - self.free + need_bytes) / self.total) if self.total else 0

    @property
    def inodes_percent(self) -> int:
        """The use of inodes in percent; 0 where they are not counted."""
        return ceil(100 * (self.inodes - self.inodes_free) / self.inodes) if self.inodes else 0

    def document(self) -> dict[str, int]:
        return {"total_bytes": self.total, "free_bytes": self.free, "used_percent": self.percent}


def use(path: str) -> Use:
    """How full the filesystem is that ``path`` lies on, or would lie on: it need not exist yet. Raises OSError."""
    there = os.path.abspath(path)
    while not os.path.lexists(there) and there != os.path.dirname(there):
        there = os.path.dirname(there)
    facts = statvfs(there)
    unit = facts.f_frsize or facts.f_bsize
    used, free = facts.f_blocks - facts.f_bfree, facts.f_bavail
    return Use((used + free) * unit, free * unit, facts.f_files, facts.f_favail)


def check_room(config: Config, path: str, need_bytes: int, what: str, *, frees: bool = False) -> None:
    """Make sure that ``need_bytes`` more on the disk of ``path`` leave it below ``disk.stop_percent``.

    ``what`` names what is about to take them, as in "the worktree oslo". ``frees``: what takes them is the way to more
    room (an archive before its worktree goes), so they only have to fit: a full disk must not lock itself.
    Raises BusyError (disk-full) with the figures.
    """
    limit = config.get("disk", "stop_percent")
    if not limit:
        return
    limit = max(limit, _FULL) if frees else limit
    now = use(path)
    after = now.percent_with(need_bytes)
    if after <= limit and now.inodes_percent <= limit:
        return
    if after <= limit:
        found = f"{now.inodes_percent} % of its files are used, {now.inodes_free} are left"
    else:
        need = f"; {what} needs {format_size(need_bytes)}" if need_bytes else ""
        found = f"it is at {now.percent} %, {format_size(now.free)} are free{need}"
    raise BusyError(
        f"no room for {what} on the disk of {path}: {found}, and "
        + (f"nothing goes beyond {_FULL} %" if frees else f"disk.stop_percent is {limit}"),
        hint="k1ctl worktree du shows what takes the room; k1ctl archive run --dry-run what could go",
        code="disk-full",
        path=path,
        need_bytes=need_bytes,
        stop_percent=limit,
        **now.document(),
    )


def suggest(config: Config, path: str) -> str:
    """What to tell when the disk of ``path`` is used above ``disk.archive_percent``; "" when it is not, or unknown."""
    limit = config.get("disk", "archive_percent")
    try:
        now = use(path)
    except OSError:
        return ""
    if not limit or now.percent <= limit:
        return ""
    return f"disk is at {now.percent} %; `k1ctl archive run --dry-run` shows what could go"


class Taken:
    """What `walk` found: allocated ``bytes`` by kind, the number of ``entries``, how many folders were ``denied``."""

    __slots__ = ("bytes", "denied", "entries")

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.entries = self.denied = 0

    @property
    def total(self) -> int:
        return sum(self.bytes.values())


def measure(path: str, *, skip: Collection[str] = ()) -> int:
    """Bytes allocated for ``path`` and all below it, a file with several names counted once; links are not followed.

    ``skip``: absolute paths of folders below it that are left out. What vanishes meanwhile or cannot be read is not
    counted. Blocks that files share (reflinks, APFS clones) count for each: no portable call tells them apart.
    """
    return walk(path, skip=skip).total


def walk(
    path: str, *, skip: Collection[str] = (), kind: Callable[[str, str, str], str] = lambda path, name, outer: outer
) -> Taken:
    """As `measure`, by kind: ``kind(path, name, kind of the folder around it)`` names that of a folder and of what is
    directly in it; that of ``path`` is "".

    One thread: each step is one short system call, and several threads or processes were measured to be no faster.
    """
    taken = Taken()
    try:
        top = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return taken
    taken.bytes[""], taken.entries = top.st_blocks * _BLOCK, 1
    seen: set[tuple[int, int]] = set()
    folders = [(path, "")] if stat.S_ISDIR(top.st_mode) else []
    while folders:
        folder, outer = folders.pop()
        try:
            with os.scandir(folder) as found:
                _add(taken, found, outer, folders, skip, kind, seen)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            taken.denied += 1
    return taken


def _add(
    taken: Taken,
    found: Iterable[os.DirEntry[str]],
    outer: str,
    folders: list[tuple[str, str]],
    skip: Collection[str],
    kind: Callable[[str, str, str], str],
    seen: set[tuple[int, int]],
) -> None:
    """Count the entries of one folder, and put those that are folders onto ``folders``."""
    count = total = 0
    for entry in found:
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(facts.st_mode):
            if entry.path in skip:
                continue
            own = kind(entry.path, entry.name, outer)
            folders.append((entry.path, own))
            taken.bytes[own] = taken.bytes.get(own, 0) + facts.st_blocks * _BLOCK
            count += 1
            continue
        if facts.st_nlink > 1:
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
        total += facts.st_blocks * _BLOCK
        count += 1
    taken.entries += count
    taken.bytes[outer] = taken.bytes.get(outer, 0) + total
