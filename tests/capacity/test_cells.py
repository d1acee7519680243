"""Stress cells: their order, which are pruned and why, and each stop rule with the number that triggered it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import cells
from k1ctl.capacity.cells import Cell, Limits, Look, Outcome, Stop
from k1ctl.capacity.facts import Facts
from k1ctl.errors import UsageError

GIB = 1 << 30
LIMITS = Limits(room=40 * GIB, reserve=8 * GIB)
OOM = Stop("oom", 1, 0, "1 ran out")
HOST_OOM = Stop("host-oom", 1, 0, "the host killed 1")
SWAP = Stop("swap", 60, 50, "60 % of the swap is used")


def host(**changes: object) -> Facts:
    """A host of 48 GiB with half of it available and 4 GiB of swap."""
    facts = Facts("linux", 14, 48 * GIB, 24 * GIB, swap=4 * GIB, oom_kills=3, swapped_out_pages=7)
    facts.pressure = {"memory": {"some_total_us": 2e6, "full_total_us": 1e6}}
    for name, value in changes.items():
        setattr(facts, name, value)
    return facts


def look(facts: Facts, elapsed: float = 10.0, ooms: int = 0, host_ooms: int = 0, disk: float = 50.0) -> Look:
    return Look(facts, elapsed, ooms, host_ooms, disk)


def test_the_matrix_is_every_combination_smallest_first() -> None:
    """By agents, then memory, then cores, the unlimited last; what is named twice is there once."""
    found = cells.matrix([2, 1, 1], [2 * GIB, GIB], [0.0, 0.5])
    assert [c.name for c in found] == [
        *("1x1G-0.5cpu", "1x1G", "1x2G-0.5cpu", "1x2G", "2x1G-0.5cpu", "2x1G", "2x2G-0.5cpu", "2x2G"),
    ]


def test_the_options_of_the_plan() -> None:
    """The matrix of the plan has 5 x 4 x 4 cells."""
    agents, mem = cells.parse_agents("1,2,4,6,8"), cells.parse_memory("2G,4G,6G,8G")
    cpus = cells.parse_cpus("unlimited,0.5,1,2")
    assert cpus == [0.5, 1.0, 2.0, 0.0]
    assert len(cells.matrix(agents, mem, cpus)) == 80


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((cells.parse_agents, t) for t in ("", "0", "two", "1,-2", "1001")),
        *((cells.parse_memory, t) for t in ("unlimited", "0", "4X", "100k")),
        *((cells.parse_cpus, t) for t in ("0", "-1", "all", "nan", "inf")),
    ],
)
def test_bad_lists_are_refused(parse: object, text: str) -> None:
    """What is no list of its kind is a usage error with an example."""
    assert callable(parse)
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("agents", "jobs", "repeat", "expected"),
    [(1, 4, 0, 4), (2, 4, 0, 4), (3, 4, 0, 6), (3, 7, 0, 9), (8, 4, 0, 16), (4, 4, 5, 20), (1, 1, 0, 2)],
)
def test_the_jobs_of_a_cell(agents: int, jobs: int, repeat: int, expected: int) -> None:
    """--jobs or two a copy, whichever is more, in whole rounds; --repeat counts for each copy."""
    assert cells.jobs_of(agents, jobs, repeat) == expected


@pytest.mark.parametrize(
    ("cell", "outcome", "pruned"),
    [
        (Cell(4, 2 * GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), OOM), True),  # same limit, more agents
        (Cell(2, GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), OOM), True),  # smaller limit
        (Cell(2, 4 * GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), OOM), False),  # larger limit
        (Cell(1, 2 * GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), OOM), False),  # fewer agents
        (Cell(4, 2 * GIB, 0.5), Outcome(Cell(2, 2 * GIB, 1.0), OOM), False),  # fewer cores
        (Cell(4, 2 * GIB, 0.0), Outcome(Cell(2, 2 * GIB, 1.0), OOM), True),  # more cores
        (Cell(4, 8 * GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), HOST_OOM), True),  # the host was full
        (Cell(4, GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), HOST_OOM), True),
        (Cell(4, 4 * GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), SWAP), True),
        (Cell(4, GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), SWAP), False),  # a smaller limit may keep it out of swap
        (Cell(4, 2 * GIB, 0.0), Outcome(Cell(2, 2 * GIB, 0.0), None), False),
    ],
)
def test_what_prunes_what(cell: Cell, outcome: Outcome, pruned: bool) -> None:
    """An OOM prunes larger company with the same or a smaller limit; what the host suffered, no smaller limits."""
    reason = cells.pruned(cell, LIMITS, [outcome])
    assert bool(reason) is pruned
    assert not pruned or outcome.cell.name in reason


def test_more_than_the_host_can_hold_is_pruned() -> None:
    """6 x 8 GiB beside a reserve of 8 on 48 does not run; 5 x 8 does."""
    assert cells.pruned(Cell(6, 8 * GIB, 0.0), LIMITS, []) == (
        "6 x 8.0 GiB = 48.0 GiB of memory; 40.0 GiB can be had beside the reserve of 8.0 GiB"
    )
    assert cells.pruned(Cell(5, 8 * GIB, 0.0), LIMITS, []) == ""


_cells = st.builds(Cell, st.integers(1, 4), st.sampled_from([GIB, 2 * GIB, 4 * GIB]), st.sampled_from([0.0, 0.5, 1.0]))


@given(_cells, _cells, st.sampled_from([OOM, HOST_OOM, SWAP]))
def test_no_cell_prunes_a_smaller_one(one: Cell, other: Cell, stop: Stop) -> None:
    """What is pruned never has fewer agents or fewer cores than what it is pruned by, and no cell prunes itself."""
    if cells.pruned(other, LIMITS, [Outcome(one, stop)]):
        assert other != one
        assert other.agents >= one.agents
        assert (other.cpus or 99) >= (one.cpus or 99)


def test_what_takes_too_long_is_not_tried_with_less() -> None:
    """More agents or fewer cores take no less time; more memory may."""
    late = [Outcome(Cell(2, 2 * GIB, 1.0), None, late=True)]
    found = {c: cells.pruned(c, LIMITS, late) for c in cells.matrix([1, 2, 4], [2 * GIB, 4 * GIB], [0.5, 1.0, 0.0])}
    assert [c.name for c, reason in found.items() if reason] == ["2x2G-0.5cpu", "4x2G-0.5cpu", "4x2G-1cpu"]
    assert found[Cell(4, 2 * GIB, 1.0)] == "every run was past the timeout at 2x2G-1cpu"


@pytest.mark.parametrize(
    ("seen", "rule", "value", "limit"),
    [
        (look(host(), ooms=2), "oom", 2, 0),
        (look(host(oom_kills=9), ooms=2), "oom", 2, 0),  # the kernel's kill in a cgroup is the limit's
        (look(host(), ooms=1, host_ooms=1), "host-oom", 1, 0),
        (look(host(), disk=9.96), "disk", 10.0, 10),
        (look(host(swap_used=3 * GIB)), "swap", 75.0, 50),
        (look(host(available=7 * GIB)), "available", 7 * GIB, 8 * GIB),
        (look(host(pressure={"memory": {"full_total_us": 2.2e6}})), "stall", 12.0, 10),
        (look(host(oom_kills=5))._replace(ended=True, failed=1), "host-oom", 2, 0),
        (look(host(system="macos", swap=GIB, swap_used=25 * GIB)), "swap", 52.1, 50),
    ],
)
def test_each_stop_rule_has_its_number(seen: Look, rule: str, value: float, limit: float) -> None:
    """Each rule stops a cell, and says which number passed which limit."""
    stop = cells.stop(host(), seen, LIMITS)
    assert stop is not None
    assert (stop.rule, stop.value, stop.limit) == (rule, value, limit)
    assert stop.text


@pytest.mark.parametrize(
    "seen",
    [
        look(host()),
        look(host(swap_used=2 * GIB)),  # exactly 50 %
        look(host(available=8 * GIB)),  # exactly the reserve
        look(host(swap=0, swap_used=0)),
        look(host(pressure={"memory": {"full_total_us": 2e6}})),  # exactly 10 % of 10 s
        look(host(pressure={"memory": {"full_total_us": 1.5e6}}), elapsed=1.0),  # one hiccup in the first second
        look(host(pressure={}, oom_kills=None)),
        look(host(oom_kills=5))._replace(failed=1),  # until the end it may be that of a copy's limit
        look(host(oom_kills=5))._replace(ended=True),  # somebody else's limit: all of ours went well
        look(host(system="macos", swap=2 * GIB, swap_used=GIB + 1)),  # macOS adds a file when it needs one
        look(host(), disk=10.0),
    ],
)
def test_a_limit_that_is_met_is_not_passed(seen: Look) -> None:
    """At its limit no rule stops a cell; nor does a figure that the host does not tell."""
    assert cells.stop(host(), seen, LIMITS) is None


def test_a_short_cell_is_judged_by_its_stall_when_it_has_ended() -> None:
    """A second of stall in two is told at the end, though not in the first seconds."""
    stalled = look(host(pressure={"memory": {"full_total_us": 2e6}}), elapsed=2.0)
    assert cells.stop(host(), stalled, LIMITS) is None
    stop = cells.stop(host(), stalled._replace(ended=True), LIMITS)
    assert stop is not None and (stop.rule, stop.value) == ("stall", 50.0)
