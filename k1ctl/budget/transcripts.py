"""What agents wrote down of their use: one reader a kind of transcript, and reading on where the last look ended.

A transcript is a file of JSON lines that only grows. What was read of it is remembered as a `Position`; a file that is
another one now (replaced, cut, rewritten) is read anew, and the ids of its messages keep it from counting twice.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

_CHUNK = 64 << 10  # bytes read at a time: larger ones are mapped and faulted in each time, three times as slow
_LONGEST = 64 << 20  # bytes of a line: no record is longer
_MOST = 10**12  # tokens of an answer, or of a session
_NAME = 100  # characters of a name
_ID = 400
_LAST = 253_370_764_800.0  # 9999-01-01: later ones are the last day in no zone
_PROBE = 512  # bytes at both ends of what was read that tell whether the file is still that one


class Message(NamedTuple):
    """One answer of a model, as a transcript has it; the same one may come several times and grow.

    ``id`` and ``request`` name it, so that copies are known: of those with the same ``id`` and ``request`` the largest
    counts. ``side``: a copy kept beside the conversation, which counts only where no other of its ``id`` does.
    ``at`` is seconds since 1970; ``folder`` the working directory ("" unknown); token classes exclude one another.
    ``write_1h`` is the part of ``cache_write`` that is kept for an hour.
    """

    id: str
    request: str
    side: bool
    at: float
    model: str
    folder: str
    input: int
    output: int
    cache_write: int
    cache_read: int
    write_1h: int = 0
    fast: bool = False

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_write + self.cache_read


class UsageReader:
    """A kind of transcript. Subclass it and return it from `k1ctl_usage_readers`.

    ``name`` stands in reports and in the ids of messages; ``about`` is a few words for `k1ctl plugins`.
    """

    name = ""
    about = ""

    def folders(self, environ: Mapping[str, str]) -> list[str]:
        """The folders that hold such transcripts on this host, those that are there."""
        raise NotImplementedError

    def files(self, folder: str) -> Iterator[str]:
        """The transcripts below ``folder``, which may be any folder; none where it is not laid out as its kind is."""
        raise NotImplementedError

    def read(self, lines: Iterable[bytes], memory: dict[str, Any], unknown: Counter[str]) -> Iterator[Message]:
        """The messages in ``lines``, which are whole.

        ``memory`` is JSON-able and the file's own: empty at its begin, kept with its position, the same when it is read
        on. What is not understood adds one to ``unknown`` under a few words that name its kind; it is never guessed at.
        """
        raise NotImplementedError


class Position(NamedTuple):
    """How far a file was read: ``offset`` is the begin of the first line not read; ``probe`` a digest of bytes at both
    ends of what was read; ``size`` and ``changed`` (ns) are of the file as it was then; ``memory`` is the reader's."""

    inode: int
    size: int
    changed: int
    offset: int
    probe: str
    memory: str = "{}"


class Look(NamedTuple):
    """What reading on gave: the ``messages``, the new ``position``, the ``bytes`` and ``lines`` that were read.

    ``anew``: the file is not the one that was read before; ``torn`` is the length of a last line without its end.
    """

    messages: list[Message]
    position: Position
    bytes: int
    lines: int
    anew: bool
    torn: int


def unchanged(stat: os.stat_result, position: Position | None) -> bool:
    """Whether nothing was written since, as far as inode, size and time of change tell."""
    return position is not None and (stat.st_ino, stat.st_size, stat.st_mtime_ns) == position[:3]


def look(reader: UsageReader, path: str, position: Position | None, unknown: Counter[str]) -> Look:
    """Read ``path`` on from ``position``, or from its begin. Raises OSError."""
    import json

    with open(path, "rb", buffering=0) as f:
        stat = os.fstat(f.fileno())
        anew = position is not None and not _same(f.fileno(), stat, position)
        offset = 0 if position is None or anew else position.offset
        memory = {} if position is None or anew else json.loads(position.memory)
        source = _Lines(f.fileno(), offset, stat.st_size)
        messages = list(reader.read(source, memory, unknown))
        probe = _probe(f.fileno(), source.offset)
    now = Position(
        stat.st_ino, stat.st_size, stat.st_mtime_ns, source.offset, probe, json.dumps(memory, separators=(",", ":"))
    )
    return Look(messages, now, source.offset - offset, source.count, anew, stat.st_size - source.offset)


def _same(fd: int, stat: os.stat_result, position: Position) -> bool:
    if stat.st_ino != position.inode or stat.st_size < position.offset:
        return False
    return _probe(fd, position.offset) == position.probe


def _probe(fd: int, offset: int) -> str:
    from hashlib import blake2b

    ends = os.pread(fd, min(_PROBE, offset), 0) + os.pread(fd, _PROBE, max(0, offset - _PROBE))[: min(_PROBE, offset)]
    return blake2b(ends, digest_size=12).hexdigest()


class _Lines:
    """The whole lines from ``offset`` up to ``end``; ``offset`` moves behind each that was handed out.

    What is written meanwhile behind ``end`` is left to the next look: its size and time are those of the stat before.
    A line that is longer than any record is handed out as its last part behind a zero byte, which is no JSON.
    """

    def __init__(self, fd: int, offset: int, end: int) -> None:
        self.fd, self.offset, self.end, self.count = fd, offset, end, 0

    def __iter__(self) -> Iterator[bytes]:
        at = self.offset
        parts: list[bytes] = []  # of a line whose end is not there yet
        length = 0  # of that line
        while at < self.end:
            block = os.pread(self.fd, min(_CHUNK, self.end - at), at)
            if not block:
                break
            at += len(block)
            cut = block.rfind(b"\n") + 1
            if not cut:
                length += len(block)
                parts.append(block)
                if length > _LONGEST:
                    parts = [b"\0"]
                continue
            lines = b"".join((*parts, block[:cut])).split(b"\n")
            del lines[-1]
            parts = [block[cut:]]
            length = len(parts[0])
            self.count += len(lines)
            yield from lines
            self.offset = at - len(parts[0])


def below(folder: str, ending: str) -> Iterator[str]:
    """The files below ``folder`` whose names end so, in the order of their paths; links to folders are not followed.

    A folder that may not be listed comes as itself.
    """
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except PermissionError:
            yield here  # it is told as what cannot be read
            continue
        except OSError:
            continue
        names = []
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif entry.name.endswith(ending) and entry.is_file():
                names.append(entry.path)
        yield from reversed(names)


def count(value: object) -> int:
    """A number of tokens as JSON has it: 0 for null or a missing one. Raises ValueError for anything else."""
    if type(value) is int and 0 <= value <= _MOST:
        return value
    if value is None:
        return 0
    raise ValueError("not a number of tokens")


def named(value: object) -> str:
    """A name as JSON has it, of a model or a type; "" for what is none."""
    return value if isinstance(value, str) and len(value) <= _NAME and value.isprintable() else ""


def identity(value: object) -> str:
    """An id as JSON has it; "" for what is none."""
    return value if isinstance(value, str) and len(value) <= _ID and value.isprintable() else ""


def seconds(text: object) -> float:
    """Seconds since 1970 of an RFC 3339 time. Raises ValueError for anything else, also without a zone."""
    from datetime import datetime

    if not isinstance(text, str):
        raise ValueError("not a time")
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    since = at.timestamp()
    if not 0 <= since < _LAST:
        raise ValueError("a time that no clock tells")
    return since
