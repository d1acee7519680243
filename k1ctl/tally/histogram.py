"""Durations counted in buckets that are the same everywhere and always, so that sums of histograms are histograms."""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Neighbours are at most 1.25 apart; 60, 300, 600, 900, 1800 and 3600 s are bounds, so what is within them is exact.
_STEPS = (1.0, 1.2, 1.5, 1.8, 2.0, 2.4, 3.0, 3.6, 4.5, 5.0, 6.0, 7.2, 9.0)
BOUNDS: tuple[float, ...] = tuple(float(f"{step}e{power}") for power in range(-3, 6) for step in _STEPS)
SHOWN = (
    0.005,
    0.01,
    0.05,
    0.1,
    0.5,
    1.0,
    2.0,
    5.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
)


class Histogram:
    """``count`` and ``sum`` (seconds) of what was added; what is longer than the last bound counts beyond it."""

    __slots__ = ("cells", "count", "sum")

    def __init__(self) -> None:
        self.count, self.sum = 0, 0.0  # to the microsecond
        self.cells: dict[int, int] = {}  # index of the first bound that is not below: how many

    def add(self, seconds: float) -> None:
        """Count one duration; what is below 0 counts as 0."""
        seconds = max(0.0, seconds)
        index = bisect_left(BOUNDS, seconds)
        self.cells[index] = self.cells.get(index, 0) + 1
        self.count += 1
        self.sum = round(self.sum + seconds, 6)

    def merge(self, other: Histogram) -> None:
        """Add all that ``other`` holds."""
        for index, number in other.cells.items():
            self.cells[index] = self.cells.get(index, 0) + number
        self.count += other.count
        self.sum = round(self.sum + other.sum, 6)

    def buckets(self) -> list[tuple[float, int]]:
        """(upper bound in seconds, how many were at most that) for the bounds in `SHOWN`, as Prometheus has them; all
        there are is `count`."""
        ordered = sorted(self.cells.items())
        found, total, at = [], 0, 0
        for bound in SHOWN:
            while at < len(ordered) and ordered[at][0] < len(BOUNDS) and BOUNDS[ordered[at][0]] <= bound:
                total += ordered[at][1]
                at += 1
            found.append((bound, total))
        return found

    def within(self, seconds: float) -> float:
        """How many were at most ``seconds``: exact at a bound, between two in proportion."""
        total = 0.0
        for index, number in self.cells.items():
            low, high = _edges(index)
            if high <= seconds:
                total += number
            elif low < seconds and high < float("inf"):
                total += number * (seconds - low) / (high - low)
        return total

    def quantile(self, p: float) -> float | None:
        """The duration that a part ``p`` (0 to 1) was at most, in proportion within its bucket; None without any."""
        if not self.count:
            return None
        wanted, total = p * self.count, 0
        low = high = 0.0
        for index, number in sorted(self.cells.items()):
            low, high = _edges(index)
            if total + number >= wanted:
                if high == float("inf"):
                    return low
                return low + (high - low) * max(0.0, wanted - total) / number
            total += number
        return high if high < float("inf") else low

    def document(self) -> str:
        """The histogram as one word, which `parse` reads: ``sum index:count ...``."""
        cells = " ".join(f"{index}:{number}" for index, number in sorted(self.cells.items()))
        return f"{self.sum!r} {cells}".rstrip()  # whole: a sum that is rounded each time it is kept stands still


def parse(text: str) -> Histogram:
    """What `Histogram.document` wrote. Raises ValueError."""
    made = Histogram()
    total, *cells = text.split(" ")
    made.sum = float(total)
    for cell in cells:
        index, _, number = cell.partition(":")
        made.cells[int(index)] = int(number)
    made.count = sum(made.cells.values())
    return made


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """The sum of some."""
    made = Histogram()
    for one in histograms:
        made.merge(one)
    return made


def _edges(index: int) -> tuple[float, float]:
    low = BOUNDS[index - 1] if index else 0.0
    return low, BOUNDS[index] if index < len(BOUNDS) else float("inf")
