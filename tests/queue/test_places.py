"""A place survives its waiter: parked, passed over meanwhile, taken over by the same call, given up in the end."""

from __future__ import annotations

import os
import time
from pathlib import Path

from k1ctl.queue import view
from tests.queue.owners import Owners, files

DAY = 86400


def parked(folder: Path) -> list[Path]:
    """The parked tickets."""
    return sorted((folder / "tickets").glob("p*"))


def test_the_same_call_gets_the_old_place_back(tmp_path: Path) -> None:
    """A killed waiter's key takes the old number over, ahead of all who came later."""
    with Owners(tmp_path) as owners:
        holder = owners.enqueue({"a": 1})
        mine = owners.enqueue({"a": 1}, key="me")
        other = owners.enqueue({"a": 1}, key="you")
        owners.kill(mine)
        again = owners.enqueue({"a": 1}, key="me")
        assert owners.number[again] == owners.number[mine]
        assert owners.resumed == {again}
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {again}, "the old place is served first")
        owners.end(again)
        owners.until(lambda: owners.now("granted") == {other}, "the other follows")


def test_a_parked_place_is_passed_over(tmp_path: Path) -> None:
    """Nobody waits for a waiter that is gone; when he comes back he is ahead of those who came after him."""
    with Owners(tmp_path) as owners:
        holder = owners.enqueue({"a": 1})
        mine = owners.enqueue({"a": 1}, key="me")
        second = owners.enqueue({"a": 1})
        third = owners.enqueue({"a": 1})
        owners.kill(mine)
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {second}, "the second is let in")
        assert len(parked(tmp_path)) == 1
        again = owners.enqueue({"a": 1}, key="me")
        assert owners.number[again] == owners.number[mine]
        owners.end(second)
        owners.until(lambda: owners.now("granted") == {again}, "the first is next")
        owners.end(again)
        owners.until(lambda: owners.now("granted") == {third}, "then the third")


def test_leaving_keeps_the_place_only_with_a_key(tmp_path: Path) -> None:
    """Who stops waiting parks with a key and gives up without one; a living namesake is never robbed."""
    with Owners(tmp_path) as owners:
        owners.enqueue({"a": 1})
        keyed, twin, bare = (
            owners.enqueue({"a": 1}, key="me"),
            owners.enqueue({"a": 1}, key="me"),
            owners.enqueue({"a": 1}),
        )
        assert owners.number[keyed] != owners.number[twin]
        owners.end(keyed)
        owners.end(bare)
        assert len(parked(tmp_path)) == 1
        again = owners.enqueue({"a": 1}, key="me")
        assert owners.number[again] == owners.number[keyed]
        assert owners.state[twin] == "waiting"


def test_a_place_may_be_taken_over_again_and_again(tmp_path: Path) -> None:
    """A waiter that is killed every few minutes still advances."""
    with Owners(tmp_path) as owners:
        holder = owners.enqueue({"a": 1})
        mine = owners.enqueue({"a": 1}, key="me")
        behind = owners.enqueue({"a": 1})
        number = owners.number[mine]
        for _ in range(5):
            owners.kill(mine)
            mine = owners.enqueue({"a": 1}, key="me")
            assert owners.number[mine] == number
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {mine}, "served first")
        assert owners.state[behind] == "waiting"


def test_who_comes_back_may_ask_for_something_else(tmp_path: Path) -> None:
    """The same key with other resources or another priority keeps the number and has the new wants."""
    with Owners(tmp_path, {"a": 1, "b": 2}) as owners:
        owners.enqueue({"a": 1})
        mine = owners.enqueue({"a": 1}, key="me")
        owners.kill(mine)
        again = owners.enqueue({"b": 2}, priority=10, key="me")
        assert owners.number[again] == owners.number[mine]
        assert owners.state[again] == "granted"


def test_parked_places_expire(tmp_path: Path) -> None:
    """A place parked longer than the limit is given up; the same call starts at the end."""
    with Owners(tmp_path) as owners:
        owners.park = 60.0
        owners.enqueue({"a": 1})
        mine, other = owners.enqueue({"a": 1}, key="me"), owners.enqueue({"a": 1})
        owners.end(mine)
        [place] = parked(tmp_path)
        old = time.time() - 61
        os.utime(place, (old, old))
        again = owners.enqueue({"a": 1}, key="me")
        assert owners.number[again] > owners.number[other]
        assert owners.resumed == set()
        assert parked(tmp_path) == []


def test_a_clock_set_back_neither_loses_a_place_nor_keeps_it_for_ever(tmp_path: Path) -> None:
    """A place parked an hour in the future is still good; one parked days in the future is given up."""
    with Owners(tmp_path) as owners:
        owners.park = 60.0
        owners.enqueue({"a": 1})
        near, far = owners.enqueue({"a": 1}, key="near"), owners.enqueue({"a": 1}, key="far")
        owners.end(near)
        owners.end(far)
        for place in parked(tmp_path):
            ahead = 3600 if f".{owners.number[near]:010d}." in place.name else 3 * DAY
            os.utime(place, (time.time() + ahead, time.time() + ahead))
        assert owners.number[owners.enqueue({"a": 1}, key="near")] == owners.number[near]
        assert owners.number[owners.enqueue({"a": 1}, key="far")] != owners.number[far]
        assert parked(tmp_path) == []


def test_a_parked_place_is_cancelled(tmp_path: Path) -> None:
    """Cancelling takes a parked or dead waiter's place away, also before anybody noticed the death."""
    with Owners(tmp_path) as owners:
        holder = owners.enqueue({"a": 1})
        left, dead = owners.enqueue({"a": 1}, key="left"), owners.enqueue({"a": 1}, key="dead")
        owners.end(left)
        owners.kill(dead)
        for owner in (left, dead):
            assert view.cancel(str(tmp_path), owners.number[owner], "a test")
            assert not view.cancel(str(tmp_path), owners.number[owner], "a test")
        assert files(tmp_path) == [f for f in files(tmp_path) if f.startswith("r")]
        assert not view.cancel(str(tmp_path), owners.number[holder], "a test")


def test_a_full_line_refuses(tmp_path: Path) -> None:
    """Past the limit nobody is added; who has a parked place still gets it; dead waiters do not count."""
    with Owners(tmp_path) as owners:
        owners.max_length = 3
        owners.enqueue({"a": 1})
        first, second, third = [owners.enqueue({"a": 1}, key=f"k{i}") for i in range(3)]
        refused = owners.enqueue({"a": 1})
        assert owners.state[refused] == "queue-full"
        free = owners.enqueue({"b": 1})
        assert owners.state[free] == "granted"
        owners.kill(second)
        assert owners.number[owners.enqueue({"a": 1}, key="k1")] == owners.number[second]
        owners.kill(third)
        assert owners.state[owners.enqueue({"a": 1}, key="new")] == "waiting"
        assert owners.state[owners.enqueue({"a": 1}, key="newer")] == "queue-full"
        assert owners.state[owners.enqueue({"a": 1}, key="k2")] == "waiting", "a parked place is in the line already"
        assert owners.state[first] == "waiting"


def test_too_many_slots_are_refused(tmp_path: Path) -> None:
    """Nobody waits for what can never be: more slots than there are."""
    with Owners(tmp_path, {"b": 2}) as owners:
        assert owners.state[owners.enqueue({"b": 3})] == "too-many-slots"
        assert owners.state[owners.enqueue({"a": 1, "b": 2})] == "granted"
