"""When an error budget burns: by exact binomial tails, against a reference of fractions."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.slo import burn
from k1ctl.slo.binomial import fewest, tail
from k1ctl.slo.burn import ENOUGH, FEW, FIRING, LEVEL, PAIRS, QUIET, UNKNOWN, burns, pairs

DAY = PAIRS[-1][1]


def exact(failures: int, events: int, rate: Fraction) -> Fraction:
    """P(at least ``failures`` of ``events``), without rounding."""
    chances = (comb(events, i) * rate**i * (1 - rate) ** (events - i) for i in range(failures, events + 1))
    return sum(chances, Fraction(0))


@settings(max_examples=60)
@given(st.data())
def test_the_tail_is_that_of_the_binomial_distribution(data: st.DataObject) -> None:
    """It agrees with a sum of fractions to 1e-9 of itself, also far out, and falls with each further failure."""
    events = data.draw(st.integers(0, 120))
    failures = data.draw(st.integers(0, events))
    percent = data.draw(st.integers(1, 60))
    found, reference = tail(failures, events, percent / 100), exact(failures, events, Fraction(percent, 100))
    assert found == pytest.approx(float(reference), rel=1e-9)
    assert failures == 0 or found <= tail(failures - 1, events, percent / 100) + 1e-12


def test_the_tail_of_many() -> None:
    """A million events cost nothing and overflow nothing; what is no figure is refused."""
    assert tail(50_000, 1_000_000, 0.05) == pytest.approx(0.5, abs=0.01)
    assert tail(60_000, 1_000_000, 0.05) < 1e-300
    assert tail(1_000_000, 1_000_000, 0.05) == 0.0 and tail(0, 5, 0.0) == 1.0 and tail(1, 5, 0.0) == 0.0
    for wrong in ((3, 2, 0.1), (-1, 2, 0.1), (1, 2, 1.1)):
        with pytest.raises(ValueError, match="of"):
            tail(*wrong)


@given(st.integers(1, 95))
def test_the_fewest_events_that_can_tell(percent: int) -> None:
    """All of so many failing is no chance, all of one fewer is one."""
    rate = percent / 100
    count = fewest(rate, LEVEL)
    assert tail(count, count, rate) < LEVEL
    assert count == 1 or tail(count - 1, count - 1, rate) >= LEVEL * (1 - 1e-9)


@given(st.integers(1, 99))
def test_no_factor_whose_threshold_passes_all(percent: int) -> None:
    """A pair that not even failures alone would let fire is left out; the slowest is always there."""
    allowed = percent / 100
    kept = pairs(allowed)
    assert all(factor * allowed < 1 for _, _, _, factor in kept) and kept[-1] == PAIRS[-1]
    assert [p for p in PAIRS if p not in kept] == [p for p in PAIRS if p[3] * allowed >= 1]


def test_which_factors_fit_the_annex() -> None:
    """95 and 98 percent have all three, the p90s no 14.4."""
    assert [[p[0] for p in pairs(allowed)] for allowed in (0.02, 0.05, 0.1)] == [
        ["fast", "slow", "day"],
        ["fast", "slow", "day"],
        ["slow", "day"],
    ]


def at(*ends: tuple[float, bool]) -> tuple[burn.Burn, ...]:
    """The pairs of a 95 % objective where these ended, each (seconds ago, whether it failed), newest first."""

    def counts(seconds: float) -> tuple[int, int]:
        within = [bad for age, bad in ends if age <= seconds]
        return sum(within), len(within)

    return tuple(burns(counts, ends, 0.05))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 2 * DAY), st.booleans()), max_size=60))
def test_a_pair_fires_where_all_of_its_conditions_hold(ends: list[tuple[float, bool]]) -> None:
    """Enough events, the threshold, the exact tail and the short window: it fires with all of them and only then."""
    ends.sort()
    for found, (name, long, short, factor) in zip(at(*ends), PAIRS, strict=True):
        inside = [bad for age, bad in ends if age <= long]
        bad, events = sum(inside), len(inside)
        recent = [b for age, b in ends if age <= short]
        recent = recent if len(recent) >= FEW or events < FEW else inside[:FEW]
        recent = recent if events >= FEW else inside
        enough = events >= (2 if name == "day" else ENOUGH)
        threshold = Fraction(str(factor)) / 20
        fires = bad >= threshold * events and exact(bad, events, Fraction(1, 20)) < Fraction(1, 100)
        fires = fires and sum(recent) > 0 and sum(recent) >= threshold * len(recent)
        assert found.state == (UNKNOWN if not enough else FIRING if fires else QUIET)


def test_low_traffic() -> None:
    """Of three builds a day: one failure tells nothing, two of two do, and successes behind them end it."""
    hour = 3600.0
    assert at((hour, True))[-1].state == UNKNOWN
    assert at((hour, True), (2 * hour, False))[-1].state == QUIET
    assert at((5 * hour, True), (9 * hour, True))[-1].state == FIRING
    failed = [(5 * hour, True), (6 * hour, True), (7 * hour, True)]
    assert at(*failed)[-1].state == FIRING
    after = at((3 * hour, False), (3.1 * hour, False), (3.2 * hour, False), *failed)[-1]
    assert (after.state, after.short) == (QUIET, 3.2 * hour), "the last three were well"
    assert at((3 * hour, False), (3.1 * hour, False), *failed)[-1].state == FIRING
    assert at((2 * DAY, True), (2 * DAY, True))[-1].events == 0


def test_much_traffic() -> None:
    """All of an hour failing fires the fastest pair; a third failing over six hours the slow one, not the fast one."""
    minute = 60.0
    assert [b.state for b in at(*((i * minute, True) for i in range(30)))] == [FIRING] * 3
    third = at(*((i * 3 * minute, i % 3 == 0) for i in range(120)))
    assert [b.state for b in third] == [QUIET, FIRING, FIRING] and third[1].rate == pytest.approx(20 / 3)
    at_it = at(*((i * minute, i % 10 < 3) for i in range(20)))[1]
    assert (at_it.bad, at_it.events, at_it.state) == (6, 20, FIRING), "at the threshold, 6 x 5 %, is enough"
    steady = at(*((i * minute, i % 20 == 0) for i in range(1000)))
    assert [b.state for b in steady] == [QUIET] * 3, "what is allowed is no burn"
