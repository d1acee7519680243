"""What may be promised in all, from the configuration and the host's facts, and how much that is in whole units.

Promises are tickets of the queue engine, which counts in whole slots: memory in MiB, cores in hundredths, tokens in
thousands, all rounded up for who asks.
"""

from __future__ import annotations

import os
from math import ceil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.need import Need
    from k1ctl.config import Config

MIB = 1 << 20
UNCOUNTED = 10**9  # units of what nobody limits
DISK = "disk:"
MODEL = "model:"
SCALE = {"mem": MIB, "gpu": MIB, "disk": MIB, "cpu": 0.01, "tokens": 1000}  # what one unit is; 1 of anything else


class Limits:
    """What may be promised in all: ``reserve`` (nobody's) and ``memory`` in bytes, ``cpu`` in cores, ``tokens``,
    ``gpu`` in bytes, ``agents``, ``models`` {name: at once}; ``slots`` {resource of the queue: (slots, held)}; ``disk``
    {filesystem: bytes that may be taken now} with ``here`` the one that a need's disk is meant of, and ``whole``
    {filesystem: bytes that may be taken of it when it is empty}.

    ``tokens`` and ``agents`` of 0 and models without a figure are not counted.
    """

    __slots__ = ("agents", "cpu", "disk", "gpu", "here", "memory", "models", "reserve", "slots", "tokens", "whole")

    def __init__(
        self,
        reserve: int,
        memory: int,
        cpu: float,
        *,
        tokens: int = 0,
        gpu: int = 0,
        agents: int = 0,
        models: dict[str, int] | None = None,
        slots: dict[str, tuple[int, int]] | None = None,
        disk: dict[str, int] | None = None,
        here: str = "",
    ) -> None:
        self.reserve, self.memory, self.cpu, self.tokens, self.gpu = reserve, memory, cpu, tokens, gpu
        self.agents, self.models, self.slots, self.disk, self.here = agents, models or {}, slots or {}, disk or {}, here
        self.whole: dict[str, int] = {}

    def most(self, resource: str) -> int:
        """Units of a resource that may be promised at best: on a host that does nothing else."""
        if resource == "mem":
            return self.memory // MIB
        if resource == "cpu":
            return round(self.cpu * 100)
        if resource == "gpu":
            return self.gpu // MIB
        if resource == "tokens":
            return self.tokens // 1000 if self.tokens else UNCOUNTED
        if resource == "agents":
            return self.agents or UNCOUNTED
        if resource.startswith(DISK):
            return max(0, self.whole.get(resource, self.now(resource) * MIB)) // MIB
        if resource in self.slots:
            return self.slots[resource][0]
        known = {model(name): count for name, count in self.models.items()}
        return known.get(resource, UNCOUNTED)

    def now(self, disk: str) -> int:
        """Units of a filesystem that may be taken now."""
        return max(0, self.disk[disk]) // MIB if disk in self.disk else UNCOUNTED


def of(config: Config, facts: Facts) -> Limits:
    """The limits of this host. For admission the reserve is at most half of the memory: a small host works, too."""
    from k1ctl.capacity import formula

    reserve = min(formula.reserve(facts.memory, config), facts.memory // 2)
    left = facts.memory - reserve
    return Limits(
        reserve,
        min(int(config.get("capacity", "memory")) or left, left),
        float(config.get("capacity", "cpus") or facts.cores),
        tokens=int(config.get("capacity", "tokens")),
        gpu=int(config.get("capacity", "gpu_memory")) or sum(int(g.get("memory_bytes") or 0) for g in facts.gpus),
        agents=formula.let_in(config, facts.memory),
        models={name: int(config.get("capacity", "models", name)) for name in config.names("capacity", "models")},
    )


def look_at_disk(limits: Limits, config: Config, path: str) -> None:
    """Have ``limits`` know the filesystem of ``path``: what is free there, up to disk.stop_percent. Raises OSError."""
    from k1ctl.disk import use

    there, stop = use(path), int(config.get("disk", "stop_percent")) or 100
    limits.here = filesystem(path)
    limits.disk[limits.here] = max(0, there.free - there.total * (100 - stop) // 100)
    limits.whole[limits.here] = there.total * stop // 100


def filesystem(path: str) -> str:
    """The resource that stands for the filesystem of ``path``, which need not exist yet. Raises OSError."""
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(os.path.abspath(path))
    return f"{DISK}{os.stat(path).st_dev:x}"


def model(name: str) -> str:
    """The resource that stands for a model; its name may have what a resource's cannot."""
    from k1ctl.queue import names

    resource = MODEL + name
    return resource if names.is_resource(resource) else MODEL + names.stable_key(name)


def units(need: Need, here: str = "") -> dict[str, int]:
    """The need as {resource: units}, rounded up, slots of the queue left out; ``here``: the filesystem of its disk."""
    found = {
        "mem": -(-need.mem // MIB),
        "cpu": ceil(need.cpu * 100 - 1e-6),
        "gpu": -(-need.gpu // MIB),
        "tokens": -(-need.tokens // 1000),
        "agents": need.agents,
        here or DISK + "0": -(-need.disk // MIB),
    }
    for name, count in need.models.items():
        found[model(name)] = count
    return {resource: count for resource, count in found.items() if count > 0}


def part(need: Need, counts: dict[str, int]) -> Need:
    """What these units of a need are."""
    disk = next((r for r in counts if r.startswith(DISK)), "")
    return need.less(
        mem=counts.get("mem", 0) * MIB,
        cpu=counts.get("cpu", 0) / 100,
        disk=counts.get(disk, 0) * MIB,
        tokens=counts.get("tokens", 0) * 1000,
        gpu=counts.get("gpu", 0) * MIB,
        agents=counts.get("agents", 0),
        models={name: counts[model(name)] for name in need.models if model(name) in counts},
    )


def amount(resource: str, count: int) -> str:
    """Units for people: ``4.0 GiB``, ``1.5 cores``, ``10k tokens``."""
    from k1ctl.units import format_size

    kind = resource.partition(":")[0]
    if kind in ("mem", "gpu", "disk"):
        return format_size(max(0, count) * MIB)
    if kind == "cpu":
        return f"{count / 100:g}"
    return f"{count}k" if kind == "tokens" else str(count)


def called(resource: str) -> str:
    """What people call a resource: ``memory``, ``cores``, ``the model opus``."""
    kind, _, name = resource.partition(":")
    known = {"mem": "memory", "cpu": "cores", "gpu": "GPU memory", "tokens": "tokens", "agents": "agents"}
    if kind == "model":
        return f"the model {name}"
    return "disk" if kind == "disk" else known.get(resource, resource)
