"""Random numbers of the simulation: gamma variates from a table of quantiles, one stream for each workspace."""

from __future__ import annotations

import math
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from k1ctl.capacity.queueing import Model

BINS = 4096  # equally likely; within them an exponential loses 0.03 % of its variance, and nothing of its mean
_GRID = 4000
_CONSTANT = 1e-3  # a smaller coefficient of variation is none: the grid would not resolve it, nor would anybody notice
_FIRST, _CHUNK = 8, 128  # turns that are drawn at once, twice as many each time: of many workspaces each takes few


@lru_cache(maxsize=64)
def quantiles(cv: float) -> list[float]:
    """The means of `BINS` equally likely parts of a gamma distribution with mean 1 and coefficient of variation ``cv``
    (below `_CONSTANT`: always 1; 1: exponential), in order. Not to be changed."""
    if cv < _CONSTANT:
        return [1.0] * BINS
    share, part = _lorenz(1 / (cv * cv))
    ends, i = [], 0
    for n in range(1, BINS):
        while share[i + 1] < n / BINS:
            i += 1
        slope = (n / BINS - share[i]) / (share[i + 1] - share[i])
        ends.append(part[i] + slope * (part[i + 1] - part[i]))
    return [(b - a) * BINS for a, b in zip([0.0, *ends], [*ends, 1.0], strict=True)]


def _lorenz(shape: float) -> tuple[list[float], list[float]]:
    """Points of the Lorenz curve of a gamma distribution: the share of values below x, and their part of the sum.

    Integrated over ln x, where the density x^shape e^-x is smooth whatever the shape; mean = shape.
    """
    low = math.log(shape) - 16 / shape - 1 / math.sqrt(shape) - 1  # a millionth of the values lie below
    high = math.log(shape + 40 + 9 * math.sqrt(shape))
    share, part, total, weighted = [0.0], [0.0], 0.0, 0.0
    for n in range(_GRID + 1):
        x = math.exp(low + (high - low) * n / _GRID)
        weight = math.exp(shape * (math.log(x / shape)) - x + shape)
        total += weight
        weighted += weight * x
        share.append(total)
        part.append(weighted)
    return [s / total for s in share], [p / weighted for p in part]


def turns_of(model: Model, seed: int) -> list[Iterator[tuple[int, float, float, float]]]:
    """For each workspace its turns without end: number of the kind, seconds of build, of upload (0: none), of thinking
    afterwards."""
    from itertools import chain
    from random import Random

    return [chain.from_iterable(_stream(model, Random(seed * 1_000_003 + w))) for w in range(model.agents)]


def _stream(model: Model, rnd: Random) -> Iterator[Iterable[tuple[int, float, float, float]]]:
    units = [quantiles(k.cv) for k in model.kinds]
    thinks = quantiles(model.think_cv)
    moves = quantiles(model.upload_cv)
    think, upload = model.think, model.upload
    seconds, uploads = [k.seconds for k in model.kinds], [k.uploads for k in model.kinds]
    limits, places, many = _limits(model.shares), range(BINS), len(units) > 1
    uniform, choices, size = rnd.random, rnd.choices, _FIRST
    while True:
        # each of these draws takes the same numbers from the generator whatever the model's values
        kinds = [sum(u > x for x in limits) if many else 0 for u in [uniform() for _ in range(size)]]
        builds = [seconds[k] * units[k][i] for k, i in zip(kinds, choices(places, k=size), strict=True)]
        moved = choices(moves, k=size)
        sent = [upload * m if uniform() < uploads[k] else 0.0 for k, m in zip(kinds, moved, strict=True)]
        yield zip(kinds, builds, sent, [think * t for t in choices(thinks, k=size)], strict=True)
        size = min(2 * size, _CHUNK)


def _limits(shares: list[float]) -> list[float]:
    found, total = [], 0.0
    for share in shares[:-1]:
        total += share
        found.append(total)
    return found
