"""What a host can carry, whole: the annex's 14 cores and 48 GB from documented defaults, and other hosts beside it."""

from __future__ import annotations

from typing import Any

import pytest

from k1ctl.capacity import bounds, explain
from k1ctl.capacity.bounds import Seen
from k1ctl.capacity.explain import Answer
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.formula import GIB
from k1ctl.config import Config

ANNEX: dict[tuple[str, ...], Any] = {("queue", "slots", "build:fw"): 4, ("queue", "slots", "build:web"): 6}


def answer(cores: int = 14, memory: int = 48 * GIB, seen: Seen | None = None, **capacity: int) -> Answer:
    config = Config("/r/ops/k1ctl.toml", {**ANNEX, **{("capacity", k): v for k, v in capacity.items()}}, {})
    facts = Facts("macos", cores, memory, memory)
    return Answer(facts, config, explain.workload(config), seen or Seen())


@pytest.fixture(scope="module")
def mac() -> Answer:
    return answer()


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are simulated roughly, where a test is about something else."""
    monkeypatch.setattr(bounds, "_TURNS", 400)


def test_the_annex_host_carries_what_the_annex_says(mac: Answer) -> None:
    """12 to 16 steady and 20 in a burst come out of the documented defaults: slots, think and build times, limits."""
    assert (mac.steady, mac.burst) == ((12, 16), 20)
    assert (mac.binds.name, mac.binds_burst.name) == ("slots", "slots")
    assert mac.numbers() == "12 to 16 steady, 20 in a burst"
    assert mac.differs[2].startswith(
        "the annex has the same for this host: 12 to 16 steady, 20 in a burst; it gives no"
    )


def test_every_step_of_it_is_in_the_document(mac: Answer) -> None:
    """Formula 10, matrix 4 to 8 with the reserves it implies, base and slots 26, knee 16.8, each with its source."""
    told = mac.document()
    assert told["agents"] == {"steady_min": 12, "steady_max": 16, "burst": 20, "binds": "slots", "binds_burst": "slots"}
    assert (told["formula"]["agents"], told["formula"]["reserve_bytes"]) == (10, 8 * GIB)
    assert told["matrix_agents"] == [4, 8]
    assert [row["implied_reserve_bytes"] // GIB for row in told["matrix"]] == [8, 16, 32, 80]
    two = told["two_part"]
    assert (two["agents"], two["agents_by_busy_slots"][-1]["agents"]) == (26, 26)
    assert [(p["resource"], p["slots"]) for p in two["pools"]] == [("build:web", 6), ("build:fw", 4)]
    assert all(p["origin"].startswith("default: ") for p in two["pools"])
    assert {row["agents"] for row in two["overrun"]} == {12, 16, 20, 26}
    assert all(row["share"] <= 0.002 for row in two["overrun"] if row["agents"] <= 20)
    assert told["turns"]["knee"] == pytest.approx(16.82, abs=0.01)
    assert [row["agents"] for row in told["turns"]["at"]] == [12, 16, 20]
    assert [bound["name"] for bound in told["bounds"]][:5] == ["formula", "memory", "cores", "slots", "device"]
    assert told["warnings"] == []


def test_where_the_guides_and_the_model_differ_is_said(mac: Answer) -> None:
    """The matrix against the formula, the formula against the model, and uploads that cannot end within a minute."""
    matrix, formula, _, uploads = mac.differs
    assert matrix.startswith("the matrix has 4 to 8, the formula 10")
    assert formula.startswith("the formula has 10: it gives each agent 4 GiB all the time")
    assert "not the 60 s of the guides" in uploads


@pytest.mark.usefixtures("rough")
def test_the_annex_host_set_up_otherwise_is_told_to_differ() -> None:
    """With two slots of firmware builds the same host carries fewer, and the output says what the annex has."""
    config = Config("", {**ANNEX, ("queue", "slots", "build:fw"): 2}, {})
    facts = Facts("macos", 14, 48 * GIB, 48 * GIB)
    found = Answer(facts, config, explain.workload(config), Seen())
    assert found.steady[1] == 8
    assert any(t.startswith("the annex has 12 to 16 steady") and "the model" in t for t in found.differs)


@pytest.mark.usefixtures("rough")
def test_another_bound_may_bind_and_the_range_never_goes_beyond_it() -> None:
    """A disk with room for five worktrees, and capacity.agents, which is no reason to warn of itself."""
    full = answer(seen=Seen(disk_free=5 * GIB, worktree_bytes=GIB))
    assert (full.steady, full.burst, full.binds.name) == ((5, 5), 5, "disk")
    assert full.numbers() == "5 steady, no more in a burst"
    few = answer(agents=30)
    assert few.binds.name == "slots"
    assert [row.setting for row in few.excess] == ["capacity.agents"]


@pytest.mark.usefixtures("rough")
def test_a_configured_figure_per_agent_binds() -> None:
    """8 GiB an agent on 16 are one agent, whatever base and slots would have room for, and that is said."""
    found = answer(8, 16 * GIB, per_agent=8 * GIB)
    assert (found.steady, found.burst, found.binds.name) == ((1, 1), 1, "formula")
    assert "without capacity.per_agent 2 agents would fit, bound by memory" in found.differs
    assert "capacity.per_agent" in [row.setting for row in found.excess]


@pytest.mark.usefixtures("rough")
def test_a_small_host_carries_one_at_least() -> None:
    """4 GiB are less than the reserve: one agent by every rule, and a warning for its slots."""
    found = answer(2, 4 * GIB)
    assert (found.steady, found.burst, found.by_memory, found.by_formula.agents) == ((1, 1), 1, 1, 1)
    assert any("queue.slots" in row.setting for row in found.excess)
