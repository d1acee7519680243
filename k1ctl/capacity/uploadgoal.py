"""Whether nine uploads in ten can be done within a minute, and up to how many an hour.

Uploads come at random (Poisson) to devices that serve in order. The random numbers are drawn once, so no upload gets
shorter as the rate grows, and the highest rate that meets the goal can be found by halving.
"""

from __future__ import annotations

from functools import lru_cache

from k1ctl.capacity.queueing import TURNS, WARM, quantile
from k1ctl.capacity.scenarios import UPLOAD_GOAL
from k1ctl.capacity.variates import quantiles

_STEPS = 10  # halvings: the utilisation is then good for a thousandth
_MOST = 0.99  # of the time that devices may be busy


class Limit:
    """``goal`` seconds for ``share`` of the uploads: met up to ``rate`` uploads a second, at which the devices are busy
    for ``utilisation`` of the time. Both are 0 where it is never met, because the transfer ``alone`` (seconds that the
    share of transfers takes without a wait) is longer."""

    __slots__ = ("alone", "goal", "rate", "share", "utilisation")

    def __init__(self, goal: float, share: float, alone: float, utilisation: float, rate: float) -> None:
        self.goal, self.share, self.alone, self.utilisation, self.rate = goal, share, alone, utilisation, rate


@lru_cache(maxsize=32)
def limit(
    seconds: float,
    *,
    cv: float,
    devices: int = 1,
    goal: float = UPLOAD_GOAL,
    share: float = 0.9,
    turns: int = TURNS,
    seed: int = 1,
) -> Limit:
    """The most uploads of ``seconds`` (mean, variation ``cv``) of which ``share`` are done within ``goal`` seconds."""
    alone = seconds * quantile(quantiles(cv), share)
    if alone > goal or seconds <= 0:
        return Limit(goal, share, alone, 0.0, 0.0)
    line = _Line(devices, seconds, cv, turns, seed)
    low, high = 0.0, _MOST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if quantile(line.spans(middle), share) <= goal else (low, middle)
    return Limit(goal, share, alone, low, low * devices / seconds)


class _Line:
    """Arrivals and transfers, drawn once."""

    def __init__(self, servers: int, seconds: float, cv: float, turns: int, seed: int) -> None:
        from random import Random

        rnd = Random(seed)
        self.servers, self.seconds = servers, seconds
        self.gaps = rnd.choices(quantiles(1.0), k=turns)
        self.works = [seconds * x for x in rnd.choices(quantiles(cv), k=turns)]

    def spans(self, utilisation: float) -> list[float]:
        """Wait and transfer together of each upload, sorted, after warming up."""
        from heapq import heapreplace

        gap = self.seconds / (self.servers * utilisation)
        free, at, found = [0.0] * self.servers, 0.0, []
        for unit, work in zip(self.gaps, self.works, strict=True):
            at += unit * gap
            end = (free[0] if free[0] > at else at) + work
            heapreplace(free, end)
            found.append(end - at)
        return sorted(found[int(len(found) * WARM) :])
