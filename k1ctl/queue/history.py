"""How long leases of a resource were held: what the expected start is made from."""

from __future__ import annotations

import os

from k1ctl.files import append_line, read_bytes, write_atomic

_KEEP = 20  # holds the median is taken over
_LIMIT = 16384  # bytes a file may grow to before the older half is dropped


def add(folder: str, resource: str, seconds: float) -> None:
    """Remember that ``resource`` was held for ``seconds``. A full disk loses only the estimate."""
    path = os.path.join(folder, "history", resource)
    try:
        append_line(path, f"{seconds:.3f}")
        if os.stat(path).st_size > _LIMIT:
            text = (read_bytes(path) or b"").splitlines(keepends=True)
            write_atomic(path, b"".join(text[len(text) // 2 :]))
    except OSError:
        pass


def typical(folder: str, resource: str) -> float | None:
    """The median of the last holds of ``resource`` in seconds, or None without any."""
    data = read_bytes(os.path.join(folder, "history", resource))
    holds = []
    for word in (data or b"").split()[-_KEEP:]:
        try:
            holds.append(float(word))
        except ValueError:
            continue
    return sorted(holds)[len(holds) // 2] if holds else None
