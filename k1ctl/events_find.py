"""Events that are wanted, the newest first: blocks from the ends of the files, parsed only where the words occur."""

from __future__ import annotations

from collections import deque

from k1ctl.events import AT, parse
from k1ctl.events_files import open_part, parts
from k1ctl.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    from k1ctl.events_files import Opened

    T = TypeVar("T")

BLOCK = 1 << 18  # bytes
_MAGIC = "*?["


class Wanted:
    """Which events: any of the ``events`` (names or globs; none: all), of this ``run``, ``workspace``, ``ticket``."""

    __slots__ = ("_any", "_every", "events", "run", "ticket", "workspace")

    def __init__(
        self,
        events: Iterable[str] = (),
        *,
        run: str | None = None,
        workspace: str | None = None,
        ticket: int | None = None,
    ) -> None:
        self.events, self.run, self.workspace, self.ticket = tuple(events), run, workspace, ticket
        self._any = [_word(name) for name in self.events]
        self._every = [dumps(value).encode() for value in (run, workspace) if value is not None and value.isascii()]
        if ticket is not None:
            self._every += [b'"ticket"', str(ticket).encode()]

    def may(self, line: bytes) -> bool:
        """Whether a line may hold such an event; False is certain."""
        for word in self._every:
            if word not in line:
                return False
        return not self._any or any(word in line for word in self._any)

    def matches(self, event: dict[str, Any]) -> bool:
        """Whether it is such an event."""
        if self.events and not any(_fits(str(event.get("event", "")), name) for name in self.events):
            return False
        if self.run is not None and event.get("run") != self.run:
            return False
        if self.ticket is not None and event.get("ticket") != self.ticket:
            return False
        return self.workspace is None or event.get("workspace") == self.workspace

    def take(self, line: bytes) -> dict[str, Any] | None:
        """The event in a line, if it is such a one."""
        event = parse(line.decode("utf-8", "replace")) if self.may(line) else None
        return event if event is not None and self.matches(event) else None


def newest(
    folder: str, wanted: Wanted, *, limit: int | None = None, since: str = "", until: str = ""
) -> Iterator[dict[str, Any]]:
    """The wanted events under ``folder`` (``ops/events``), the newest first, ``limit`` at most, from the time ``since``
    on and before ``until`` (RFC 3339). Compressed days are read too; what is torn is passed over."""

    def take(line: bytes) -> dict[str, Any] | None:
        event = wanted.take(line)
        if event is None:
            return None
        at = str(event.get("at", ""))
        return event if at >= since and (not until or at < until) else None

    left = limit
    for part in reversed(parts(folder, since=since, until=until)):
        if left is not None and left <= 0:
            return
        opened = open_part(folder, part)
        if opened is None:
            continue
        with opened:
            for event in tail(opened, take, left, since=since, may=wanted.may):
                yield event
                left = None if left is None else left - 1


def tail(
    opened: Opened,
    take: Callable[[bytes], T | None],
    limit: int | None = None,
    *,
    since: str = "",
    end: int = -1,
    may: Callable[[bytes], bool] | None = None,
) -> Iterator[T]:
    """What ``take`` makes of the lines before byte ``end``, the last line first, what it makes None of left out.

    Reading ends at a block of which every line is older than ``since``; one in which ``may`` says that nothing is
    wanted is not cut into lines. A compressed part has to be read from its beginning: of it the last ``limit`` are
    kept.
    """
    if opened.packed:
        kept: deque[T] = deque(maxlen=limit)
        for block in opened.blocks():
            if may is not None and not may(block):
                continue
            kept.extend(made for line in block.splitlines() if (made := take(line)) is not None)
        yield from reversed(kept)
        return
    number, oldest = 0, since.encode()
    for block in _backwards(opened, whole(opened) if end < 0 else end):
        if may is not None and not may(block):
            continue
        lines = block.splitlines()
        if oldest and all(line[:7] == AT and line[7:31] < oldest for line in lines):
            return
        for line in reversed(lines):
            if limit is not None and number >= limit:
                return
            made = take(line)
            if made is not None:
                number += 1
                yield made


def whole(opened: Opened) -> int:
    """The byte behind the last whole line; 0 without any."""
    if opened.packed:
        return opened.size
    end = opened.size
    while end > 0:
        start = max(0, end - BLOCK)
        at = opened.read(start, end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _backwards(opened: Opened, end: int) -> Iterator[bytes]:
    """Whole lines before ``end``, which is behind one, a block at a time, the last block first."""
    size = BLOCK
    while end > 0:
        start = max(0, end - size)
        data = opened.read(start, end - start)
        cut = 0 if start == 0 else data.find(b"\n") + 1
        if start and cut in (0, len(data)):  # no line begins in it
            size *= 2
            continue
        yield data[cut:]
        end, size = start + cut, BLOCK


def _fits(name: str, glob: str) -> bool:
    if not any(c in glob for c in _MAGIC):
        return name == glob
    from fnmatch import fnmatchcase

    return fnmatchcase(name, glob)


def _word(glob: str) -> bytes:
    """What every line with such an event has in it; as much of a glob as is fixed at its beginning."""
    fixed = glob
    for i, c in enumerate(glob):
        if c in _MAGIC:
            fixed = glob[:i]
            break
    if not fixed.isascii():
        return b""
    text = dumps(fixed).encode()
    return text if fixed == glob else text[:-1]
