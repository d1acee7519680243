"""The gate's decision by itself: what fits beside what was promised and what is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import gate, limits
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.limits import MIB, Limits
from k1ctl.capacity.need import Need, parse
from k1ctl.capacity.promises import Promise
from k1ctl.config import Config

GIB = 1 << 30
DEFAULTS = Config("", {}, {})


def host(memory: int = 64, used: float = 0.0, cores: int = 16) -> Facts:
    """A host with this much memory, in GiB."""
    return Facts("linux", cores, memory * GIB, int((memory - used) * GIB))


def held(need: str, seen: float = 0.0) -> Promise:
    """A promise of which ``seen`` GiB are used."""
    return Promise("1", parse(need), seen_bytes=int(seen * GIB))


def go(need: str, facts: Facts, promised: list[Promise], config: Config = DEFAULTS) -> gate.Decision:
    return gate.decide(parse(need), facts, limits.of(config, facts), promised)


def test_the_larger_of_promised_and_seen_counts() -> None:
    """On 64 GiB (reserve 9.6): 40 GiB promised leave 14.4, whether used or not; who uses more takes more."""
    assert go("mem=14G", host(), [held("mem=40G")]).go
    assert go("mem=14G", host(used=38), [held("mem=40G", seen=38)]).go
    assert not go("mem=15G", host(), [held("mem=40G")]).go
    refused = go("mem=14G", host(used=45), [held("mem=40G", seen=45)])
    assert not refused.go
    (reason,) = refused.reasons
    assert (reason.resource, reason.need, reason.promised) == ("mem", 14 * GIB, 40 * GIB)
    assert reason.free == pytest.approx((64 - 9.6 - 45) * GIB, abs=MIB) and "9.4 GiB free" in reason.text


def test_the_reserve_covers_others_until_they_use_more() -> None:
    """What nobody promised counts only where it is more than the reserve."""
    assert go("mem=14G", host(used=9), [held("mem=40G")]).go
    assert not go("mem=14G", host(used=12), [held("mem=40G")]).go
    assert go("mem=12G", host(used=12), [held("mem=40G")]).go


def test_the_first_is_always_let_in() -> None:
    """A host that others use to the brim lets one in, however much it needs below RAM - reserve; the second waits."""
    assert go("mem=50G", host(used=60), []).go
    assert not go("mem=4G", host(used=60), [held("mem=1G")]).go
    assert go("mem=1G", host(used=60), [held("cpu=1")]).go
    assert go("mem=55G", host(), []).never


def test_a_small_host_keeps_half_of_its_memory() -> None:
    """The reserve of 8 GiB would leave an 8 GiB host nothing to promise."""
    assert limits.of(DEFAULTS, host(8)).memory == 4 * GIB
    assert go("mem=4G", host(8), []).go and go("mem=5G", host(8), []).never


@pytest.mark.parametrize(
    ("need", "agent", "level", "goes"),
    [
        ("mem=1G", False, 1, True),
        ("mem=1G", False, 2, False),
        ("agents=1", False, 1, False),
        ("mem=1G", True, 1, False),
        ("mem=1G", True, 0, True),
    ],
)
def test_watermarks_hold_agents_first_and_workers_later(need: str, agent: bool, level: int, goes: bool) -> None:
    """Level 1 keeps agents out, level 2 workers too, the first among them; what recovers is never held."""
    facts = host()
    found = gate.decide(parse(need), facts, limits.of(DEFAULTS, facts), [], agent=agent, level=level)
    assert found.go is goes
    assert [r.resource for r in found.reasons] == ([] if goes else [gate.WATERMARK])
    assert gate.decide(parse("mem=1G"), facts, limits.of(DEFAULTS, facts), [], worker=False, level=4).go


def test_each_resource_is_counted() -> None:
    """Cores, tokens, agents, models, disk, the GPU and slots of the queue, each by its own limit."""
    facts = host()
    facts.gpus = [{"name": "x", "memory_bytes": 8 * GIB, "used_bytes": 3 * GIB}]
    room = Limits(
        8 * GIB, 56 * GIB, 4, tokens=100_000, gpu=8 * GIB, agents=2, models={"a.b/c": 1},
        slots={"build:fw": (4, 3)}, disk={"disk:1": GIB}, here="disk:1",
    )  # fmt: skip
    ours = [held("cpu=2.5,tokens=60k,agents=1,model:a.b/c=1")]
    fits = "cpu=1.5,tokens=40k,agents=1,disk=1G,gpu=5G,build:fw=1"
    assert gate.decide(parse(fits), facts, room, ours).go
    for more in ("cpu=1.51", "tokens=41k", "agents=2", "model:a.b/c=1", "disk=1025M", "gpu=6G", "build:fw=2"):
        assert len(gate.decide(parse(more), facts, room, ours).reasons) == 1, more


def test_a_full_disk_is_no_disk_that_is_too_small(tmp_path: Path) -> None:
    """What is free now may be more later: only a need beyond the whole filesystem never fits."""
    facts = host()
    room = limits.of(DEFAULTS, facts)
    limits.look_at_disk(room, DEFAULTS, str(tmp_path))
    room.disk[room.here], room.whole[room.here] = GIB, 100 * GIB
    (reason,) = gate.decide(parse("disk=2G"), facts, room, []).reasons
    assert not reason.never and "2.0 GiB needed, 1.0 GiB free; 0 B promised of 100 GiB" in reason.text
    assert gate.decide(parse("disk=101G"), facts, room, []).never


@given(
    memory=st.integers(4, 128),
    used=st.integers(0, 128),
    needs=st.lists(st.tuples(st.integers(1, 60_000), st.integers(0, 60_000)), max_size=12),
    reduce=st.booleans(),
)
def test_promises_never_pass_the_limit(memory: int, used: int, needs: list[tuple[int, int]], reduce: bool) -> None:
    """Whoever asks in whatever order, reduced or not: promised + reserve <= RAM, and nobody waits while none holds."""
    facts = host(memory, min(used, memory))
    room = limits.of(DEFAULTS, facts)
    ours: list[Promise] = []
    for mib, seen in needs:
        need = Need(mib * MIB)
        found = gate.decide(need, facts, room, ours)
        assert found.go or ours or found.never
        if reduce and found.reduced is not None:
            assert need.mem // 10 <= found.reduced.mem < need.mem
            need, found = found.reduced, gate.decide(found.reduced, facts, room, ours)
            assert found.go
        if found.go:
            ours.append(Promise("x", need, seen_bytes=seen * MIB))
        assert sum(p.units["mem"] for p in ours) * MIB + room.reserve <= facts.memory


def test_reduced_leaves_what_cannot_be_less() -> None:
    """Memory, cores and tokens shrink to what is free, to a tenth at least; an agent or a slot does not."""
    assert str(go("mem=50G,cpu=20", host(), [held("mem=40G,cpu=10")]).reduced) == "mem=14745M,cpu=6"
    assert go("mem=50G", host(), [held("mem=50G")]).reduced is None
    facts = host()
    full = gate.decide(parse("mem=60G,agents=1"), facts, Limits(8 * GIB, 56 * GIB, 16, agents=1), [held("agents=1")])
    assert full.reduced is None and not full.go
