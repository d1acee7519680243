"""How likely that many failures are by chance: the exact tail of the binomial distribution."""

from __future__ import annotations

import math

_SMALL = 1e-17  # a term that changes the sum no more


def tail(failures: int, events: int, rate: float) -> float:
    """P(at least ``failures`` of ``events`` fail | each does with probability ``rate``), exact to about 1e-9.

    Raises ValueError for figures that are none of that kind.
    """
    if not (0 <= failures <= events and 0.0 <= rate <= 1.0):
        raise ValueError(f"{failures} of {events} at {rate}")
    if failures == 0:
        return 1.0
    if rate in (0.0, 1.0):
        return rate
    if failures <= events * rate:  # the sum of the shorter side; what is left of 1 loses nothing there
        return max(0.0, 1.0 - _sum(range(failures - 1, -1, -1), events, rate))
    return min(1.0, _sum(range(failures, events + 1), events, rate))


def _sum(counts: range, events: int, rate: float) -> float:
    """The probabilities of these counts, each from the one before it; they fall from the first one on."""
    first = counts[0]
    logarithm = math.lgamma(events + 1) - math.lgamma(first + 1) - math.lgamma(events - first + 1)
    logarithm += first * math.log(rate) + (events - first) * math.log1p(-rate)
    term = math.exp(logarithm)
    total, odds = term, rate / (1.0 - rate)
    for count in counts[:-1]:
        if counts.step > 0:
            term *= (events - count) / (count + 1) * odds
        else:
            term *= count / (events - count + 1) / odds
        total += term
        if term < total * _SMALL:
            break
    return total


def fewest(rate: float, level: float) -> int:
    """How many events it takes for all of them failing to be rarer than ``level``; ``rate`` is above 0 and below 1."""
    count = max(1, math.floor(math.log(level) / math.log(rate)))  # near 1 they are too many to be counted one by one
    while rate**count >= level:
        count += 1
    return count
