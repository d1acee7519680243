"""Agents by base and heavy slots, and how often so many take more than there is."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import histogram, overrun, twopart
from k1ctl.capacity.formula import GIB
from k1ctl.capacity.overrun import Spread
from k1ctl.capacity.twopart import Pool
from k1ctl.config import Config

ANNEX: dict[tuple[str, ...], Any] = {("queue", "slots", "build:fw"): 4, ("queue", "slots", "build:web"): 6}


def config(settings: dict[tuple[str, ...], Any] | None = None) -> Config:
    return Config("/r/ops/k1ctl.toml", dict(settings or {}), {})


def test_a_slot_takes_what_is_configured_else_measured_else_a_documented_default() -> None:
    """Firmware 1.1 GiB, any other build 2.2; what is no build takes nothing of its own."""
    found = config({("targets", "app", "kind"): "npm", ("targets", "boot", "kind"): "platformio"})
    assert twopart.heavy(found, "build:fw") == (twopart.FIRMWARE, twopart.FIRMWARE_SOURCE)
    assert twopart.heavy(found, "build:boot")[0] == twopart.FIRMWARE
    assert twopart.heavy(found, "build:app") == (twopart.HEAVY, twopart.HEAVY_SOURCE)
    assert twopart.heavy(found, "device:k1")[0] == 0
    for _ in range(5):
        histogram.add("build:app", 3 * GIB)
    size, origin = twopart.heavy(found, "build:app")
    assert (size, origin.partition(":")[0]) == (int(3 * GIB * 1.15), "measured")
    found.file["capacity", "heavy", "build:app"] = GIB
    assert twopart.heavy(found, "build:app") == (
        GIB,
        'configured (capacity.heavy."build:app" in /r/ops/k1ctl.toml)',
    )


def test_a_base_is_measured_apart_from_builds() -> None:
    """0.9 GB (0.66 in a burst) until class "base" has five runs: then their p95 and 15 %, in a burst their median."""
    assert (twopart.base(config())[0], twopart.burst_base(config())[0]) == (900_000_000, 660_000_000)
    for size in (400, 400, 400, 400, 500):
        histogram.add("base", size << 20)
    assert twopart.base(config())[0] == int((500 << 20) * 1.15)
    assert twopart.burst_base(config())[0] == 400 << 20
    found = config({("capacity", "base"): GIB})
    assert twopart.base(found)[0] == twopart.burst_base(found)[0] == GIB


def test_the_slots_that_count_are_builds_and_what_is_given_a_size() -> None:
    """Targets, [queue.slots] and [capacity.heavy], the heaviest first; without any the default target's build."""
    assert [(p.resource, p.slots) for p in twopart.pools(config())] == [("build:fw", 4)]
    sizes: dict[tuple[str, ...], Any] = {
        ("queue", "slots", "device:k1"): 1,
        ("queue", "slots", "test:web"): 2,
        ("capacity", "heavy", "test:web"): 3 * GIB,
    }
    found = twopart.pools(config({**ANNEX, **sizes}))
    assert [(p.resource, p.slots, p.total) for p in found] == [
        ("test:web", 2, 6 * GIB),
        ("build:web", 6, 6 * twopart.HEAVY),
        ("build:fw", 4, 4 * twopart.FIRMWARE),
    ]


def test_agents_for_each_number_of_busy_slots() -> None:
    """40 GiB, 4 x 1.1 + 6 x 2.2 GiB and 0.9 GB a base: from 47 agents with no slot busy to 26 with all ten."""
    fits = twopart.fits(40 * GIB, twopart.BASE_P95, twopart.pools(config(ANNEX)))
    assert [fit.agents for fit in fits] == [47, 45, 42, 39, 37, 34, 31, 30, 29, 28, 26]
    assert all((40 * GIB - fit.heavy) // twopart.BASE_P95 == fit.agents for fit in fits)
    assert twopart.agents(fits) == 26


def test_fewer_agents_than_slots_cannot_keep_all_slots_busy() -> None:
    """8 GiB for ten slots that would take 17.6: two agents fit, since each is in one heavy phase at most."""
    fits = twopart.fits(8 * GIB, twopart.BASE_P95, twopart.pools(config(ANNEX)))
    assert twopart.agents(fits) == 2
    assert twopart.alone_fits(fits)
    none = twopart.fits(GIB, twopart.BASE_P95, twopart.pools(config(ANNEX)))
    assert twopart.agents(none) == 1
    assert not twopart.alone_fits(none)


_POOLS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12 << 30)), max_size=3).map(
    lambda rows: sorted((Pool(f"build:{i}", n, each, "") for i, (n, each) in enumerate(rows)), key=lambda p: -p.each)
)


@given(st.integers(-1 << 34, 1 << 38), st.integers(0, 1 << 36), st.integers(1 << 20, 1 << 34), _POOLS)
def test_the_answer_fits_and_one_more_would_not(room: int, more: int, base: int, pools: list[Pool]) -> None:
    """N agents with the heaviest min(N, S) slots busy stay within the room, N + 1 do not; more room is never fewer."""
    sizes = [pool.each for pool in pools for _ in range(pool.slots)]
    found = twopart.agents(twopart.fits(room, base, pools))

    def needs(n: int) -> int:
        return n * base + sum(sizes[:n])

    assert found >= 1
    assert needs(found) <= room or found == 1
    assert needs(found + 1) > room
    assert twopart.agents(twopart.fits(room + more, base, pools)) >= found


def test_odds_agree_with_what_can_be_reckoned() -> None:
    """Fixed sizes: agents that each want the one kind of slot half of the time exceed as the binomial says."""
    pools = [Pool("build:x", 8, GIB, "configured")]
    room = 13 * GIB  # 8 agents of 1 GiB, and 5 of them in a heavy phase; 6 are too many
    found = overrun.odds(room, 8, Spread(GIB), pools, share=0.5, trials=20_000)
    assert found == pytest.approx((28 + 8 + 1) / 256, abs=0.01)  # P(X >= 6) of 8 with p = 1/2
    assert overrun.odds(room, 6, Spread(GIB), pools, share=0.5) == 0.0
    few = [Pool("build:x", 5, GIB, "configured")]
    assert overrun.odds(room, 8, Spread(GIB), few, share=0.5) == 0.0  # the sixth waits for a slot


def test_the_odds_of_thousands_of_agents() -> None:
    """Of 4000 agents 1920 want a slot: with room for 2100 there is enough, with room for 1800 there is not."""
    pools = [Pool("build:x", 4000, GIB, "configured")]
    for heavy, share in ((2100, 0.0), (1800, 1.0)):
        assert overrun.odds((4000 + heavy) * GIB, 4000, Spread(GIB), pools, share=0.48, trials=5) == share
    assert overrun.odds(5 * GIB, 4, Spread(GIB), pools, share=0.0, trials=5) == 0.0
    assert overrun.odds(7 * GIB, 4, Spread(GIB), pools, share=1.0, trials=5) == 1.0


def test_the_odds_of_the_documented_hosts() -> None:
    """The prototype's finding: 16 agents almost never take more than 40 GiB, 26 do now and then, 40 often; the same
    seed gives the same answer."""
    pools, base = twopart.pools(config(ANNEX)), overrun.base_spread(config())
    odds = [overrun.odds(40 * GIB, n, base, pools, share=0.24, trials=2000) for n in (16, 26, 40)]
    assert odds[0] <= 0.002 < odds[1] < 0.05 < odds[2]
    assert odds[0] == overrun.odds(40 * GIB, 16, base, pools, share=0.24, trials=2000)


def test_a_spread_has_the_median_and_p95_it_was_given() -> None:
    """Lognormal: half below the median, 95 % below p95, nothing above the largest."""
    from random import Random

    random, spread = Random(3), Spread(2.2, 5.4, 9.6)
    draws = sorted(spread.draw(random) for _ in range(4000))
    assert draws[2000] == pytest.approx(2.2, rel=0.05)
    assert draws[3800] == pytest.approx(5.4, rel=0.08)
    assert draws[-1] <= 9.6
    assert fmean(draws) == pytest.approx(spread.mean, rel=0.05)
    assert Spread(5.0).draw(random) == 5.0
