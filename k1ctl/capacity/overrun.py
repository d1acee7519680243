"""How often agents that are sized by base and slots would take more than there is: a small simulation with a seed.

Each agent has its base; each is in a heavy phase for a share of its time, and as many phases run as there are slots.
Sizes are lognormal where a median and a p95 are known, and fixed where somebody configured them.
"""

from __future__ import annotations

from math import exp, lgamma, log, sqrt

from k1ctl.capacity import twopart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from random import Random

    from k1ctl.config import Config

TRIALS = 4000  # the standard error of 1 % is then 0.16 %
MOST_AGENTS, MOST_SLOTS = 5000, 300  # of `odds`, which would take many seconds for more
_Z95 = 1.645  # p95 of the standard normal distribution
_SPREAD_P95 = 2.47  # p95 over the median of heavy phases: lognormal, sigma 0.55
_LARGEST = 9_600_000_000  # bytes of the largest heavy phase seen


class Spread:
    """Sizes in bytes: lognormal around ``median`` with ``sigma``, none above ``largest`` (0: no limit)."""

    __slots__ = ("largest", "median", "sigma")

    def __init__(self, median: float, p95: float = 0.0, largest: float = 0.0) -> None:
        self.median, self.largest = median, largest
        self.sigma = log(p95 / median) / _Z95 if p95 > median > 0 else 0.0

    @property
    def mean(self) -> float:
        return self.median * exp(self.sigma**2 / 2)

    @property
    def deviation(self) -> float:
        return self.mean * sqrt(exp(self.sigma**2) - 1)

    def draw(self, random: Random) -> float:
        size = self.median * exp(random.gauss(0.0, self.sigma)) if self.sigma else self.median
        return min(size, self.largest) if self.largest else size


def base_spread(config: Config) -> Spread:
    """Sizes of an agent's base."""
    size, origin = twopart.base(config)
    if origin == twopart.BASE_SOURCE:
        return Spread(twopart.BASE_P50, twopart.BASE_P95)
    return _measured(twopart.BASE, origin) or Spread(size)


def heavy_spread(pool: twopart.Pool) -> Spread:
    """Sizes of a busy slot."""
    if pool.origin == twopart.HEAVY_SOURCE:
        return Spread(pool.each, pool.each * _SPREAD_P95, _LARGEST)
    return _measured(pool.resource, pool.origin) or Spread(pool.each)


def _measured(class_: str, origin: str) -> Spread | None:
    from k1ctl.capacity import histogram

    estimate = histogram.of(class_) if origin.startswith("measured") else None
    return Spread(estimate.p50, estimate.p95) if estimate else None


def odds(
    room: int,
    agents: int,
    base: Spread,
    pools: list[twopart.Pool],
    *,
    share: float,
    trials: int = TRIALS,
    seed: int = 1,
) -> float:
    """The part of the time, from 0 to 1, in which ``agents`` take more than ``room`` bytes.

    ``share`` of his time an agent wants a slot, of the pools in proportion to their slots; who finds none free waits,
    and takes his base only. The sum of the bases is taken as normal.
    """
    from bisect import bisect_left
    from itertools import accumulate
    from random import Random

    random = Random(seed)
    sizes = [heavy_spread(pool) for pool in pools]
    ends = list(accumulate(pool.slots for pool in pools))
    wanted = _binomial(agents, share)
    mean, deviation = agents * base.mean, sqrt(agents) * base.deviation
    over = 0
    for _ in range(trials):
        taken, busy = random.gauss(mean, deviation), [0] * len(pools)
        for _ in range(bisect_left(wanted, random.random()) if ends else 0):
            pool = bisect_left(ends, 1 + int(random.random() * ends[-1]))
            if busy[pool] < pools[pool].slots:
                busy[pool] += 1
                taken += sizes[pool].draw(random)
        over += taken > room
    return over / trials


def _binomial(n: int, p: float) -> list[float]:
    """P(X <= k) for k = 0 ... n - 1 of n trials with probability p; what is above the last is n.

    By logarithms: (1 - p) ** n is 0 in floating point for a few thousand.
    """
    if not 0 < p < 1:
        return [0.0 if p else 1.0] * n
    total, found = 0.0, []
    for k in range(n):
        ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
        total += exp(ways + k * log(p) + (n - k) * log(1 - p))
        found.append(total)
    return found
