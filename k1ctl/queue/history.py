"""How long leases of a resource were held: what the expected start is made from."""

from __future__ import annotations

import os

from k1ctl.errors import BusyError
from k1ctl.files import append_recent, read_bytes

_KEEP = 20  # holds the median is taken over
_LONGEST = 1e9  # s; what is more is damage
_LIMIT = 16384  # bytes a file may grow to before the older half is dropped


def add(folder: str, resource: str, seconds: float) -> None:
    """Remember that ``resource`` was held for ``seconds``. A full disk loses only the estimate."""
    append_recent(os.path.join(folder, "history", resource), f"{seconds:.3f}", _LIMIT)


def typical(folder: str, resource: str) -> float | None:
    """The median of the last holds of ``resource`` in seconds, or None without any."""
    data = read_bytes(os.path.join(folder, "history", resource))
    holds = []
    for word in (data or b"").split()[-_KEEP:]:
        try:
            seconds = float(word)
        except ValueError:
            continue
        if 0 <= seconds < _LONGEST:  # nor what is no number, nor infinite
            holds.append(seconds)
    return sorted(holds)[len(holds) // 2] if holds else None


def line_full(folder: str, resource: str, length: int, claimed: int, slots: int) -> BusyError:
    """The refusal where ``length`` tickets wait for ``claimed`` slots of a resource that has ``slots``."""
    from k1ctl.units import format_duration

    hold = typical(folder, resource)
    expected = None if hold is None else round(hold * claimed / max(1, slots), 3)
    after = "" if expected is None else f"; one more would wait about {format_duration(expected)}"
    return BusyError(
        f"{length} ticket{'s wait' if length > 1 else ' waits'} for {resource} already, as many as may{after}",
        hint=f"k1ctl queue list --resource {resource} shows them; [queue] max_length in ops/k1ctl.toml is the limit",
        code="queue-full",
        resource=resource,
        length=length,
        expected_wait_seconds=expected,
    )
