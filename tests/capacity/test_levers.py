"""What-ifs, the levers with their gains and costs, and what binds a plan."""

from __future__ import annotations

import math

import pytest

from k1ctl.capacity import bounds, levers, planning, whatif
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.queueing import Kind, Model
from k1ctl.capacity.scenarios import documented
from k1ctl.config import outside
from k1ctl.errors import UsageError

MAC = Facts("macos", 14, 48 << 30, 48 << 30)
FIRMWARE = 11 * (1 << 30) // 10  # bytes of a busy slot
HEAVY = documented("heavy", kind="build:fw")


def two_kinds() -> Model:
    return Model(10, 600.0, [Kind("build:fw", 4, 200.0, uploads=0.5), Kind("build:web", 6, 60.0)], 30.0)


def test_a_what_if_changes_what_it_names_and_nothing_else() -> None:
    """Numbers, times, percentages, shares; the first kind without a name, another by its own."""
    text = "slots=5, devices=2,hosts=2,agents=20,build=50%,think=10m,upload=20s,uploads=40%,cv=0.3"
    text += ",slots.web=7,build.build:web=30s"
    found = whatif.parse(text, two_kinds())
    model = found.model
    assert (model.agents, model.devices, model.hosts, model.think, model.upload) == (20, 2, 2, 600.0, 20.0)
    fw, web = model.kinds
    assert (fw.slots, fw.seconds, fw.uploads, fw.cv) == (5, 100.0, 0.4, 0.3)
    assert (web.slots, web.seconds, web.uploads, web.cv) == (7, 30.0, 0.0, 0.6)
    assert ("build:fw slots", "4", "5") in found.changes
    assert "agents 10 -> 20" in str(found)


WRONG = (
    "slot=5|slots|slots=|slots=0|slots=1001|slots=x|slots=-1|slots=\u0663|slots=1,slots=2||,|build=|build=soon|build=-50%"
    "|build=nan%|uploads=2|uploads=nan|cv=9|agents.fw=2|slots.android=2|think=1e99|think=11d|build=9000000%|=5"
)


@pytest.mark.parametrize("text", WRONG.split("|"))
def test_a_wrong_what_if_names_the_keys(text: str) -> None:
    """An unknown key, no value, a value out of range, a key twice: a usage error whose hint helps."""
    with pytest.raises(UsageError) as caught:
        whatif.parse(text, two_kinds())
    assert any(word in (caught.value.hint or "") for word in ("keys:", "as in --what-if", "there is build:fw"))


def test_levers_of_the_heavy_load_are_ranked_by_what_they_gain() -> None:
    """Faster builds, then a host, then a slot (14 % of the p90, as the fifth slot has); a device is within the noise.

    Each gain is that of its what-if, and a gain beyond the noise stands before all within it."""
    found = levers.ranked(HEAVY, MAC, outside(), turns=4_000)
    assert [lever.name for lever in found[:3]] == ["build=80%", "hosts=2", "slots=5"]
    gains = {lever.name: lever.gain for lever in found}
    assert gains["slots=5"] == pytest.approx(0.14 * 13.2 * 60, rel=0.35)
    assert next(lever for lever in found if lever.name == "devices=2").noise
    fifth = next(lever for lever in found if lever.name == "slots=5")
    assert fifth.slower == pytest.approx(0.14, abs=0.05)  # 5 slots with builds of 1.14 x 5.5 min are as 4 of 5.5
    assert [lever.noise for lever in found] == sorted(lever.noise for lever in found)
    for lever in found:
        asked = whatif.parse(lever.name, HEAVY).model
        assert (asked.hosts, asked.devices, asked.kinds[0].slots) == (
            lever.model.hosts,
            lever.model.devices,
            lever.model.kinds[0].slots,
        )
        assert asked.kinds[0].seconds == pytest.approx(lever.model.kinds[0].seconds)
        assert asked.kinds[0].uploads == pytest.approx(lever.model.kinds[0].uploads)


def test_fewer_uploads_are_fewer_of_every_kind() -> None:
    """Two kinds that upload and one that does not: the lever's name, asked as a what-if, is the lever's model."""
    kinds = [
        Kind("build:fw", 4, 200.0, uploads=0.5),
        Kind("build:web", 6, 60.0),
        Kind("build:esp", 2, 60.0, uploads=1.0),
    ]
    model = Model(10, 600.0, kinds, 30.0)
    (lever,) = [row for row in levers.ranked(model, MAC, outside(), turns=1600) if "uploads" in row.name]
    asked = whatif.parse(lever.name, model).model
    assert [kind.uploads for kind in asked.kinds] == pytest.approx([kind.uploads for kind in lever.model.kinds])
    assert [kind.uploads for kind in asked.kinds] == pytest.approx([0.375, 0.0, 0.75])


def test_a_levers_cost_names_memory_and_cores() -> None:
    """A fifth slot on 14 cores: 1.1 GiB, 2.8 cores a build and not 3.5; on a host that is full it does not fit."""
    by_name = {lever.name: lever for lever in levers.ranked(HEAVY, MAC, outside(), turns=1600)}
    assert "1.1 GiB" in by_name["slots=5"].cost
    assert "2.8 cores a build, not 3.5" in by_name["slots=5"].cost
    assert by_name["slots=5"].fits
    assert "48.0 GiB and 14 cores" in by_name["hosts=2"].cost
    small = Facts("linux", 4, 24 << 30, 24 << 30)  # room 16 GiB = 17.2e9: 14 of 0.9e9 and 4 slots, not 5
    full = HEAVY.changed(agents=13)
    assert levers.Memory(full, small, outside()).fits
    tight = {lever.name: lever for lever in levers.ranked(full, small, outside(), turns=1600)}
    assert not tight["slots=5"].fits


def test_memory_is_base_and_slots_of_each_host() -> None:
    """16 agents on two hosts: 8 x 0.9 GB and 4 slots of 1.1 GiB each; RAM less 8 GiB carries twice what one does."""
    found = levers.Memory(HEAVY.changed(hosts=2), MAC, outside())
    assert found.need == 8 * 900_000_000 + 4 * FIRMWARE
    assert found.room == 40 << 30
    assert found.agents == 2 * (((40 << 30) - 4 * FIRMWARE) // 900_000_000)
    none = levers.Memory(HEAVY, Facts("linux", 2, 8 << 30, 8 << 30), outside())
    assert (none.agents, none.fits) == (0, False)


def test_memory_too_small_for_all_slots_carries_as_many_as_may_be_heavy_at_once() -> None:
    """As `capacity show`: 12 GiB have 4 GiB beside the reserve, so two are in their heaviest phase at once, on each
    host; the plan names these two, and not none."""
    small = Facts("linux", 4, 12 << 30, 12 << 30)
    found = levers.Memory(HEAVY, small, outside())
    assert (found.agents, found.all_busy, found.fits) == (2, False, False)
    assert found.agents == bounds.by_memory(small, outside()).agents
    assert levers.Memory(HEAVY.changed(hosts=3), small, outside()).agents == 6
    limit = planning.Plan("heavy", HEAVY, small, outside(), turns=1000).limits[0]
    assert (limit.name, limit.agents) == ("memory", 2) and limit.text.endswith("all slots, 4.4 GiB, do not fit")


def test_a_plan_says_what_binds() -> None:
    """Heavy on 48 GiB: the slots, at 17 agents, before memory; on 16 GiB memory, at 4. The goals are told."""
    plan = planning.Plan("heavy", HEAVY, MAC, outside(), turns=4000)
    assert (plan.limits[0].name, plan.limits[0].agents) == ("build:fw", 17)
    assert plan.annex == (12, 15)
    assert plan.turn_holds
    assert (plan.upload_holds, plan.uploads.rate) == (False, 0.0)
    small = planning.Plan("heavy", HEAVY, Facts("linux", 8, 16 << 30, 16 << 30), outside(), turns=1000)
    assert (small.limits[0].name, small.limits[0].agents) == ("memory", 4)


def test_the_most_agents_within_a_goal() -> None:
    """One agent that is slower than the goal: none; no waiting at all and a goal beyond the p90: any number; else the
    number after which the p90 passes it."""
    assert planning.within(HEAVY, 60.0) == 0
    idle = Model(1, 1e6, [Kind("build:fw", 400, 10.0, cv=0.0)], 0.0)
    assert planning.within(idle, 60.0) == math.inf
    most = planning.within(HEAVY, 900.0, turns=2000)
    assert most == pytest.approx(18, abs=2)


def test_a_sweep_grows_with_the_agents() -> None:
    """Numbers of agents up to twice those asked, those asked among them; the p90 of the last is above the first's."""
    rows = planning.sweep(HEAVY, most=32, turns=800)
    assert rows[0][0] == 1
    assert {16, 32} <= {n for n, _, _ in rows}
    assert rows[-1][2] > 2 * rows[0][2]
