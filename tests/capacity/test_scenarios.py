"""The annex's scenarios: its minutes come out of the model, and other hosts get theirs in proportion."""

from __future__ import annotations

import pytest

from k1ctl.capacity.queueing import Kind, Model, simulate
from k1ctl.capacity.scenarios import SCENARIOS, documented, scaled, waves


@pytest.mark.parametrize(
    ("name", "mean", "p90", "wait", "busy"),
    [("light", 3.4, 5.9, 0.05, 0.42), ("mixed", 5.4, 9.4, 0.45, 0.69), ("heavy", 7.75, 13.2, 1.67, 0.85)],
)
def test_the_annexs_minutes_come_out(name: str, mean: float, p90: float, wait: float, busy: float) -> None:
    """p90 of a turn 5.9, 9.4, 13.2 minutes, within 2.5 % and inside the annex's range; mean, wait and slots beside."""
    found = simulate(documented(name))
    assert found.turn / 60 == pytest.approx(mean, rel=0.025)
    assert found.p90 / 60 == pytest.approx(p90, rel=0.025)
    assert found.build_wait / 60 == pytest.approx(wait, abs=0.12)
    assert found.busy["fw"] == pytest.approx(busy, abs=0.02)
    low, high = SCENARIOS[name].annex or (0, 0)
    assert low <= found.p90 / 60 <= high


def test_a_burst_of_twenty_ends_after_twenty_six_minutes() -> None:
    """The last of 20 at once is done at about 26 minutes, later than the waves of the rule of thumb (23.2)."""
    found = simulate(documented("burst"))
    assert found.last / 60 == pytest.approx(26, abs=0.6)
    assert waves(documented("burst")) / 60 == pytest.approx(23.2)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_documented_load_scales_to_itself(name: str) -> None:
    """Where the usual load is the annex's mixed one, each scenario is the documented one."""
    same, base = scaled(name, documented("mixed")), documented(name)
    assert (same.agents, same.burst, same.devices) == (base.agents, base.burst, base.devices)
    assert (same.think, same.upload) == (pytest.approx(base.think), pytest.approx(base.upload))
    assert same.kinds[0].seconds == pytest.approx(base.kinds[0].seconds)
    assert same.kinds[0].uploads == pytest.approx(base.kinds[0].uploads)


def test_another_hosts_load_keeps_its_slots_and_the_proportions() -> None:
    """Builds of 90 s and 6 slots: a heavy build is 90 x 5.5 / 4.5 s, of 6 slots; a share never passes 1."""
    usual = Model(9, 100.0, [Kind("fw", 6, 90.0, uploads=0.9), Kind("web", 3, 30.0)], 20.0, devices=2)
    heavy = scaled("heavy", usual, agents=5)
    assert [k.seconds for k in heavy.kinds] == pytest.approx([110.0, 30 * 5.5 / 4.5])
    assert ([k.slots for k in heavy.kinds], heavy.devices, heavy.agents) == ([6, 3], 2, 5)
    assert heavy.think == pytest.approx(100 * 18 / 14)
    assert scaled("light", usual).kinds[0].uploads == pytest.approx(0.75)
