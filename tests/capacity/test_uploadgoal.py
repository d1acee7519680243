"""How many uploads an hour leave nine in ten within a minute."""

from __future__ import annotations

import math

import pytest

from k1ctl.capacity.queueing import mmc_wait_quantile
from k1ctl.capacity.uploadgoal import limit


@pytest.mark.parametrize(("seconds", "busy"), [(10, 0.77), (20, 0.57), (30, 0.32), (40, 0.08)])
def test_one_device_at_transfers_of_some_seconds(seconds: float, busy: float) -> None:
    """cv 0.3, one device: busy up to 75 to 80, 55 to 60, 30 to 35, 5 to 10 % at 10, 20, 30, 40 s."""
    found = limit(seconds, cv=0.3, turns=8000)
    assert found.utilisation == pytest.approx(busy, abs=0.045)
    assert found.rate == pytest.approx(found.utilisation / seconds)
    assert found.alone < 60


def test_a_transfer_that_is_too_long_by_itself_never_meets_the_goal() -> None:
    """50 s with cv 0.3: the p90 of the transfer alone is above a minute, so no rate is low enough."""
    found = limit(50, cv=0.3)
    assert (found.rate, found.utilisation) == (0.0, 0.0)
    assert found.alone > 60


def test_exponential_transfers_have_a_closed_form() -> None:
    """M/M/1: wait and transfer together are exponential, p90 = ln 10 / (mu - lambda); 10 s within 60: lambda is
    0.1 - ln 10 / 60 a second."""
    assert limit(10, cv=1.0, turns=20_000).rate == pytest.approx(0.1 - math.log(10) / 60, rel=0.05)


def test_constant_transfers_and_two_devices() -> None:
    """A second device more than doubles the rate; the wait that is left for it is that of Erlang's order."""
    one, two = (limit(20, cv=0.0, devices=n, turns=8000) for n in (1, 2))
    assert two.rate > 2 * one.rate
    assert mmc_wait_quantile(2, two.rate, 20, 0.9) > 40
