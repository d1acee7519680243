"""No wake-up is lost: with every safety net cut, a line under random kills, releases and cancels still empties."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from k1ctl.queue import view
from tests.queue.owners import Owners

SLOTS = {"a": 1, "b": 2, "c": 4}
WANTS = [{"a": 1}, {"a": 1}, {"b": 1}, {"b": 2}, {"c": 1}, {"c": 3}, {"a": 1, "b": 1}, {"b": 1, "c": 2}]


def storm(
    folder: Path,
    seed: int,
    clients: int,
    crowd: int = 14,
    slots: dict[str, int] = SLOTS,
    wants: Sequence[dict[str, int]] = WANTS,
) -> Owners:
    """Owners come, are killed, leave, are cancelled and release at random, with hardly a pause; returns at peace."""
    rnd = random.Random(seed)
    owners = Owners(folder, slots)
    try:
        while len(owners.needs) < clients or owners.now("waiting") or owners.now("granted"):
            owners.read()
            here = sorted(owners.now("waiting") | owners.now("granted"))
            if len(owners.needs) < clients and len(here) < crowd:
                owners.enqueue(dict(rnd.choice(wants)), rnd.choice([10, 50, 50, 70]), settle=False)
                continue
            owners.until(lambda: owners.now("granted") or not owners.now("waiting"), "somebody holds something")
            here = sorted(owners.now("waiting") | owners.now("granted"))
            if not here:
                continue
            owner = rnd.choice(sorted(owners.now("granted")) if rnd.random() < 0.5 else here)
            kind = rnd.random()
            if owners.state[owner] == "granted" and kind < 0.6:
                owners.end(owner)
            elif kind < 0.85:
                owners.kill(owner)
            elif owners.state[owner] == "waiting":
                view.cancel(str(folder), owners.number[owner], "a test")
            if rnd.random() < 0.2:
                time.sleep(rnd.uniform(0, 0.003))
    except BaseException:
        owners.__exit__(None, None, None)
        raise
    return owners


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_leaves_nobody_behind(tmp_path: Path, seed: int) -> None:
    """All that were not killed were served or told; no resource was ever over its slots; the next one is let in."""
    with storm(tmp_path, seed, clients=60) as owners:
        assert owners.over == []
        assert set(owners.state.values()) <= {"released", "killed", "queue-cancelled"}
        last = owners.enqueue({"a": 1, "b": 2, "c": 4})
        assert owners.state[last] == "granted"
        owners.end(last)
        left = {row["state"] for row in view.entries(str(tmp_path))}
        assert left <= {"dead"}, "killed behind all others, they are put away when somebody looks that far"


def test_a_killed_waiter_is_passed_at_once(tmp_path: Path) -> None:
    """The one behind a killed waiter moves up, whether he was first, in the middle, or killed with all ahead."""
    with Owners(tmp_path) as owners:
        holder, *rest = [owners.enqueue({"a": 1}) for _ in range(6)]
        owners.kill(rest[1])
        owners.kill(rest[0])
        owners.kill(holder)
        owners.until(lambda: owners.now("granted") == {rest[2]}, "the third waiter holds")
        owners.kill(rest[2])
        owners.until(lambda: owners.now("granted") == {rest[3]}, "the fourth waiter holds")
        owners.end(rest[3])
        owners.until(lambda: owners.now("granted") == {rest[4]}, "the fifth waiter holds")
        owners.end(rest[4])
        assert owners.granted == [holder, rest[2], rest[3], rest[4]]


def test_a_stopped_waiter_is_passed_over_and_keeps_his_ticket(tmp_path: Path) -> None:
    """Room that the first in line does not take for the stall time goes to the next; going on, he is next."""
    with Owners(tmp_path, stall=0.2, net=True) as owners:
        holder, first, second, third = [owners.enqueue({"a": 1}) for _ in range(4)]
        owners.signal(first, signal.SIGSTOP)
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {second}, "the second waiter holds")
        owners.signal(first, signal.SIGCONT)
        owners.end(second)
        owners.until(lambda: owners.now("granted") == {first}, "the first waiter holds")
        owners.end(first)
        owners.until(lambda: owners.now("granted") == {third}, "the third waiter holds")
        assert owners.over == []


def test_two_stopped_waiters_are_passed_over(tmp_path: Path) -> None:
    """Nobody is stuck behind several stopped ones."""
    with Owners(tmp_path, stall=0.2, net=True) as owners:
        holder, first, second, third = [owners.enqueue({"a": 1}) for _ in range(4)]
        owners.signal(first, signal.SIGSTOP)
        owners.signal(second, signal.SIGSTOP)
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {third}, "the third waiter holds", timeout=10)
        for owner in (first, second):
            owners.signal(owner, signal.SIGCONT)
        owners.end(third)
        owners.until(lambda: owners.now("granted") == {first}, "the first waiter holds")
        assert owners.over == []
