"""Is an error budget burning? By events, not by time alone, for there may be three builds a day, or three hundred.

Three pairs of windows, as the SRE Workbook has them (chapter 5, "Multiwindow, Multi-Burn-Rate Alerts"), each with the
factor by which failures have to be more frequent than allowed: the faster, the sooner it is told. One fires when

- its long window has at least `ENOUGH` events, or is that of a day, which takes what there is;
- the share of failures in it is at least factor x allowed;
- so many failures have a probability below `LEVEL` where failures are as frequent as allowed (the exact binomial tail):
  one failure of two builds is bad luck, two of two are not;
- its short window, or the newest `FEW` events where it has fewer, is as bad: it goes on.

A factor with which not even failures alone would do (14.4 x 10 % is more than all) makes no alert.
"""

from __future__ import annotations

from k1ctl.slo.binomial import fewest, tail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

LEVEL = 0.01  # probability below which it is no chance
ENOUGH, FEW = 20, 3  # events in a long window, and in a short one
# (name, long window, short window, both in seconds, factor); the last one takes what a day has
PAIRS = (("fast", 3600.0, 300.0, 14.4), ("slow", 21600.0, 1800.0, 6.0), ("day", 86400.0, 7200.0, 1.0))
_ROUNDING = 1e-12
_GROWS = 4.0  # times longer, a short window that has too few
FIRING, QUIET, UNKNOWN = "firing", "quiet", "not-enough-data"


class Burn:
    """How a pair of windows stands: ``name`` and ``factor``; the ``bad`` of ``events`` in the long window of ``long``
    seconds, the ``short_bad`` of ``short_events`` in the one of ``short``; the ``threshold`` share; ``rate``, how many
    times faster than allowed it burns (None without events); ``chance`` of so many failures where they are as frequent
    as allowed; ``state``: firing, quiet or not-enough-data."""

    __slots__ = (
        *("bad", "chance", "events", "factor", "long", "name", "rate", "short", "short_bad", "short_events", "state"),
        "threshold",
    )

    def __init__(self, name: str, long: float, factor: float, threshold: float) -> None:
        self.name, self.long, self.factor, self.threshold = name, long, factor, threshold
        self.bad = self.events = self.short_bad = self.short_events = 0
        self.short = 0.0
        self.chance, self.state = 1.0, UNKNOWN
        self.rate: float | None = None

    def document(self) -> dict[str, Any]:
        """The pair as JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "factor": self.factor,
            "threshold_ratio": round(self.threshold, 6),
            "window_seconds": self.long,
            "bad": self.bad,
            "events": self.events,
            "short_window_seconds": round(self.short, 3),
            "short_bad": self.short_bad,
            "short_events": self.short_events,
            "rate": None if self.rate is None else round(self.rate, 3),
            "chance": float(f"{self.chance:.3g}"),
        }


def pairs(allowed: float) -> list[tuple[str, float, float, float]]:
    """Those of `PAIRS` that can fire at all where a share ``allowed`` may fail: their threshold is below 1."""
    return [pair for pair in PAIRS if pair[3] * allowed < 1.0]


def burns(
    counts: Callable[[float], tuple[int, int]], newest: Sequence[tuple[float, bool]], allowed: float
) -> list[Burn]:
    """How each pair stands. ``counts(seconds)`` is (bad, all) of the last so many seconds, ``newest`` the newest events
    there are, each (seconds ago, whether it is bad), ``allowed`` the share that may be bad, above 0 and below 1."""
    return [_burn(counts, newest, allowed, *pair) for pair in pairs(allowed)]


def _burn(
    counts: Callable[[float], tuple[int, int]],
    newest: Sequence[tuple[float, bool]],
    allowed: float,
    name: str,
    long: float,
    short: float,
    factor: float,
) -> Burn:
    found = Burn(name, long, factor, factor * allowed)
    found.bad, found.events = counts(long)
    found.short, found.short_bad, found.short_events = _short(counts, newest, short, long)
    if found.events:
        found.rate = found.bad / found.events / allowed
        found.chance = tail(found.bad, found.events, allowed)
    needed = fewest(allowed, LEVEL) if long == PAIRS[-1][1] else ENOUGH
    if found.events >= needed:
        found.state = FIRING if _fires(found) else QUIET
    return found


def _short(
    counts: Callable[[float], tuple[int, int]], newest: Sequence[tuple[float, bool]], short: float, long: float
) -> tuple[float, int, int]:
    """What goes on now: (seconds, bad, all) of the short window, else of the newest `FEW` events; where these are not
    known one by one, of the shortest window that has so many."""
    bad, events = counts(short)
    last = [each for each in newest[:FEW] if each[0] <= long]
    if events < FEW and len(last) == FEW:
        return max(short, last[-1][0]), sum(is_bad for _, is_bad in last), FEW
    while events < FEW and short < long:
        short = min(long, short * _GROWS)
        bad, events = counts(short)
    return short, bad, events


def _fires(found: Burn) -> bool:
    share = found.threshold - _ROUNDING  # 14.4 x 0.02 x 125 is 36, and a little more in binary
    bad_enough = found.bad >= share * found.events and found.chance < LEVEL
    return bad_enough and found.short_bad >= share * found.short_events
