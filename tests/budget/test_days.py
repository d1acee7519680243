"""Days are dates in the account's zone: clocks that change, or are set back, give nobody a fresh one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.budget.days import day_of, next_day
from k1ctl.budget.verify import verify
from k1ctl.errors import BusyError, ConfigError
from tests.budget.ledgers import Clock, ledger

ZONES = ("UTC", "Europe/Oslo", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Kolkata",
         "Australia/Lord_Howe", "Africa/Cairo")  # fmt: skip


def at(zone: str, *words: int) -> float:
    """An instant by a zone's clock."""
    return datetime(*words, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type,misc]


@pytest.fixture
def host_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Set TZ in the test; the host's own zone afterwards."""
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@given(st.sampled_from(ZONES), st.integers(1_400_000_000, 2_000_000_000))
def test_the_next_day_begins_where_the_date_changes(zone: str, instant: int) -> None:
    """Right before it is the same date, from it on the next, and at most 25 hours lie between."""
    begin = next_day(instant, zone)
    assert instant < begin <= instant + 25 * 3600
    assert day_of(begin - 0.001, zone) == day_of(instant, zone) < day_of(begin, zone)


@pytest.mark.parametrize("zone", ZONES)
def test_the_hosts_zone_counts_the_same(host_zone: pytest.MonkeyPatch, zone: str) -> None:
    """Without a zone in the configuration the host's decides, by the C library instead of zoneinfo."""
    host_zone.setenv("TZ", zone)
    time.tzset()
    for instant in range(1_700_000_000, 1_732_000_000, 39 * 3600 + 7):
        assert (day_of(instant), next_day(instant)) == (day_of(instant, zone), next_day(instant, zone))


@pytest.mark.parametrize(
    ("zone", "noon", "hours"),
    [("Europe/Oslo", (2026, 3, 29), 23), ("Europe/Oslo", (2026, 10, 25), 25), ("Europe/Oslo", (2026, 6, 1), 24),
     ("America/Sao_Paulo", (2018, 11, 4), 23), ("America/Havana", (2026, 11, 1), 25)],
)  # fmt: skip
def test_days_of_changing_clocks(zone: str, noon: tuple[int, int, int], hours: int) -> None:
    """Where clocks change a day has 23 or 25 hours, also where they change at midnight."""
    end = next_day(at(zone, *noon, 12), zone)
    begin = next_day(at(zone, *noon, 12) - 24 * 3600, zone)
    assert end - begin == hours * 3600


def test_a_new_day_has_its_own_budget(tmp_path: Path) -> None:
    """From the account's midnight on, and told before when that is; a settle is of the day of its reserve."""
    zone = "Europe/Oslo"
    clock = Clock(at(zone, 2026, 10, 25, 22, 30))
    books = ledger(tmp_path, "day = 100", clock=clock, zone=zone)
    hold = books.reserve(100, agent="a", ttl=86400)
    with pytest.raises(BusyError) as found:
        books.reserve(1, agent="a")
    assert found.value.details["expected_seconds"] == 1.5 * 3600
    clock.pass_(1.5 * 3600)
    books.reserve(60, agent="a")
    books.settle(hold.id, 90)
    figures = books.figures([("day", "2026-10-25"), ("day", "2026-10-26")])
    assert [f.spent[0] for f in figures.values()] == [90, 0] and [f.held[0] for f in figures.values()] == [0, 60]
    assert not verify(books.state).wrong


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """Yesterday's budget is yesterday's, spent as it was; a hold's age goes on, and is never negative."""
    clock = Clock(at("UTC", 2026, 6, 2, 0, 30))
    books = ledger(tmp_path, "day = 100", clock=clock)
    clock.wall -= 3600
    first = books.reserve(100, agent="a", ttl=86400)
    clock.wall += 3600
    second = books.reserve(100, agent="a", ttl=600)
    clock.wall -= 3600
    with pytest.raises(BusyError):
        books.reserve(1, agent="a")
    assert second.age(clock()) == 0 and second.left(clock()) == 600
    clock.monotonic += 600  # what passed in truth, whatever the other clock says
    assert second.gone(clock()) == "deadline" and not first.gone(clock())
    clock.wall += 90000
    assert not first.gone(clock()), "a clock that was set forward ends nothing"
    clock.monotonic = 1.0  # a restart of the host
    assert first.gone(clock()) == "deadline"
    clock.wall = first.since - 3600
    assert first.age(clock()) == float("inf"), "restarted under a clock that was set back: nobody is left"


def test_an_unknown_zone_is_named(tmp_path: Path) -> None:
    """And not taken for another one."""
    with pytest.raises(ConfigError) as found:
        ledger(tmp_path, "day = 100", zone="Mars/Base").reserve(1, agent="a")
    assert found.value.code == "unknown-zone"
