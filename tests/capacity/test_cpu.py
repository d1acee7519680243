"""Cores: which ones, how much of one, and what tools are told."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import cpu


@given(st.floats(0.05, 4), st.floats(0.2, 8), st.integers(1, 40))
def test_duty_keeps_the_share(cpus: float, speed: float, rounds: int) -> None:
    """A tree that would use ``speed`` cores has used no more than its share each time it goes on, and is never stopped
    while it is below its share."""
    duty, now, used = cpu.Duty(cpus, 0.0), 0.0, 0.0
    duty.step(0.0, 0.0)
    for _ in range(rounds):
        now += cpu.WINDOW
        used += speed * cpu.WINDOW
        while still := duty.step(used, now):
            assert speed > cpus
            now += still
        assert used <= cpus * now + 0.021


def test_what_is_not_used_is_not_saved_up() -> None:
    """After an hour of rest a tree may not use an hour of two cores at once."""
    duty = cpu.Duty(1.0, 0.0)
    duty.step(0.0, 0.0)
    assert duty.step(0.0, 3600.0) == 0
    assert duty.step(1.0, 3600.1) > 0.5


def test_cores_that_the_fewest_have() -> None:
    """Cores are dealt to the one whose cores others are not kept on; fractions are no affair of affinity."""
    usable = sorted(os.sched_getaffinity(0))
    assert cpu.choose(1, [[usable[0]]]) == [usable[1 % len(usable)]]
    assert cpu.choose(len(usable), [[usable[-1]]]) == usable
    assert [cpu.whole(n) for n in (0.5, 1, 1.5, 2)] == [False, True, False, True]


def test_environment_of_inner_parallelism() -> None:
    """What is set stays; a fraction of a core is one job; a plain make stays serial."""
    found = cpu.environment(2.5, {"OMP_NUM_THREADS": "7"})
    assert "OMP_NUM_THREADS" not in found and "MAKEFLAGS" not in found
    assert set(found.values()) == {"2"} and "PYTEST_XDIST_AUTO_NUM_WORKERS" in found
    assert set(cpu.environment(0.3, {}).values()) == {"1"}
