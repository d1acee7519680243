"""What the simulated device does after an update that a fault spoils."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k1ctl.simulator.faults import Faults
from k1ctl.simulator.lives import STAYS, Lives, after_update

SECONDS = st.floats(0.01, 1000)


@given(SECONDS, SECONDS, st.sampled_from([0, 1, 3, float("inf")]), st.floats(0, 1e5))
def test_a_life(seconds: float, reboot: float, restarts: float, since: float) -> None:
    """It never restarts more often than told, counts its uptime from its last start, and answers just within a life."""
    number, into, up = Lives(seconds, reboot, restarts).at(since)
    assert 0 <= number <= min(restarts, since / seconds + 1)
    assert up is (into >= 0) or abs(into) < 1e-6
    if not up:
        assert -reboot - 1e-6 <= into
    elif number < restarts:
        assert into < seconds + 1e-6


def test_which_update() -> None:
    """A fault hits the updates it is limited to, and nothing before the first."""
    faults = Faults(["boot-loop=2s:1", "restart-after=5s:2"])
    assert after_update(faults, 0, 0.1) is STAYS and after_update(faults, 3, 0.1) is STAYS
    assert (after_update(faults, 1, 0.1).seconds, after_update(faults, 2, 0.1).restarts) == (2, 1)
