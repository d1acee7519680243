"""The Universal Scalability Law fitted to measured throughputs, and when it must not be believed.

``X(N) = lambda N / (1 + sigma (N-1) + kappa N (N-1))``: sigma is what the copies wait for each other (contention),
kappa what they cost each other (coherency); the peak is at ``sqrt((1 - sigma) / kappa)`` (N. Gunther, Guerrilla
Capacity Planning, chapter 4). ``N / X(N)`` is linear in ``1/lambda``, ``sigma/lambda`` and ``kappa/lambda``, so the
fit is one of least squares on relative errors with no negative coefficient, exact and without a start value.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FEWEST = 4  # different N: three coefficients go through any three points
RESIDUAL = 0.10  # relative error (RMS) above which the law does not describe what was measured
BEYOND = 1.5  # times the largest N: what lies further was not measured
_FLAT = 1e-9  # a kappa below is rounding


def throughput(n: float, lambda_: float, sigma: float, kappa: float) -> float:
    """The law: completed runs a second of ``n`` copies at once; ``lambda_`` is that of one."""
    return lambda_ * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))


class Fit:
    """What the law makes of the measured points, and the answer.

    ``peak`` is the N of the highest throughput: of the law where it is believed (``origin`` law), else the measured
    one (``origin`` measured). ``n_peak`` is the law's own, not rounded; None where it has none. ``residual`` is the RMS
    of the relative errors, for the points beyond the coefficients. ``doubts`` says why the law is not believed.
    """

    __slots__ = ("doubts", "kappa", "lambda_", "n_peak", "origin", "peak", "points", "residual", "sigma")

    def __init__(self, points: list[tuple[int, float]], coefficients: tuple[float, float, float]) -> None:
        self.points = points
        self.lambda_, self.sigma, self.kappa = coefficients
        self.residual = _residual(points, coefficients)
        bends = self.kappa > _FLAT and self.sigma < 1
        self.n_peak = math.sqrt((1 - self.sigma) / self.kappa) if bends else None
        self.doubts = self._doubts()
        self.origin = "measured" if self.doubts else "law"
        self.peak = self._peak()

    def at(self, n: float) -> float:
        """Runs a second of ``n`` copies at once by the law."""
        return throughput(n, self.lambda_, self.sigma, self.kappa)

    def _doubts(self) -> list[str]:
        largest = self.points[-1][0]
        doubts = []
        if len(self.points) < FEWEST:
            doubts.append(f"{len(self.points)} different N were measured; it takes {FEWEST}")
        if self.residual > RESIDUAL:
            doubts.append(f"the law misses the points by {self.residual:.0%}; {RESIDUAL:.0%} is the limit")
        if self.sigma > 1:
            doubts.append(f"sigma is {self.sigma:.2f}: above 1 a second copy costs more than it brings, and no peak is")
        elif self.n_peak is None:
            doubts.append("kappa is 0: throughput has no peak, it only levels off")
        elif self.n_peak > BEYOND * largest:
            doubts.append(
                f"the peak would be at N = {self.n_peak:.1f}, beyond {BEYOND:g} times the largest measured ({largest})"
            )
        return doubts

    def _peak(self) -> int:
        if self.n_peak is None or self.doubts:
            return max(self.points, key=lambda p: (p[1], -p[0]))[0]
        low = max(1, math.floor(self.n_peak))
        return max((low, low + 1), key=lambda n: (self.at(n), -n))

    def text(self) -> str:
        """The answer in a sentence, with the reason where it is not the law's."""
        if not self.doubts:
            return (
                f"throughput peaks at N = {self.peak} (sigma {self.sigma:.3f}, kappa {self.kappa:.5f}, "
                f"off by {self.residual:.1%})"
            )
        return (
            f"the highest throughput measured is at N = {self.peak}; the law is not believed: {'; '.join(self.doubts)}"
        )

    def document(self) -> dict[str, Any]:
        """The fit as JSON; ``lambda`` in runs a second."""
        return {
            "lambda": round(self.lambda_, 6),
            "sigma": round(self.sigma, 6),
            "kappa": round(self.kappa, 8),
            "residual": round(self.residual, 5),
            "n_peak": None if self.n_peak is None else round(self.n_peak, 2),
            "believed": not self.doubts,
            "doubts": self.doubts,
            "peak": self.peak,
            "peak_origin": self.origin,
            "points": [{"agents": n, "throughput_per_second": round(x, 6)} for n, x in self.points],
        }


def fit(points: Sequence[tuple[int, float]]) -> Fit | None:
    """The law fitted to points (N, runs a second); several of one N are averaged. None without a positive one."""
    found: dict[int, list[float]] = {}
    for n, x in points:
        if n >= 1 and x > 0:
            found.setdefault(n, []).append(x)
    if not found:
        return None
    means = sorted((n, sum(xs) / len(xs)) for n, xs in found.items())
    return Fit(means, _coefficients(means))


def _coefficients(points: list[tuple[int, float]]) -> tuple[float, float, float]:
    """lambda, sigma and kappa of the smallest relative error, none of them negative.

    With three coefficients of which two may be 0 there are four cases; the best that has no negative one is the answer
    (Lawson and Hanson, Solving Least Squares Problems, chapter 23).
    """
    rows = [[1.0, n - 1.0, n * (n - 1.0)] for n, _ in points]
    measured = [n / x for n, x in points]
    best, best_error = (1.0, 0.0, 0.0), math.inf
    for used in ((0,), (0, 1), (0, 2), (0, 1, 2)):
        solved = _least_squares([[row[i] / y for i in used] for row, y in zip(rows, measured, strict=True)])
        if solved is None or solved[0] <= 0 or min(solved) < 0:
            continue
        full = [0.0, 0.0, 0.0]
        for i, value in zip(used, solved, strict=True):
            full[i] = value
        errors = (
            sum(c * f for c, f in zip(row, full, strict=True)) / y - 1 for row, y in zip(rows, measured, strict=True)
        )
        error = sum(e * e for e in errors)
        if error < best_error:
            best, best_error = (1 / full[0], full[1] / full[0], full[2] / full[0]), error
    return best


def _least_squares(rows: list[list[float]]) -> list[float] | None:
    """x with the smallest ``|rows x - 1|``, by modified Gram-Schmidt; None when the columns are not independent."""
    count = len(rows[0])
    columns = [[row[j] for row in rows] for j in range(count)]
    target = [1.0] * len(rows)
    r = [[0.0] * count for _ in range(count)]
    projected = [0.0] * count
    for j in range(count):
        before = math.hypot(*[row[j] for row in rows])
        r[j][j] = math.hypot(*columns[j])
        if r[j][j] <= 1e-12 * before or not before:
            return None
        columns[j] = [v / r[j][j] for v in columns[j]]
        for k in range(j + 1, count):
            r[j][k] = sum(a * b for a, b in zip(columns[j], columns[k], strict=True))
            columns[k] = [b - r[j][k] * a for a, b in zip(columns[j], columns[k], strict=True)]
        projected[j] = sum(a * b for a, b in zip(columns[j], target, strict=True))
        target = [b - projected[j] * a for a, b in zip(columns[j], target, strict=True)]
    solved = [0.0] * count
    for j in reversed(range(count)):
        solved[j] = (projected[j] - sum(r[j][k] * solved[k] for k in range(j + 1, count))) / r[j][j]
    return solved


def _residual(points: list[tuple[int, float]], coefficients: tuple[float, float, float]) -> float:
    errors = [throughput(n, *coefficients) / x - 1 for n, x in points]
    return math.sqrt(sum(e * e for e in errors) / max(1, len(points) - 3))
