"""Each bound's number against a calculation by hand, and which of them binds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity import bounds, explain
from k1ctl.capacity.bounds import Bound, Seen, Turns
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.formula import GIB
from k1ctl.capacity.queueing import Kind, Model
from k1ctl.config import Config

ANNEX: dict[tuple[str, ...], Any] = {("queue", "slots", "build:fw"): 4, ("queue", "slots", "build:web"): 6}
MIXED = explain.workload(Config("", {}, {}))


def config(**capacity: Any) -> Config:
    return Config("/r/ops/k1ctl.toml", {**ANNEX, **{("capacity", key): value for key, value in capacity.items()}}, {})


def host(cores: int = 14, memory: int = 48 * GIB, **more: Any) -> Facts:
    return Facts("linux", cores, memory, memory, **more)


def test_memory_bounds_by_base_and_slots_for_steady_work_and_a_burst() -> None:
    """48 GiB: 40 - 17.6 = 22.4 GiB are 26 agents of 0.9 GB, 36 of 0.66; a small host says what is too few."""
    bound = bounds.by_memory(host(), config())
    assert (bound.agents, bound.burst) == (26, 36)
    assert "40 - (6 x 2.2 + 4 x 1.1) = 22.4 GiB" in bound.text
    small = bounds.by_memory(host(memory=16 * GIB), config())
    assert (small.agents, small.burst) == (2, 2)
    assert "too few for 6 x 2.2 + 4 x 1.1" in small.text
    tiny = bounds.by_memory(host(memory=8 * GIB), config())
    assert tiny.agents == 1
    assert "too few for one agent" in tiny.text


def test_cores_bound_only_where_all_builds_at_once_want_more_than_there_are() -> None:
    """Jobs are cores / slots, as `k1ctl build` shares them; an agent that thinks takes none (utilization law)."""
    free = bounds.by_cores(host(), Config("", {}, {}), MIXED)
    assert free.agents is None
    assert "4 builds x 3 jobs = 12 of 14 cores" in free.text
    both = bounds.by_cores(host(), config(), MIXED)
    assert both.agents == int(14 / (4.5 / 18.92 * 2.4))
    assert bounds.by_cores(host(), config(cpus=7), MIXED).agents == int(7 / (4.5 / 18.92 * 1.0))
    assert bounds.by_cores(host(), config(cpus=64), MIXED).agents == both.agents  # promised, and not there
    fixed = config()
    fixed.file["build", "jobs"] = 8
    assert bounds.by_cores(host(), fixed, MIXED).agents == int(14 / (4.5 / 18.92 * 8))


def test_slots_bound_at_the_knee_and_in_a_burst_at_the_longest_turn() -> None:
    """4 slots, 14 min of thinking, builds of 4.5: knee 16.8; 12 have 30 % headroom, 20 end in 15 min, 21 do not."""
    turns = Turns(MIXED)
    assert turns.exact_knee == pytest.approx((14 + 4.5 + 0.6 * 0.7) / (4.5 / 4))
    assert (turns.with_headroom(), turns.knee, turns.within_limit()) == (12, 16, 20)
    assert turns.busy(12) <= 0.7 < turns.busy(13)
    assert turns.of(20).p90 <= 900 < turns.of(21).p90
    bound = bounds.by_slots(turns)
    assert (bound.agents, bound.burst) == (16, 20)
    assert "knee 16.8" in bound.text
    assert bounds.by_slots(Turns(Model(4, 60.0, [Kind("fw", 4, 0.0)], 0.0))).agents is None


def test_turns_that_are_too_long_anyway_are_said_to_be() -> None:
    """Builds of half an hour end within 15 minutes for nobody; the knee is what is left. Any number of slots works."""
    long = Turns(Model(4, 3600.0, [Kind("fw", 1_000_000_000, 1800.0)], 0.0))
    assert long.within_limit() == 0
    bound = bounds.by_slots(Turns(Model(4, 3600.0, [Kind("fw", 2, 1800.0)], 0.0)))
    assert (bound.agents, bound.burst) == (6, 6)
    assert "beyond the limit of 15, which not even one would keep" in bound.text


def test_a_device_bounds_where_uploads_fill_its_time() -> None:
    """60 % of turns upload for 42 s in a cycle of 18.92 min: 45 workspaces, with two devices twice as many."""
    assert bounds.by_device(MIXED).agents == int(18.92 / 0.42)
    assert bounds.by_device(MIXED.changed(devices=2)).agents == int(18.92 / 0.21)
    assert bounds.by_device(MIXED.changed(upload=0.0)).agents is None


def test_the_disk_and_the_quota_bound_by_what_a_worktree_takes() -> None:
    """Worktrees that are there stay; a quota that is exceeded leaves no room for one more."""
    seen = Seen(disk_free=10 * GIB, worktrees=3, worktree_bytes=4 * GIB, worktree_origin="mean of 3", quota_free=-5)
    disk, quota = bounds.by_disk(config(), seen)
    assert (disk.name, disk.agents) == ("disk", 3 + 2)
    assert "10.0 GiB may be taken, to 95 % (disk.stop_percent); 4.0 GiB a worktree (mean of 3), 3 there" in disk.text
    assert (quota.name, quota.agents) == ("quota", 3)
    assert bounds.by_disk(config(), Seen()) == []


def test_what_is_configured_bounds_and_what_is_not_says_so() -> None:
    """Tokens over what a promise is of, GPU memory over an agent's, models on a condition, workspaces by number."""
    limited = Config("/r/ops/k1ctl.toml", {("budget", "day"): 1000}, {})
    assert "k1ctl budget status" in bounds.by_tokens(limited, Seen()).text
    assert "budget" not in bounds.by_tokens(config(), Seen()).text
    assert bounds.by_tokens(config(), Seen()).agents is None
    assert bounds.by_tokens(config(tokens=100_000), Seen()).agents is None
    assert bounds.by_tokens(config(tokens=100_000), Seen(tokens=30_000)).agents == 3
    assert bounds.by_gpu(host(), config()).agents is None
    assert bounds.by_gpu(host(), config(gpu_per_agent=GIB)).agents is None
    gpus = [{"name": "A", "memory_bytes": 24 * GIB, "used_bytes": 0}]
    assert bounds.by_gpu(host(gpus=gpus), config(gpu_per_agent=5 * GIB)).agents == 4
    assert bounds.by_gpu(host(gpus=gpus), config(gpu_per_agent=5 * GIB, gpu_memory=11 * GIB)).agents == 2
    assert bounds.by_count(config()).agents is None
    assert bounds.by_count(config(agents=6)).agents == 6
    models = config()
    models.file["capacity", "models", "opus"] = 2
    (opus,) = bounds.by_models(models)
    assert (opus.name, opus.agents, opus.condition) == ("model:opus", 2, "when all use opus")


def test_the_fewest_agents_bind_but_never_a_bound_with_a_condition() -> None:
    """And steady work may be bound by something else than a burst."""
    found = [
        Bound("formula", 2, "", condition="when"),
        Bound("a", 9, "", burst=30),
        Bound("b", 12, "", burst=20),
        Bound("c", None, ""),
    ]
    steady, burst = bounds.binding(found), bounds.binding(found, burst=True)
    assert steady is not None
    assert burst is not None
    assert (steady.name, burst.name) == ("a", "b")
    assert bounds.binding([found[0], found[3]]) is None


@settings(max_examples=30)
@given(st.integers(1, 64), st.integers(1 << 28, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_more_memory_never_lowers_a_bound_and_none_is_below_one(
    cores: int, memory: int, more: int, reserve: int
) -> None:
    """Of memory, whatever the reserve; with the cores fixed."""
    small, large = host(cores, memory), host(cores, memory + more)
    for bound in (bounds.by_formula, bounds.by_memory):
        one, other = bound(small, config(reserve=reserve)), bound(large, config(reserve=reserve))
        assert one.agents is not None
        assert other.agents is not None
        assert 1 <= one.agents <= other.agents
        assert 1 <= one.burst <= other.burst  # type: ignore[operator]


@given(st.integers(1 << 20, 64 * GIB))
def test_the_formula_as_it_is_printed_gives_its_number(each: int) -> None:
    """A small agent is not rounded to tenths of a GiB, with which nobody would come out at the number beside it."""
    assert bounds.calculation(24 * GIB, 8 * GIB, 144 << 20) == "max(1, floor((24 - 8 GiB) / 144 MiB))"
    assert bounds.calculation(48 * GIB, 8 * GIB, 4 * GIB) == "max(1, floor((48 - 8) / 4 GiB))"
    printed = bounds.calculation(24 * GIB, 8 * GIB, each).rsplit(" / ", 1)[1].removesuffix("))")
    size, unit = printed.split()
    assert float(size) * {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": GIB}[unit] == pytest.approx(each, rel=0.1)
