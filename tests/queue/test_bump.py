"""Bumping: one ticket moves, all others keep their order; who may go because of it goes at once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.queue import names, view
from tests.queue.owners import Owners, files

ANY = st.integers(1, 99)


@given(ANY, st.lists(ANY, max_size=8))
def test_the_front_is_in_front_and_of_the_same_priority(rank: int, ahead: list[int]) -> None:
    """The new rank has the old one's priority and stands before all of it, unless no number is left before them."""
    front = names.front_of(rank, ahead)
    here = names.class_of(rank)
    rivals = [r for r in ahead if names.class_of(r) == here]
    assert names.class_of(front) == here
    assert names.priority_name(front) == names.priority_name(rank)
    assert 1 <= front <= 99
    if not rivals:
        assert front == rank
    else:
        assert front <= min(rivals)
        assert front < min(rivals) or names.class_of(front - 1) != here or front == 1


def serve(owners: Owners, holder: int) -> list[int]:
    """Release until nobody waits; who was let in, in order."""
    served = []
    while owners.now("waiting"):
        owners.end(holder)
        owners.until(lambda: owners.now("granted"), "the next")
        [holder] = owners.now("granted")
        served.append(holder)
    return served


def test_bumped_to_the_front(tmp_path: Path) -> None:
    """The bumped one is next of its priority, behind higher ones; bumped later is before bumped earlier."""
    with Owners(tmp_path) as owners:
        holder, *waiters = [owners.enqueue({"a": 1}) for _ in range(6)]
        high = owners.enqueue({"a": 1}, 30)
        low = owners.enqueue({"a": 1}, 70)
        for waiter in (waiters[2], waiters[4]):
            moved = view.bump(str(tmp_path), owners.number[waiter])
            assert moved is not None
            assert moved[0].seq == moved[1].seq == owners.number[waiter]
        assert view.bump(str(tmp_path), owners.number[low]) is not None, "alone it is in front already"
        rows = [r["ticket"] for r in view.entries(str(tmp_path)) if r["state"] == "waiting"]
        order = [high, waiters[4], waiters[2], waiters[0], waiters[1], waiters[3], low]
        assert rows == [owners.number[o] for o in order]
        assert serve(owners, holder) == order
        assert owners.over == []


def test_into_another_priority(tmp_path: Path) -> None:
    """At the place of its number there; back again it stands where it stood."""
    with Owners(tmp_path) as owners:
        holder, first, second, third = [owners.enqueue({"a": 1}) for _ in range(4)]
        high = owners.enqueue({"a": 1}, 30)
        assert view.bump(str(tmp_path), owners.number[second], "high") is not None
        assert view.bump(str(tmp_path), owners.number[first], "low") is not None
        assert view.bump(str(tmp_path), owners.number[third], "low") is not None
        assert view.bump(str(tmp_path), owners.number[first], "normal") is not None
        assert serve(owners, holder) == [second, high, first, third]


def test_who_may_go_because_of_it_goes(tmp_path: Path) -> None:
    """One that claims what another could use is put behind him: he is let in at once, with nobody else's help."""
    with Owners(tmp_path) as owners:
        owners.enqueue({"a": 1})
        both = owners.enqueue({"a": 1, "b": 1})
        other = owners.enqueue({"b": 1})
        assert owners.state[other] == "waiting"
        assert view.bump(str(tmp_path), owners.number[both], "low") is not None
        owners.until(lambda: owners.state[other] == "granted", "let in")


def test_what_is_not_bumped(tmp_path: Path) -> None:
    """A lease, a dead waiter, a parked place, a number that never was: None, and nothing changes."""
    with Owners(tmp_path) as owners:
        holder = owners.enqueue({"a": 1})
        parked, dead, waiter = (owners.enqueue({"a": 1}, key=k) for k in ("k", "", "w"))
        owners.end(parked)
        owners.kill(dead)
        before = [f for f in files(tmp_path) if f[0] != "w"]
        for number in (owners.number[holder], owners.number[parked], owners.number[dead], 99):
            assert view.bump(str(tmp_path), number) is None
        assert [f for f in files(tmp_path) if f[0] != "w"] == before
        same = files(tmp_path)
        assert view.bump(str(tmp_path), owners.number[waiter], "high", dry_run=True) is not None
        assert files(tmp_path) == same


def test_the_front_can_be_crowded(tmp_path: Path) -> None:
    """More bumps than there are numbers in front of a priority: the line still moves, in the order of the list."""
    with Owners(tmp_path) as owners:
        holder, *waiters = [owners.enqueue({"a": 1}) for _ in range(4)]
        for i in range(60):
            assert view.bump(str(tmp_path), owners.number[waiters[i % 3]]) is not None
        rows = [r["ticket"] for r in view.entries(str(tmp_path)) if r["state"] == "waiting"]
        assert [owners.number[o] for o in serve(owners, holder)] == rows


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_of_bumps_loses_no_wake_up(tmp_path: Path, seed: int) -> None:
    """Bumped, aged, killed and released at random, with every safety net cut: all that live are served, in order."""
    rnd = random.Random(seed)
    slots = {"a": 1, "b": 2}
    wants = [{"a": 1}, {"a": 1}, {"b": 1}, {"b": 2}, {"a": 1, "b": 1}]
    with Owners(tmp_path, slots) as owners:
        made = 0
        while made < 50 or owners.now("waiting") or owners.now("granted"):
            here = sorted(owners.now("waiting") | owners.now("granted"))
            if made < 50 and len(here) < 10:
                owners.ageing = rnd.choice([0.0, 0.01, 0.05])
                owners.enqueue(dict(rnd.choice(wants)), rnd.choice([10, 30, 50, 70]), settle=False)
                made += 1
                continue
            owners.until(lambda: owners.now("granted") or not owners.now("waiting"), "somebody holds something")
            here = sorted(owners.now("waiting") | owners.now("granted"))
            if not here:
                continue
            owner, kind = rnd.choice(here), rnd.random()
            if owners.state[owner] == "waiting" and kind < 0.7:
                view.bump(str(tmp_path), owners.number[owner], rnd.choice(["", "", "high", "normal", "low"]))
            elif owners.state[owner] == "granted" and kind < 0.8:
                owners.end(owner)
            elif kind > 0.9:
                owners.kill(owner)
        assert owners.over == []
        assert set(owners.state.values()) <= {"released", "killed"}
