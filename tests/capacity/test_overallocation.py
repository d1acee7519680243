"""Settings that give away too much: named with their file, and with the figure that would hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from k1ctl.capacity import formula, limits, overallocation
from k1ctl.capacity.bounds import Bound
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.formula import GIB
from k1ctl.capacity.overallocation import Overallocation
from k1ctl.config import Config, parse_text


def host(memory: int = 16, **more: Any) -> Facts:
    return Facts("linux", 8, memory * GIB, memory * GIB, **more)


def config(text: str, path: str = "/r/ops/k1ctl.toml") -> Config:
    """A small host's slots and ``text`` as the file has it."""
    text = f'[queue.slots]\n"build:fw" = 1\n{text}'
    return Config(path, parse_text(text, path), {})


def found(text: str, facts: Facts | None = None, **kwargs: Any) -> list[Overallocation]:
    return overallocation.found(facts or host(), config(text), **kwargs)


def test_two_agents_of_four_on_sixteen_are_stable() -> None:
    """The plan's first scenario: nothing to warn of, and both are let in."""
    text = '[capacity]\nagents = 2\nper_agent = "4G"\n'
    assert found(text) == []
    assert formula.let_in(config(text), 16 * GIB) == 2


def test_four_agents_on_sixteen_are_warned_of_or_reduced() -> None:
    """The second: with the default's 4 GiB a warning, base and slots may have room; configured, two are let in."""
    (row,) = found("[capacity]\nagents = 4\n")
    assert (row.setting, row.value, row.holds) == ("capacity.agents", 4, 2)
    assert "4 agents of 4.0 GiB are more than the formula's 2" in row.text
    assert formula.let_in(config("[capacity]\nagents = 4\n"), 16 * GIB) == 4
    text = '[capacity]\nagents = 4\nper_agent = "4G"\n'
    by_setting = {row.setting: row for row in found(text)}
    assert by_setting["capacity.agents"].holds == 2
    assert by_setting["capacity.agents"].text.endswith("reduced to 2")
    assert by_setting["capacity.per_agent"].holds == 2 * GIB
    assert formula.let_in(config(text), 16 * GIB) == 2


def test_eight_an_agent_on_sixteen_is_reduced_to_one() -> None:
    """The third: the matrix has 2 here, the reserve leaves 8 GiB: one agent, and 4 GiB would hold two."""
    (row,) = found('[capacity]\nper_agent = "8G"\n')
    assert limits.of(config('[capacity]\nper_agent = "8G"\n'), host()).agents == 1  # at the gate, too
    assert (row.setting, row.value, row.holds) == ("capacity.per_agent", 8 * GIB, 4 * GIB)
    assert "need 16.0 GiB, the reserve leaves 8.0 GiB: reduced to 1; 4G would hold 2" in row.text
    text = '[capacity]\nper_agent = "8G"\nagents = 6\n'
    assert formula.let_in(config(text), 16 * GIB) == 1
    assert limits.of(config(text), host()).agents == 1  # the gate goes by it
    assert {row.setting for row in found(text)} == {"capacity.per_agent", "capacity.agents"}
    assert found('[capacity]\nper_agent = "8G"\n', host(128)) == []  # 12 x 8 fit beside 19.2
    (none,) = found('[capacity]\nper_agent = "12G"\n')
    assert "not even the one has its 12.0 GiB" in none.text


def test_on_a_small_host_the_reserve_leaves_half_as_at_the_gate() -> None:
    """8 GiB kept back of 4: the gate promises 2 GiB nevertheless, and the warnings count with that."""
    assert limits.of(config(""), host(4)).memory == 2 * GIB
    assert found("", host(4)) == [], "a build beside an agent"
    row = found('[capacity.heavy]\n"build:fw" = "3G"\n', host(4))[-1]
    assert "the reserve leaves 2.0 GiB" in row.text


def test_agents_beyond_what_binds_are_told_by_what() -> None:
    """Neither steadily nor in a burst; between the two nothing is said."""
    binds = Bound("slots", 16, "knee 16.8", burst=20)
    (row,) = found("[capacity]\nagents = 40\n", host(512), binds=binds)
    assert (row.holds, row.text) == (16, "40 agents are more than slots bears: 16 (knee 16.8)")
    assert found("[capacity]\nagents = 20\n", host(512), binds=binds) == []


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"maxConcurrentWorkspaces": 16}, True),
        ({"maxConcurrentWorkspaces": 2}, False),
        ({"other": 99}, False),
        ([], False),
    ],
)
def test_a_conductor_json_that_hopes_for_too_many_is_named(tmp_path: Path, document: object, told: bool) -> None:
    """maxConcurrentWorkspaces of the guides, which Conductor passes over; the file is left as it is."""
    path = tmp_path / "conductor.json"
    path.write_text(json.dumps(document))
    rows = found("", binds=Bound("memory", 4, "why"), conductor=str(path))
    assert [(row.setting, row.where, row.value, row.holds) for row in rows] == (
        [("maxConcurrentWorkspaces", str(path), 16, 4)] if told else []
    )
    path.write_text("{")
    assert found("", binds=Bound("memory", 4, "why"), conductor=str(path)) == []


def test_slots_that_cannot_all_be_busy_are_cut_where_they_take_most() -> None:
    """Ten slots of 17.6 GiB on a host with 8 to give: as many of each as leave room for an agent."""
    text = '"build:web" = 6\n[capacity]\nbase = "1G"\n'
    (row,) = found(text)
    assert (row.setting, row.value) == ('queue.slots."build:web"', 6)
    assert row.holds * 2.2 + 1.1 + 1 <= 8 < (row.holds + 1) * 2.2 + 1.1 + 1
    (huge,) = found('"build:web" = 1000000000\n')
    assert huge.holds == 2
    (one,) = found('[capacity.heavy]\n"build:fw" = "9G"\n')
    assert one.setting == 'capacity.heavy."build:fw"'


def test_what_may_be_promised_in_all_stays_within_what_there_is(tmp_path: Path) -> None:
    """Memory, cores, GPU memory, the reserve itself, and the order of watermarks; each with FILE:LINE."""
    path = tmp_path / "k1ctl.toml"
    text = '[capacity]\nmemory = "32G"\ncpus = 16\ngpu_memory = "48G"\nsuspend_percent = 75\n'
    path.write_text(text)
    settings = Config(str(path), parse_text(text, str(path)), {})
    facts = host(32, gpus=[{"name": "A", "memory_bytes": 24 * GIB, "used_bytes": 0}])
    rows = {row.setting: row for row in overallocation.found(facts, settings)}
    assert {name: row.holds for name, row in rows.items()} == {
        "capacity.memory": 24 * GIB,
        "capacity.cpus": 8,
        "capacity.gpu_memory": 24 * GIB,
        "capacity.suspend_percent": 80,
    }
    assert rows["capacity.cpus"].where == f"{path}:3"
    assert str(rows["capacity.cpus"]).startswith(f"capacity.cpus ({path}:3): 16 cores may be promised, there are 8")
    row = found('[capacity]\nreserve = "16G"\n')[0]
    assert (row.setting, row.holds) == ("capacity.reserve", 8 * GIB)


def test_a_setting_from_the_environment_is_told_as_such() -> None:
    """There is no file to name."""
    settings = config("")
    settings.environment["capacity", "per_agent"] = 8 * GIB
    (row,) = overallocation.found(host(), settings)
    assert row.where == "environment"
