"""What is promised of this host, for a monitoring stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.metrics import shared
from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.config import Config


def samples(config: Config) -> list[Family]:
    """Promised and limited by resource, promises that hold and that wait. Raises ConfigError, OSError."""
    from k1ctl.capacity import limits, promises

    found = promises.held(waiting=True, seen=False)
    held = [promise for promise in found if not promise.waiting]
    counts: dict[str, int] = {}
    for promise in held:
        for name, count in promise.units.items():
            counts[name] = counts.get(name, 0) + count
    most = limits.of(config, shared.facts())
    memory = Family("k1_capacity_promised_bytes", GAUGE, "Memory and disk that is promised.")
    memory_most = Family("k1_capacity_limit_bytes", GAUGE, "Memory and disk that may be promised in all.")
    other = Family("k1_capacity_promised", GAUGE, "Promised of what is no bytes: cores, tokens, agents, models.")
    other_most = Family("k1_capacity_limit", GAUGE, "What may be promised of it in all.")
    for name in sorted({"mem", "cpu", *counts}):
        kind = name.partition(":")[0]
        scale, limit = limits.SCALE.get(kind, 1), most.most(name)
        resource = kind if name.startswith(limits.DISK) else name  # a disk's name is a number of the host's
        promised, bound = (memory, memory_most) if scale == limits.MIB else (other, other_most)
        if name.startswith(limits.DISK) and any(row[0]["resource"] == resource for row in promised.samples):
            continue
        promised.add(round(counts.get(name, 0) * scale, 2), resource=resource)
        if limit < limits.UNCOUNTED:
            bound.add(round(limit * scale, 2), resource=resource)
    standing = Family("k1_capacity_promises", GAUGE, "Promises that hold, and that wait for room.")
    standing.add(len(held), state="held").add(len(found) - len(held), state="waiting")
    return [memory, memory_most, other, other_most, standing]
