"""Silences: alerts that nobody wants to hear of for a while. They are looked at all the same."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLOCK = 60.0  # s that a clock may be set back by before a silence of later is not believed


def silenced(kept: dict[str, Any], key: str, name: str, now: float) -> float:
    """Until when (seconds since 1970) an alert is silenced by its key or its rule's name; 0.0 when it is not.

    A clock that was set back ends a silence: it would last longer than was meant.
    """
    until = 0.0
    for each in (kept["silences"].get(key), kept["silences"].get(name)):
        if each is not None and each["at"] - _CLOCK <= now < each["until"]:
            until = max(until, float(each["until"]))
    return until


def pruned(silences: dict[str, Any], now: float) -> dict[str, Any]:
    """Those that are not over."""
    return {name: each for name, each in silences.items() if each["at"] - _CLOCK <= now < each["until"]}
