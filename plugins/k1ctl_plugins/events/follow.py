"""Follow ``ops/events`` without inotify: a new day's file, a file or a folder that was removed and made again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from k1ctl.events import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 20


class Follower:
    """Reads each event once, in the order of the files and of their lines.

    Every file is followed, not only today's: a writer that took its time just before midnight appends to
    yesterday's. A line counts once it is whole.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._seen: dict[str, tuple[int, int]] = {}  # name -> (inode, bytes read up to the last whole line)
        self._held = -1  # the file read last stays open, so its inode is not given to its successor

    def last(self, count: int, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The last ``count`` wanted events; `news` goes on behind the last event there is."""
        found: list[dict[str, Any]] = []
        for name, inode, size in reversed(self._files()):
            self._seen[name] = (inode, 0)
            if len(found) < count:
                found = [e for e in self._read(name, inode, size) if wanted(e)] + found
            else:
                self._seen[name] = (inode, size)
        return found[-count:] if count else []

    def news(self) -> Iterator[dict[str, Any]]:
        """The events that came since the last call."""
        there = self._files()
        for gone in self._seen.keys() - {name for name, _, _ in there}:
            del self._seen[gone]
        for name, inode, size in there:
            old_inode, offset = self._seen.get(name, (inode, 0))
            if old_inode != inode or size < offset:
                offset = 0
            self._seen[name] = (inode, offset)
            if size > offset:
                yield from self._read(name, inode, size)

    def _files(self) -> list[tuple[str, int, int]]:
        """The files as (name, inode, size), oldest first."""
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    if entry.name.endswith(".jsonl"):
                        stat = entry.stat()
                        found.append((entry.name, stat.st_ino, stat.st_size))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)

    def _read(self, name: str, inode: int, size: int) -> Iterator[dict[str, Any]]:
        offset = self._seen[name][1]
        try:
            fd = os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self._hold(fd)
        if os.fstat(fd).st_ino != inode:  # replaced between the listing and now: the next round sees it whole
            return
        while offset < size:
            block = os.pread(fd, _CHUNK, offset)
            end = block.rfind(b"\n") + 1
            if not end:
                return
            offset += end
            self._seen[name] = (inode, offset)
            for line in block[:end].decode(errors="replace").splitlines():
                event = parse(line)
                if event is not None:
                    yield event

    def _hold(self, fd: int) -> None:
        if self._held >= 0:
            os.close(self._held)
        self._held = fd


def wait_for_news(seconds: float) -> bool:
    """Wait a moment; False when the reader of stdout went away, which a silent follower would never notice."""
    import select
    import time

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
