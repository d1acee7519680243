"""Waiting raises: who waits long is served, whatever comes behind him; within a priority the number decides."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from k1ctl.queue import names, view
from k1ctl.queue.order import risen
from tests.queue.owners import Owners, files

LOW, NORMAL, HIGH, CRITICAL = 70, 50, 30, 10


@given(st.integers(1, 99), st.floats(0.01, 1e6), st.lists(st.floats(0, 1e5), min_size=1, max_size=20))
def test_ageing_depends_on_the_time_alone(rank: int, ageing: float, steps: list[float]) -> None:
    """Looked at often or once, a ticket has risen equally far: one priority an interval, to high, never to critical."""
    often = (rank, 0.0)
    now = 0.0
    for step in steps:
        now += step
        often = risen(*often, ageing, now)
    assert often == risen(rank, 0.0, ageing, now)
    classes = [LOW, NORMAL, HIGH]
    if names.class_of(rank) in classes and rank > HIGH:
        gained = min(int(now // ageing), 3)  # the quotient may be off by one where the sum was rounded
        at = [min(2, classes.index(names.class_of(rank)) + gained + off) for off in (-1, 0, 1)]
        assert often[0] in [rank, *(classes[a] for a in at if a >= 0)]
    assert often[0] <= rank
    assert rank <= HIGH or often[0] >= HIGH
    assert risen(rank, 0.0, 0.0, now) == (rank, 0.0), "0 turns it off"


@given(
    ageing=st.integers(1, 50),
    holds=st.lists(st.integers(1, 5), min_size=1, max_size=10),
    arrivals=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([HIGH, NORMAL, LOW])), max_size=60),
)
def test_low_is_served_within_the_bound(ageing: int, holds: list[int], arrivals: list[tuple[int, int]]) -> None:
    """One slot, a model clock, a line that a stream of newer ones never leaves empty: a low ticket is served after two
    intervals and the time that the older ones and one hold take; within a priority tickets are served by number.
    """
    waiting: list[tuple[int, int, float]] = [(HIGH, n, 0.0) for n in range(3)] + [(LOW, 3, 0.0)]
    number, now, served_at = 4, 0, None
    stream = iter(arrivals)
    for turn in range(2000):
        gap, priority = next(stream, (0, HIGH if turn % 2 else NORMAL))
        if gap == 0:
            waiting.append((priority, number, float(now)))
            number += 1
        waiting = [(*risen(rank, since, ageing, now), n) for rank, n, since in waiting]  # type: ignore[misc]
        waiting = [(rank, n, since) for rank, since, n in waiting]  # type: ignore[misc]
        first = min(waiting)
        assert all(n > first[1] for rank, n, _ in waiting if rank == first[0] and n != first[1])
        waiting.remove(first)
        if first[1] == 3:
            served_at = now
            break
        now += holds[turn % len(holds)]
    older = 3 * max(holds)
    assert served_at is not None
    assert served_at <= 2 * ageing + older + max(holds)


def test_low_is_served_although_others_keep_coming(tmp_path: Path) -> None:
    """Somebody of a higher priority always waits, and the low one is let in all the same; nothing looks unasked."""
    with Owners(tmp_path) as owners:
        owners.ageing = 0.15
        holder, low = owners.enqueue({"a": 1}, NORMAL), owners.enqueue({"a": 1}, LOW)
        waiters = [owners.enqueue({"a": 1}, NORMAL)]
        while owners.state[low] == "waiting":
            waiters.append(owners.enqueue({"a": 1}, NORMAL))
            owners.end(holder)
            owners.until(lambda: owners.now("granted"), "somebody is let in")
            [holder] = owners.now("granted")
        assert owners.now("waiting") != set(), "it went before one that came later"
        assert owners.over == []
        served = [o for o in owners.granted if o != low]
        assert served == sorted(served)


def test_without_ageing_it_waits(tmp_path: Path) -> None:
    """With 0 the priority stays what was asked for."""
    with Owners(tmp_path) as owners:
        holder, low = owners.enqueue({"a": 1}, NORMAL), owners.enqueue({"a": 1}, LOW)
        for _ in range(10):
            newer = owners.enqueue({"a": 1}, NORMAL)
            owners.end(holder)
            owners.until(lambda newer=newer: owners.now("granted") == {newer}, "the newer one")  # type: ignore[misc]
            holder = newer
        assert owners.state[low] == "waiting"


def test_a_waiter_ages_to_high_and_no_further(tmp_path: Path) -> None:
    """The name says it; the number stays; critical ones still go first."""
    with Owners(tmp_path) as owners:
        owners.ageing = 0.05
        holder, low = owners.enqueue({"a": 1}), owners.enqueue({"a": 1}, LOW)
        number = owners.number[low]
        owners.until(lambda: any(f.startswith(f"w{HIGH}.{number:010d}.") for f in files(tmp_path)), "high")
        critical = owners.enqueue({"a": 1}, CRITICAL)
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {critical}, "critical first")
        assert any(f.startswith(f"w{HIGH}.") for f in files(tmp_path))


def test_a_place_that_is_taken_over_keeps_what_waiting_gained(tmp_path: Path) -> None:
    """A waiter killed again and again ages as if it had been one; asked for anew with another priority it has that."""
    with Owners(tmp_path) as owners:
        owners.ageing = 0.05
        owners.enqueue({"a": 1})
        low = owners.enqueue({"a": 1}, LOW, key="me")
        number = owners.number[low]
        owners.until(lambda: any(f.startswith(f"w{HIGH}.") for f in files(tmp_path)), "high")
        owners.kill(low)
        owners.ageing = 1000.0
        again = owners.enqueue({"a": 1}, LOW, key="me")
        assert owners.number[again] == number
        assert any(f.startswith(f"w{HIGH}.{number:010d}.") for f in files(tmp_path))
        owners.kill(again)
        owners.enqueue({"a": 1}, NORMAL, key="me")
        assert any(f.startswith(f"w{NORMAL}.{number:010d}.") for f in files(tmp_path))


def test_a_stopped_waiter_does_not_age_until_it_goes_on(tmp_path: Path) -> None:
    """Nobody ages another; what the stopped one missed comes at its next look."""
    with Owners(tmp_path) as owners:
        holder = owners.enqueue({"a": 1})
        owners.ageing = 0.5
        low = owners.enqueue({"a": 1}, LOW)
        owners.signal(low, signal.SIGSTOP)
        owners.ageing = 0.05
        other = owners.enqueue({"a": 1}, LOW, key="x")
        owners.until(
            lambda: any(f.startswith(f"w{HIGH}.{owners.number[other]:010d}.") for f in files(tmp_path)), "high"
        )
        assert any(f.startswith(f"w{LOW}.{owners.number[low]:010d}.") for f in files(tmp_path))
        owners.signal(low, signal.SIGCONT)
        owners.until(lambda: any(f.startswith(f"w{HIGH}.{owners.number[low]:010d}.") for f in files(tmp_path)), "high")
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {low}, "the older one")


def test_one_thought_less_urgent_begins_anew(tmp_path: Path) -> None:
    """Put to low by hand, an aged waiter does not jump back at its next look."""
    with Owners(tmp_path) as owners:
        owners.enqueue({"a": 1})
        owners.ageing = 0.05
        waiter = owners.enqueue({"a": 1}, NORMAL)
        number = owners.number[waiter]
        owners.until(lambda: any(f.startswith(f"w{HIGH}.") for f in files(tmp_path)), "high")
        os.kill(owners.pids[waiter], signal.SIGSTOP)
        assert view.bump(str(tmp_path), number, "low") is not None
        assert any(f.startswith(f"w{LOW}.{number:010d}.") for f in files(tmp_path))
        os.kill(owners.pids[waiter], signal.SIGCONT)
        owners.until(lambda: any(f.startswith(f"w{NORMAL}.{number:010d}.") for f in files(tmp_path)), "one step")
