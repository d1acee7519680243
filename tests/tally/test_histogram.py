"""Durations in buckets: sums add up, bounds that objectives name are exact, quantiles are near."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.tally.histogram import BOUNDS, SHOWN, Histogram, merged, parse

durations = st.lists(st.floats(0, 2e6), min_size=1, max_size=60)


@settings(max_examples=40)
@given(durations, durations)
def test_sums_add_up_and_quantiles_are_near(ours: list[float], theirs: list[float]) -> None:
    """Merged, written and read: the histogram of all; a quantile lies in the bucket of the value that it stands for."""
    one, other, both = Histogram(), Histogram(), Histogram()
    for histogram, values in ((one, ours), (other, theirs), (both, ours + theirs)):
        for value in values:
            histogram.add(value)
    found = parse(merged([one, other]).document())
    assert (found.count, found.cells) == (both.count, both.cells)
    assert found.sum == pytest.approx(both.sum, abs=1e-4)
    ordered = sorted(ours + theirs)
    for p in (0.0, 0.5, 0.9, 1.0):
        value, near = ordered[max(0, -int(-p * len(ordered) // 1) - 1)], both.quantile(p)
        assert near is not None
        assert value / 1.26 - 0.001 <= near <= value * 1.26 + 0.001 or value > BOUNDS[-1]
    for bound, number in both.buckets():
        assert number == sum(v <= bound for v in ordered) == both.within(bound)


def test_what_objectives_name_is_a_bound() -> None:
    """One minute, two, fifteen: no share of a bucket is guessed there. Neighbours are at most a quarter apart."""
    assert {60.0, 120.0, 300.0, 900.0} <= set(SHOWN) <= set(BOUNDS)
    assert all(1 < high / low <= 1.2501 for low, high in pairwise(BOUNDS))
    assert Histogram().quantile(0.5) is None
