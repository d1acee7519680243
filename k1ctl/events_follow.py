"""Follow ``ops/events`` without inotify: a new day, a day that is closed, a folder that was removed and made again."""

from __future__ import annotations

import os
import sys
import time

from k1ctl.events import parse
from k1ctl.events_files import open_part, parts
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from k1ctl.events_files import Part

POLL = 0.04  # s between two looks of who waits for news
_NEWEST = 2  # parts that every look asks for: a writer that took its time before midnight appends to yesterday's
_RACY = 1_000_000_000  # ns: a folder that changed so shortly before it was listed may have changed again since
_ALL = 2.0  # s between looks at the older parts
_ALL_OF_IT = 1 << 62  # bytes


class Follower:
    """Reads each event once, in the order of the files and of their lines; a line counts once it is whole.

    A look at which nothing is new costs one stat of the folder and one of each of the newest files.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._seen: dict[tuple[str, int], tuple[int, int]] = {}  # part: (inode, bytes read up to the last whole line)
        self._parts: list[Part] = []
        self._near: list[Part] = []  # that every look asks for
        self._listed = (0, 0, 0)  # inode and mtime of the folder when it was listed, and when that was (ns)
        self._all = 0.0  # when the older parts were looked at
        self._over: set[tuple[str, int]] = set()  # compressed parts that were read to the end
        self._held: dict[tuple[str, int], int] = {}  # what was read last stays open: its inode goes to no successor

    def last(
        self,
        count: int,
        wanted: Callable[[dict[str, Any]], bool],
        may: Callable[[bytes], bool] | None = None,
    ) -> list[dict[str, Any]]:
        """The last ``count`` wanted events, oldest first; `news` goes on behind the last event there is. ``may`` says
        whether a line is worth parsing (`k1ctl.events_find.Wanted.may`)."""
        from k1ctl.events_find import tail, whole

        def take(line: bytes) -> dict[str, Any] | None:
            if may is not None and not may(line):
                return None
            event = parse(line.decode("utf-8", "replace"))
            return event if event is not None and wanted(event) else None

        found: list[dict[str, Any]] = []
        self._list()
        for part in reversed(self._parts):
            opened = open_part(self.folder, part)
            if opened is None:
                continue
            with opened:
                end = whole(opened)
                self._seen[part.key] = (opened.inode, end)
                if opened.packed:
                    self._over.add(part.key)
                if len(found) < count:
                    found += tail(opened, take, count - len(found), end=end, may=may)
        return found[::-1]

    def begin(self, since: str) -> None:
        """`news` begins with the day of the time ``since`` (RFC 3339); "": with the first there is."""
        self._list()
        for part in self._parts:
            opened = open_part(self.folder, part) if part.day < since[:10] else None
            if opened is not None:
                with opened:
                    self._seen[part.key] = (opened.inode, opened.size)
                    if opened.packed:
                        self._over.add(part.key)

    def news(self) -> Iterator[dict[str, Any]]:
        """The events that came since the last call."""
        again = self._changed()
        if again:
            self._list()
        now = time.monotonic()
        older = again or now - self._all >= _ALL
        self._all = now if older else self._all
        grown = []
        # The newest first: what a writer said before that is then within what is read of the older ones, too.
        for part in reversed(self._parts if older else self._near):
            end = self._grown(part)
            if end is not None:
                grown.append((part, end))
        for part, end in reversed(grown):
            yield from self._read(part, end)

    def _changed(self) -> bool:
        """Whether files may have come, gone, or changed their names since the folder was listed."""
        inode, mtime, at = self._listed
        stat = _stat(self.folder)
        there = (stat.st_ino, stat.st_mtime_ns) if stat else (0, 0)
        return there != (inode, mtime) or at - mtime < _RACY

    def _list(self) -> None:
        at, stat = time.time_ns(), _stat(self.folder)
        self._listed = (stat.st_ino, stat.st_mtime_ns, at) if stat else (0, 0, at)
        self._parts = parts(self.folder)
        # those of a clock that was ahead for a while are not all that is written to
        begin, end = (rfc3339(at / 1e9 - age)[:10] for age in (86400.0, 0.0))
        recent = [part for part in self._parts[:-_NEWEST] if begin <= part.day <= end and not part.packed]
        self._near = recent + self._parts[-_NEWEST:]
        there = {part.key for part in self._parts}
        for gone in self._seen.keys() - there:
            del self._seen[gone]
            self._over.discard(gone)

    def _grown(self, part: Part) -> int | None:
        """How far the part may be read now; None where it was read so far already."""
        if part.packed:
            return None if part.key in self._over else _ALL_OF_IT
        stat = _stat(os.path.join(self.folder, part.name))
        if stat is None or self._seen.get(part.key, (stat.st_ino, 0)) == (stat.st_ino, stat.st_size):
            return None
        return stat.st_size

    def _read(self, part: Part, end: int) -> Iterator[dict[str, Any]]:
        opened = open_part(self.folder, part)
        if opened is None:
            return
        with opened:
            inode, offset = self._seen.get(part.key, (opened.inode, 0))
            if opened.packed and end >= opened.size:
                self._over.add(part.key)
            elif not opened.packed:
                self._hold(part.key, opened.fd)
            if (not opened.packed and inode not in (0, opened.inode)) or opened.size < offset:
                offset = 0  # another file
            opened.size = min(opened.size, end)
            self._seen[part.key] = (opened.inode, offset)
            for block in opened.blocks(offset):
                offset += len(block)
                self._seen[part.key] = (opened.inode, offset)
                for line in block.splitlines():
                    event = parse(line.decode("utf-8", "replace"))
                    if event is not None:
                        yield event

    def _hold(self, key: tuple[str, int], fd: int) -> None:
        self._let_go(key)
        while len(self._held) >= _NEWEST:
            self._let_go(next(iter(self._held)))
        self._held[key] = os.dup(fd)

    def _let_go(self, key: tuple[str, int]) -> None:
        fd = self._held.pop(key, -1)
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Give back the descriptors."""
        for key in list(self._held):
            self._let_go(key)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def wait_for_news(seconds: float = POLL) -> bool:
    """Wait a moment; False when the reader of stdout went away, which a silent follower would never notice."""
    import select

    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        time.sleep(seconds)
        return True
    state = [flags for _, flags in poll.poll(seconds * 1000)]
    if state and not state[0] & (select.POLLERR | select.POLLHUP):
        time.sleep(seconds)  # macOS answers POLLNVAL for terminals
    return not state or not state[0] & (select.POLLERR | select.POLLHUP)
