"""The Universal Scalability Law: curves are recovered, and what must not be believed is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity.usl import fit, throughput

# 2 cores, g++: copies at once and runs a second as they were measured
MEASURED = [(1, 0.60), (2, 0.675), (3, 0.606), (4, 0.582), (6, 0.505), (8, 0.503), (12, 0.54)]


@settings(max_examples=60)
@given(
    st.floats(0.001, 1000),
    st.floats(0, 0.95),
    st.floats(1e-4, 0.2),
    st.sets(st.integers(1, 64), min_size=4, max_size=10),
)
def test_a_synthetic_curve_is_recovered(lambda_: float, sigma: float, kappa: float, ns: set[int]) -> None:
    """From points on the law its three coefficients and the peak come back within 0.5 %."""
    found = fit([(n, throughput(n, lambda_, sigma, kappa)) for n in ns])
    assert found is not None
    assert found.lambda_ == pytest.approx(lambda_, rel=0.005)
    assert found.sigma == pytest.approx(sigma, rel=0.005, abs=1e-6)
    assert found.kappa == pytest.approx(kappa, rel=0.005)
    assert found.n_peak == pytest.approx(((1 - sigma) / kappa) ** 0.5, rel=0.005)
    assert found.residual < 0.001


def test_a_believed_peak_is_the_better_neighbour() -> None:
    """Of the two whole N around the law's peak the one with more throughput is the answer."""
    found = fit([(n, throughput(n, 1.0, 0.05, 0.02)) for n in (1, 2, 4, 8, 12)])
    assert found is not None and found.n_peak is not None
    assert not found.doubts and found.origin == "law"
    assert found.peak == max(range(1, 20), key=found.at) == 7
    assert found.document()["believed"] is True


@pytest.mark.parametrize(
    ("points", "peak", "doubt"),
    [
        (MEASURED, 2, "sigma is"),
        ([(1, 1.0), (2, 1.8), (4, 3.0)], 4, "3 different N were measured; it takes 4"),
        ([(n, throughput(n, 1, 0.3, 0)) for n in (1, 2, 4, 8)], 8, "no peak"),
        ([(n, throughput(n, 1, 0.05, 0.0005)) for n in (1, 2, 4, 8)], 8, "N = 43.6, beyond 1.5 times"),
        ([(1, 1.0), (2, 0.7), (3, 2.6), (4, 0.9), (6, 3.5), (8, 1.0)], 6, "misses the points by"),
    ],
)
def test_what_must_not_be_believed(points: list[tuple[int, float]], peak: int, doubt: str) -> None:
    """Too few N, a sigma above 1, no peak, a far extrapolation or a bad fit: the measured best is the answer, and the
    text says why."""
    found = fit(points)
    assert found is not None
    assert (found.peak, found.origin) == (peak, "measured")
    assert doubt in found.text() and any(doubt in d for d in found.doubts)


def test_several_points_of_one_n_count_as_one() -> None:
    """Repeated measurements of one N are averaged: they are no further N."""
    found = fit([(1, 1.0), (1, 3.0), (2, 2.0), (2, 2.0)])
    assert found is not None
    assert found.points == [(1, 2.0), (2, 2.0)]
    assert fit([]) is None and fit([(1, 0.0)]) is None
