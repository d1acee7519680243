"""Instances that a demand needs, the wait that implies, growth, and hardware."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import growth
from k1ctl.capacity.forecast import Demand, Staffing, Wait, hardware, months, outgrown
from k1ctl.capacity.queueing import erlang_c
from k1ctl.capacity.scenarios import documented
from k1ctl.config import outside
from k1ctl.units import parse_rfc3339

NOW = parse_rfc3339("2026-06-15T12:00:00.000Z")


def test_the_documented_formula_by_hand() -> None:
    """30 tasks an hour of half an hour on instances of 6 at 80 %: 15 / 4.8 = 3.125, so 4; headroom 4.06 makes 5; twice
    6.25 makes 7."""
    demand = Demand(30, 0.5, 6, 0.8)
    assert demand.load == 15
    assert [demand.required(f) for f in (1.0, 1.3, 2.0)] == [4, 5, 7]


def test_a_quotient_that_is_whole_is_not_rounded_up() -> None:
    """12 x 0.4 / (6 x 0.8) is exactly 1 though 4.8 / 4.8 may not be, in floating point; no demand still has one."""
    assert Demand(12, 0.4, 6, 0.8).required() == 1
    assert Demand(0.3, 1, 1, 0.1).required() == 3
    assert Demand(0, 1, 4).required() == 1


@given(st.floats(0.01, 1e4), st.floats(0.01, 50), st.integers(1, 100), st.floats(0.05, 1))
def test_required_instances_are_enough_and_not_one_too_many(
    tasks: float, hours: float, concurrency: int, efficiency: float
) -> None:
    """Their usable places hold the load; one instance fewer would not."""
    demand = Demand(tasks, hours, concurrency, efficiency)
    places = concurrency * efficiency
    assert demand.required() * places >= demand.load * (1 - 1e-6)
    assert demand.required() == 1 or (demand.required() - 1) * places < demand.load
    assert demand.required() <= demand.required(1.3) <= demand.required(2.0)


def test_the_wait_is_erlangs() -> None:
    """Offered 3 on 5: 24 % wait, on average 3.5 min for tasks of half an hour; on 3, for ever."""
    wait = Wait(Demand(6, 0.5, 5), 5)
    assert (round(wait.share, 2), wait.busy) == (0.24, 0.6)
    assert wait.mean * 60 == pytest.approx(wait.share * 30 / 2)
    endless = Wait(Demand(6, 0.5, 3), 3)
    assert (endless.share, endless.mean, endless.document()["wait_seconds"]) == (1.0, math.inf, None)


@pytest.mark.parametrize(("load", "servers"), [(1, 3), (3, 6), (12, 17), (100, 111)])
def test_square_root_staffing_is_within_one_of_the_exact_number(load: float, servers: int) -> None:
    """At most a fifth waits: the exact number by Erlang C, the rule within one of it; beta is 1.06."""
    found = Staffing(load)
    assert found.servers == servers
    assert erlang_c(found.servers, load) <= 0.2 < erlang_c(found.servers - 1, load)
    assert abs(found.rule - found.servers) <= 1
    assert found.beta == pytest.approx(1.06, abs=0.01)


def test_a_host_is_outgrown_in_the_month_that_needs_a_second() -> None:
    """10 % a month on 8 of 12 places: 8 x 1.1^n passes 9.6 in month 2; with 30 % at once; a shrinking demand never."""
    demand = Demand(16, 0.5, 12, 0.8)
    rows = months(demand, 0.1, 12)
    assert len(rows) == 13
    assert [outgrown(rows, 1, what) for what in ("required", "headroom", "peak")] == [2, 0, 0]
    assert outgrown(months(demand, -0.1, 24), 1) is None


@pytest.mark.parametrize("wrong", [(-1, 1, 1, 0.8), (1, 0, 1, 0.8), (1, 1, 0, 0.8), (1, 1, 1, 0), (1, 1, 1, 1.1)])
def test_what_is_no_demand_is_refused(wrong: tuple[float, float, int, float]) -> None:
    """Negative, zero or more than whole: ValueError with the rule."""
    with pytest.raises(ValueError, match="efficiency"):
        Demand(*wrong)


def _events(ops: Path, counts: dict[str, int]) -> None:
    folder = ops / "events"
    folder.mkdir(parents=True)
    for day, number in counts.items():
        (folder / f"{day}.jsonl").write_text('{"at":"x","event":"build.finished"}\n' * number + '{"event":"y"}\n')


def test_growth_is_fitted_to_whole_months(tmp_path: Path) -> None:
    """310, 308 x 1.1 ... builds a month of 31, 28, 31 days: 10 % a month; the running month and a begun one are out."""
    days = {"2026-01-20": 7, "2026-02-10": 280, "2026-03-10": 341, "2026-04-10": 363, "2026-05-02": 412}
    _events(tmp_path, {**days, "2026-06-10": 3})
    found = growth.measured(str(tmp_path), NOW)
    assert [month for month, _ in found.months] == ["2026-02", "2026-03", "2026-04", "2026-05"]
    assert found.rate == pytest.approx(0.1, abs=0.005)
    assert 0.01 < found.error < 0.05


@pytest.mark.parametrize("piece", [1, 7, 40, 1 << 20])
def test_builds_are_counted_whatever_the_pieces(piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that two pieces of the file share is one build; beyond the bytes that are looked at none is."""
    monkeypatch.setattr(growth, "_PIECE", piece)
    _events(tmp_path, {"2026-04-01": 30})
    assert growth._counts(str(tmp_path / "events")) == ({"2026-04": 30}, "2026-04-01")
    monkeypatch.setattr(growth, "_MOST_BYTES", 400)
    assert growth._counts(str(tmp_path / "events")) == ({"2026-04": 11}, "2026-04-01")


def test_a_first_month_that_begins_on_its_first_day_is_whole(tmp_path: Path) -> None:
    """Events from 1 April on: April and May count, and two months are enough."""
    _events(tmp_path, {"2026-04-01": 30, "2026-05-05": 62})
    assert growth.measured(str(tmp_path), NOW).rate == pytest.approx(1.0)


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"2026-06-01": 900},
        {"2026-04-20": 500, "2026-05-20": 500},
        {"2026-03-20": 1, "2026-04-20": 19, "2026-05-20": 500},
    ],
)
def test_too_little_history_is_said(tmp_path: Path, counts: dict[str, int]) -> None:
    """No events, only this month, one whole month, or one with fewer than 20 builds: no rate, and why."""
    _events(tmp_path, counts)
    (tmp_path / "events" / "rubbish.jsonl").write_bytes(b"\xff")
    found = growth.measured(str(tmp_path), NOW)
    assert found.rate is None
    assert "too little history" in found.text


def test_hardware_for_the_mixed_load() -> None:
    """12 busy agents at 80 % with 30 % more are 20; they build 4.5 of 18.92 min: 6.8 of the time of 7 slots at 70 %;
    0.9 GB x 20 + 1.1 GiB x 7 beside 9.6 GiB need 64 GiB, as 14 cores had 4 slots 25 cores."""
    found = hardware(Demand(12, 1.0, 12), documented("mixed", kind="build:fw"), 14, outside())
    assert (found.agents, found.hosts, found.slots) == (20, 1, {"build:fw": 7})
    assert found.need == 20 * 900_000_000 + 7 * (11 * (1 << 30) // 10)
    assert (found.memory >> 30, found.cores) == (64, 25)
    assert found.matrix is None


def test_hardware_beyond_the_largest_host_takes_several() -> None:
    """400 agents fit into no single host of the matrix: the fewest of 128 GiB, which all fit."""
    found = hardware(Demand(400, 1.0, 12), documented("mixed"), 14, outside(), factor=0.8)
    assert found.agents == 400
    assert found.hosts > 3
    assert (found.memory >> 30) == 128
    assert found.need <= 0.85 * found.memory
