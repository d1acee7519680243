"""The files of ``ops/events``: a day that is written to, days that are closed, and closed ones that are compressed.

- ``2026-11-21.jsonl`` is what writers append to
- ``2026-11-21.1.jsonl`` was that until it was closed: nobody opens it for writing any more
- ``2026-11-21.1.jsonl.gz`` is the same, compressed; where both are there, this one is not finished

What a writer still had to say after its day was closed goes into a new ``2026-11-21.jsonl``, which is closed as
number 2. So a part keeps its number and its bytes whatever becomes of its file, and who remembers how many bytes of
it he read goes on from there.
"""

from __future__ import annotations

import os
from stat import S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN, PACKED = ".jsonl", ".jsonl.gz"
CHUNK = 1 << 20  # bytes that are read at once
_GZIP = 31  # zlib's word for: with a gzip header, and the largest window


class Part:
    """A piece of the record: its ``day``, ``number`` within it (from 1), the ``name`` of its file, and whether that is
    ``open`` for writers, or ``packed``."""

    __slots__ = ("day", "name", "number", "open", "packed")

    def __init__(self, day: str, number: int, name: str, *, open: bool = False) -> None:
        self.day, self.number, self.name, self.open = day, number, name, open
        self.packed = name.endswith(PACKED)

    @property
    def key(self) -> tuple[str, int]:
        return self.day, self.number

    @property
    def closed(self) -> str:
        """The name that it has, or will have, when nobody writes to it."""
        return f"{self.day}.{self.number}{PLAIN}"


def parts(folder: str, *, since: str = "", until: str = "") -> list[Part]:
    """The parts under ``folder`` in order of time; ``since`` and ``until`` (RFC 3339) leave out the days beyond."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found: dict[tuple[str, int], Part] = {}
    rest: dict[str, str] = {}
    for name in names:
        stem = name.removesuffix(".gz").removesuffix(PLAIN)
        day, _, number = stem.partition(".")
        if not name.endswith((PLAIN, PACKED)) or not _is_day(day):
            continue  # of another program, or a copy that somebody made
        if (since and day < since[:10]) or (until and day > until[:10]):
            continue
        if number.isdecimal() and number[0] != "0":
            key = day, int(number)
            if key not in found or name.endswith(PLAIN):
                found[key] = Part(*key, name)
        elif not number and (day not in rest or name.endswith(PLAIN)):
            rest[day] = name
    last: dict[str, int] = {}
    for day, at in found:
        last[day] = max(last.get(day, 0), at)
    for day, name in rest.items():  # also one that somebody compressed by hand
        found[day, last.get(day, 0) + 1] = Part(day, last.get(day, 0) + 1, name, open=name.endswith(PLAIN))
    return [found[key] for key in sorted(found)]


class Opened:
    """A part's file, opened: ``inode`` of what is not compressed (else 0), ``size`` of all its lines in bytes."""

    __slots__ = ("fd", "inode", "packed", "size")

    def __init__(self, fd: int, *, packed: bool) -> None:
        self.fd, self.packed = fd, packed
        stat = os.fstat(fd)
        self.inode, self.size = (0, _unpacked(fd, stat.st_size)) if packed else (stat.st_ino, stat.st_size)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)

    def blocks(self, offset: int = 0, *, chunk: int = CHUNK) -> Iterator[bytes]:
        """Whole lines from byte ``offset`` on, about ``chunk`` bytes at a time, up to the size it had when opened."""
        carry: list[bytes] = []
        for data in self._unzip(offset, chunk) if self.packed else self._read(offset, chunk):
            end = data.rfind(b"\n") + 1
            if end:
                yield b"".join((*carry, data[:end])) if carry else data[:end]
                carry = [data[end:]] if end < len(data) else []
            else:
                carry.append(data)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a part that is not compressed."""
        return os.pread(self.fd, size, offset)

    def _read(self, offset: int, chunk: int) -> Iterator[bytes]:
        while offset < self.size and (data := os.pread(self.fd, min(chunk, self.size - offset), offset)):
            offset += len(data)
            yield data

    def _unzip(self, skip: int, chunk: int) -> Iterator[bytes]:
        import zlib

        made, at = zlib.decompressobj(_GZIP), 0
        try:
            while not made.eof and (data := made.unconsumed_tail or os.pread(self.fd, (chunk >> 2) + 1, at)):
                at += 0 if made.unconsumed_tail else len(data)
                text = made.decompress(data, chunk)
                if skip:
                    skip, text = max(0, skip - len(text)), text[skip:]
                if text:
                    yield text
        except zlib.error:
            return  # damaged from here on


def open_part(folder: str, part: Part) -> Opened | None:
    """The part's file, also when it was closed or compressed since it was listed; None when it is gone.

    Raises OSError for a file that is there and cannot be read.
    """
    names = [part.closed, part.closed + ".gz"]
    if part.open:
        fd = _open(os.path.join(folder, part.name))
        # a name that is given again: it is this part only as long as nothing was closed under its number
        if fd is not None and not any(os.path.exists(os.path.join(folder, name)) for name in names):
            return Opened(fd, packed=False)
        if fd is not None:
            os.close(fd)
    elif part.name not in names:
        names.append(part.name)
    for name in names:
        fd = _open(os.path.join(folder, name))
        if fd is not None:
            return Opened(fd, packed=name.endswith(".gz"))
    return None


def _open(path: str) -> int | None:
    """A descriptor of a file; None where none is: a folder or a pipe of its name has no events."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _is_day(text: str) -> bool:
    return len(text) == 10 and text[4] == text[7] == "-" and (text[:4] + text[5:7] + text[8:]).isdecimal()


def _unpacked(fd: int, size: int) -> int:
    """Bytes before compression, from the last four of the file (RFC 1952: modulo 2^32); 0 for what is no gzip file."""
    if size < 18:
        return 0
    return int.from_bytes(os.pread(fd, 4, size - 4), "little")
