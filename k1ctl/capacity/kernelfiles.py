"""Small files of the kernel, read whole; what cannot be read is empty."""

from __future__ import annotations

import os

_CHUNK = 1 << 16  # bytes; a read of /proc gives a page or less at a time


def read(path: str) -> bytes:
    """The bytes of a file of /proc or /sys; b"" where it is not, or may not be read (PSI that is off, EOPNOTSUPP)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    parts = []
    try:
        while part := os.read(fd, _CHUNK):
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return b"".join(parts)


def number(data: bytes) -> int | None:
    """The number that a file holds; None for ``max``, ``-1`` and what is not there."""
    word = data.strip()
    return int(word) if word.isdigit() and len(word) < 20 else None


def field(data: bytes, name: bytes) -> int | None:
    """The number of the line ``name NUMBER`` in a file of such lines, as vmstat and memory.stat are."""
    head = name + b" "
    at = 0 if data.startswith(head) else data.find(b"\n" + head) + 1
    if not data.startswith(head, at):
        return None
    return number(data[at + len(head) :].partition(b"\n")[0])
