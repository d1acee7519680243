"""The documented formula, its reserve, the matrix, and where a figure per agent comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import formula, histogram
from k1ctl.capacity.formula import GIB
from k1ctl.config import Config

_SIZES = st.integers(min_value=0, max_value=1 << 44)


def config(**capacity: int) -> Config:
    return Config("/r/ops/k1ctl.toml", {("capacity", key): value for key, value in capacity.items()}, {})


@pytest.mark.parametrize(
    ("memory", "reserve", "agents"),
    [(8, 8, 1), (16, 8, 2), (24, 8, 4), (32, 8, 6), (48, 8, 10), (64, 9.6, 13), (96, 14.4, 20), (128, 19.2, 27)],
)
def test_the_reserve_and_the_agents_of_usual_hosts(memory: int, reserve: float, agents: int) -> None:
    """8 GiB or 15 %, whichever is more; then 4 GiB an agent, rounded down, and one at least."""
    kept = formula.reserve(memory * GIB, config())
    assert kept == int(reserve * GIB)
    assert formula.safe_agents(memory * GIB, kept, formula.per_agent(config())[0]) == agents


def test_the_matrix_is_that_of_the_guides_with_what_it_implies() -> None:
    """2, 4, 8, 12 agents; at 4 GiB each a reserve of 8, 16, 32, 80 GiB, and the formula's answer beside it."""
    rows = [(row.memory // GIB, row.agents, row.reserve // GIB, row.formula) for row in formula.matrix()]
    assert rows == [(16, 2, 8, 2), (32, 4, 16, 6), (64, 8, 32, 13), (128, 12, 80, 27)]


@pytest.mark.parametrize(
    ("memory", "agents"),
    [
        (8, (1, 2)),
        (15.6, (2, 2)),
        (16, (2, 2)),
        (24, (2, 4)),
        (48, (4, 8)),
        (64, (8, 8)),
        (96, (8, 12)),
        (512, (12, 12)),
    ],
)
def test_a_host_stands_between_two_rows_of_the_matrix(memory: float, agents: tuple[int, int]) -> None:
    """On a row, or as close to it as what a system shows of its RAM, it has that row's number."""
    assert formula.by_matrix(int(memory * GIB)) == agents


@given(_SIZES, _SIZES, st.integers(min_value=0, max_value=1 << 40), st.integers(min_value=0, max_value=1 << 40))
def test_more_memory_never_means_fewer_agents_and_there_is_always_one(
    one: int, other: int, set_: int, each: int
) -> None:
    """Whatever the reserve is: the rule's 15 %, which grows with RAM, or a configured one."""
    small, large = sorted((one, other))
    found = [formula.safe_agents(m, formula.reserve(m, config(reserve=set_)), each) for m in (small, large)]
    assert 1 <= found[0] <= found[1]


def test_an_agent_takes_what_is_configured_else_measured_else_four() -> None:
    """From five runs on the history of whole agents stands in for the default; the setting wins over both."""
    assert formula.per_agent(config()) == (4 * GIB, "default of the guides")
    for _ in range(4):
        histogram.add("large", 2 * GIB, 60.0)
    assert formula.per_agent(config())[0] == 4 * GIB
    histogram.add("large", 2 * GIB, 60.0)
    size, origin = formula.per_agent(config())
    assert size == int(2 * GIB * 1.15)
    assert origin == "measured: p95 of 5 runs of class large, and 15 %"
    assert formula.per_agent(config(per_agent=GIB)) == (GIB, "configured (capacity.per_agent in /r/ops/k1ctl.toml)")
