"""Settings that give away more than the host has: each with its file, and the figure that would hold.

Nothing is refused for them; the gate counts what is really there. A setting that would let in too many agents is
reduced (`formula.let_in`), and each look at the capacity says so.
"""

from __future__ import annotations

import os

from k1ctl.capacity import formula, twopart
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.bounds import Bound
    from k1ctl.capacity.facts import Facts
    from k1ctl.config import Config

_SIZES = ("reserve", "memory", "per_agent", "gpu_memory")
_MARKS = ("admit_percent", "build_percent", "suspend_percent", "kill_percent")


class Overallocation:
    """``setting`` and ``where`` it stands (FILE:LINE, or the environment), its ``value`` and the one that ``holds``, in
    its ``unit`` (bytes, cores, percent, count), and a ``text`` that says why."""

    __slots__ = ("holds", "setting", "text", "value", "where")

    def __init__(self, setting: str, where: str, value: int, holds: int, text: str) -> None:
        self.setting, self.where, self.value, self.holds, self.text = setting, where, value, holds, text

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("setting", "where", "value", "holds", "unit", "text")}

    @property
    def unit(self) -> str:
        name = self.setting.removeprefix("capacity.")
        if name in _SIZES or name.startswith("heavy."):
            return "bytes"
        return "percent" if name in _MARKS else "cores" if name == "cpus" else "count"

    def __str__(self) -> str:
        return f"{self.setting} ({self.where}): {self.text}" if self.where else f"{self.setting}: {self.text}"


def found(facts: Facts, config: Config, *, binds: Bound | None = None, conductor: str = "") -> list[Overallocation]:
    """What over-allocates this host. ``binds``: the bound that binds, capacity.agents left aside; ``conductor``: the
    path of a conductor.json, whose maxConcurrentWorkspaces is looked at (nothing else there is about capacity)."""
    return [
        *_reserve(facts, config),
        *_per_agent(facts, config),
        *_agents(facts, config, binds),
        *_workspaces(conductor, binds),
        *_slots(facts, config),
        *_totals(facts, config),
        *_watermarks(config),
    ]


def _safe(config: Config, memory: int) -> int:
    return formula.safe_agents(memory, formula.reserve(memory, config), formula.per_agent(config)[0])


def _room(facts: Facts, config: Config) -> int:
    """What builds and agents may be promised: as the gate has it (`limits.of`), the reserve is at most half."""
    return facts.memory - min(formula.reserve(facts.memory, config), facts.memory // 2)


def _row(config: Config, name: str, holds: int, text: str, *, place: tuple[str, ...] = ()) -> Overallocation:
    place = place or ("capacity", name)
    where = "environment" if config.origin(*place) == "environment" else _line(config, place)
    setting = ".".join(part if ":" not in part else f'"{part}"' for part in place)
    return Overallocation(setting, where, int(config.get(*place)), holds, text)


def _line(config: Config, place: tuple[str, ...]) -> str:
    if config.origin(*place) != "file":
        return ""
    from k1ctl.tomllines import line_of

    try:
        with open(config.path, encoding="utf-8") as f:
            line = line_of(f.read(), place)
    except (OSError, ValueError):
        line = 0
    return f"{config.path}:{line}" if line else config.path


def _reserve(facts: Facts, config: Config) -> list[Overallocation]:
    reserve = int(config.get("capacity", "reserve"))
    if not reserve or reserve < facts.memory:
        return []
    holds = min(formula.default_reserve(facts.memory), facts.memory // 2)
    text = f"{format_size(reserve)} of {format_size(facts.memory)} leave nothing to agents; {format_size(holds)} would"
    return [_row(config, "reserve", holds, text)]


def _per_agent(facts: Facts, config: Config) -> list[Overallocation]:
    """A figure with which the agents that somebody counts on (capacity.agents, else the matrix) do not fit."""
    each = int(config.get("capacity", "per_agent"))
    if not each:
        return []
    counted = int(config.get("capacity", "agents"))
    wanted, who = counted or formula.by_matrix(facts.memory)[0], "capacity.agents" if counted else "the guides' matrix"
    room, safe = _room(facts, config), _safe(config, facts.memory)
    if wanted * each <= room:
        return []
    holds = max(room // wanted, 1)
    needs = f"{wanted} agent{'s' * (wanted != 1)} ({who}) of {format_size(each)} need {format_size(wanted * each)}"
    text = f"{needs}, the reserve leaves {format_size(room)}: reduced to {safe}; {_size(holds)} would hold {wanted}"
    if each > room:
        text += f"; not even the one has its {format_size(each)}"
    return [_row(config, "per_agent", holds, text)]


def _agents(facts: Facts, config: Config, binds: Bound | None) -> list[Overallocation]:
    wanted = int(config.get("capacity", "agents"))
    if not wanted:
        return []
    each, safe = formula.per_agent(config)[0], _safe(config, facts.memory)
    told = f"{wanted} agents of {format_size(each)} are more than the formula's {safe}"
    if config.get("capacity", "per_agent") and wanted > safe:
        return [_row(config, "agents", safe, f"{told}: reduced to {safe}")]
    if binds is not None and binds.agents is not None and wanted > max(binds.agents, binds.burst or 0):
        text = f"{wanted} agents are more than {binds.name} bears: {binds.agents} ({binds.text})"
        return [_row(config, "agents", binds.agents, text)]
    if wanted <= safe:
        return []
    return [_row(config, "agents", safe, f"{told}; they fit only while every heavy phase takes a slot")]


def _workspaces(path: str, binds: Bound | None) -> list[Overallocation]:
    """maxConcurrentWorkspaces of a conductor.json: Conductor passes it over, so it limits nothing."""
    if not path or binds is None or binds.agents is None or not os.path.isfile(path):
        return []
    import json

    try:
        with open(path, encoding="utf-8") as f:
            document = json.load(f)
    except (OSError, ValueError, RecursionError):
        return []
    wanted = document.get("maxConcurrentWorkspaces") if isinstance(document, dict) else None
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted <= max(binds.agents, binds.burst or 0):
        return []
    text = (
        f"{wanted} workspaces are more than {binds.name} bears: {binds.agents} ({binds.text}); Conductor passes the key"
        f" over, capacity.agents = {binds.agents} would hold"
    )
    return [Overallocation("maxConcurrentWorkspaces", path, wanted, binds.agents, text)]


def _slots(facts: Facts, config: Config) -> list[Overallocation]:
    """Slots that cannot all be busy beside one agent: those of the pool that takes most are cut until they can."""
    pools, room, base = twopart.pools(config), _room(facts, config), twopart.base(config)[0]
    needed = sum(pool.total for pool in pools)
    if needed + base <= room:
        return []
    slots = _fewer(pools, room - base)
    fits = sum(slots[pool.resource] * pool.each for pool in pools) + base <= room
    rows = []
    for pool in pools:
        if slots[pool.resource] < pool.slots:
            text = (
                f"with all slots busy builds need {format_size(needed)}, the reserve leaves {format_size(room)} for"
                f" them and one agent; {slots[pool.resource]} would {'hold' if fits else 'be too many, too'}"
            )
            rows.append(_row(config, "", slots[pool.resource], text, place=("queue", "slots", pool.resource)))
            rows[-1].value = pool.slots
    if not rows and pools:
        place = ("capacity", "heavy", pools[0].resource)
        text = f"one slot of each kind needs {format_size(needed)}, the reserve leaves {format_size(room)}"
        rows.append(_row(config, "", max(0, room - base), f"{text}: builds will wait for each other", place=place))
        rows[-1].value = pools[0].each
    return rows


def _fewer(pools: list[twopart.Pool], room: int) -> dict[str, int]:
    """Slots of each pool that fit into ``room`` bytes, one at least."""
    slots, total = {pool.resource: pool.slots for pool in pools}, sum(pool.total for pool in pools)
    while total > room:
        largest = max(
            (p for p in pools if slots[p.resource] > 1), key=lambda p: slots[p.resource] * p.each, default=None
        )
        if largest is None:
            break
        have = slots[largest.resource]
        cut = max(1, min((total - room) // largest.each, have // 16))
        slots[largest.resource] = have - cut
        total -= cut * largest.each
    return slots


def _totals(facts: Facts, config: Config) -> list[Overallocation]:
    rows, memory = [], int(config.get("capacity", "memory"))
    room = _room(facts, config)
    if memory > room:
        whole = "the host has" if memory > facts.memory else "the reserve leaves"
        there = facts.memory if memory > facts.memory else room
        text = f"{format_size(memory)} may be promised, {whole} {format_size(there)}; {_size(room)} would hold"
        rows.append(_row(config, "memory", room, text))
    cpus = int(config.get("capacity", "cpus"))
    if cpus > facts.cores:
        rows.append(_row(config, "cpus", facts.cores, f"{cpus} cores may be promised, there are {facts.cores}"))
    gpu, there = int(config.get("capacity", "gpu_memory")), sum(int(g.get("memory_bytes") or 0) for g in facts.gpus)
    if facts.gpus and gpu > there:
        text = f"{format_size(gpu)} may be promised, nvidia-smi tells of {format_size(there)}"
        rows.append(_row(config, "gpu_memory", there, text))
    return rows


def _watermarks(config: Config) -> list[Overallocation]:
    """Watermarks that are not in their order: what is to come later comes first."""
    from itertools import pairwise

    marks = [(name, mark) for name in _MARKS if (mark := int(config.get("capacity", name)))]
    return [
        _row(config, name, low, f"{mark} % is below capacity.{before} ({low} %), which is to come first")
        for (before, low), (name, mark) in pairwise(marks)
        if mark < low
    ]


def _size(size: int) -> str:
    """A size as the configuration takes it, rounded down: ``4G``, ``2560M``."""
    return f"{size >> 30}G" if size >> 30 and size % (1 << 30) == 0 else f"{size >> 20}M"
