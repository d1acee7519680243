"""Sums over time: what is remembered of one is what a fresh count says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.tally.windows import COARSE_KEPT, FINE, FINE_KEPT, Series, Window

NOW = 1_800_000_000.0
ENDS = st.tuples(
    st.integers(0, 9 * 3600),  # s ago
    st.sampled_from((-1, 0, 1)),
    st.none() | st.integers(1, 500),
    st.sampled_from((FINE, FINE_KEPT, 30_000, COARSE_KEPT)),  # the window that is asked for after it
    st.integers(-4000, 4000),  # and when
)


def told(series: Series, since: float, now: float) -> tuple[object, ...]:
    window = Window()
    series.into(window, since, now)
    return window.good, window.bad, window.ignored, window.histogram.document(), window.buckets


@settings(max_examples=60)
@given(st.lists(ENDS, min_size=1, max_size=30))
def test_a_sum_that_is_remembered_is_that_of_the_buckets(ends: list[tuple[int, int, int | None, int, int]]) -> None:
    """Ends in any order of time, windows of any length in between, also before the newest end: as counted anew, and as
    counted one by one."""
    series = Series()
    for age, verdict, seconds, length, later in ends:
        series.add(NOW - age, verdict, seconds, NOW)
        now = NOW + later
        fresh = Series(series.document())
        assert told(series, now - length, now) == told(fresh, now - length, now)
    good, bad, ignored, _, buckets = told(series, NOW - COARSE_KEPT, NOW + FINE)
    assert [good, bad, ignored] == [sum(end[1] == wanted for end in ends) for wanted in (1, -1, 0)]
    assert sum(row[1] for row in buckets) == good and sum(row[2] for row in buckets) == bad  # type: ignore[attr-defined]
