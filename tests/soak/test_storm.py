"""Thousands of clients, kills at random: never over the slots, nobody unserved, nothing left, no standstill."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.soak.storm import Storm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds children through /proc")
CLIENTS = int(os.environ.get("STORM_CLIENTS", "10000"))


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_short_storm(tmp_path: Path, slots: int) -> None:
    """A few seconds' worth of the storm below, in every run of the suite."""
    report = Storm(tmp_path, slots, clients=50, kills=20, seed=os.getpid()).run()
    print(report)
    assert report.wrong == [], str(report)
    assert report.kills >= 15


def test_a_short_storm_over_devices(tmp_path: Path) -> None:
    """Calls for one of two devices and calls for any: none is given twice, each in its order, nobody left behind."""
    report = Storm(tmp_path, 1, clients=20, kills=8, seed=os.getpid(), devices=2).run()
    print(report)
    assert report.wrong == [], str(report)
    assert report.kills >= 6


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_a_long_storm(tmp_path: Path, slots: int) -> None:
    """A third of the clients on each number of slots, three kills for ten clients, no gap above a second."""
    clients = CLIENTS // 3 + 1
    report = Storm(tmp_path, slots, clients, kills=clients * 3 // 10, seed=os.getpid()).run()
    print(report)
    assert report.wrong == [], str(report)
    assert report.kills >= clients * 3 // 10
    assert report.gap < 1.0, str(report)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_long_storm_over_devices(tmp_path: Path) -> None:
    """As many clients on three devices, half of them for any."""
    clients = CLIENTS // 3 + 1
    report = Storm(tmp_path, 1, clients, kills=clients * 3 // 10, seed=os.getpid(), devices=3).run()
    print(report)
    assert report.wrong == [], str(report)
    assert report.kills >= clients * 3 // 10
    assert report.gap < 1.0, str(report)
