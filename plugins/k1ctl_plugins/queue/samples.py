"""The queue for a monitoring stack: who waits and who holds, by resource, and how long it took to be let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.metrics import outcomes, shared
from k1ctl.samples import GAUGE, HISTOGRAM, Family

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_STATES = {"waiting": "k1_queue_waiting", "running": "k1_queue_held", "parked": "k1_queue_parked"}
_ABOUT = {
    "waiting": "Tickets that wait for a resource.",
    "running": "Slots of a resource that are held.",
    "parked": "Places kept for callers that were killed.",
}


def samples(workspace: Workspace, config: Config) -> list[Family]:
    """Waiting, held, parked and paused by resource, the slots there are, the longest wait now, and all waits."""
    import time

    from k1ctl.queue import view
    from k1ctl.queue.folder import queue_folder

    counts: dict[str, dict[str, int]] = {state: {} for state in _STATES}
    oldest: dict[str, float] = {}
    now = time.time()
    for row in shared.tickets(workspace, config):
        state = row["state"]
        for name, count in row["resources"].items() if state in counts else ():
            if name.startswith("tree:"):  # one a worktree, held by whoever works in it
                continue
            counts[state][name] = counts[state].get(name, 0) + (count if state == "running" else 1)
            if state == "waiting" and row.get("queued_at"):
                oldest[name] = max(oldest.get(name, 0.0), _age(str(row["queued_at"]), now))
    paused = view.paused(queue_folder(workspace, config))
    names = [*config.names("queue", "slots"), *(f"device:{name}" for name in config.names("devices"))]
    names += [f"build:{name}" for name in config.names("targets")]
    names += [name for found in counts.values() for name in found]
    resources = sorted({*names, *paused})
    families = [Family(_STATES[state], GAUGE, _ABOUT[state]) for state in _STATES]
    slots = Family("k1_queue_slots", GAUGE, "Slots that a resource has.")
    stopped = Family("k1_queue_paused", GAUGE, "Whether a resource is paused or out of service (1).")
    longest = Family("k1_queue_oldest_wait_seconds", GAUGE, "How long the one that waits longest has waited.")
    for resource in resources:
        for family, state in zip(families, _STATES, strict=True):
            family.add(counts[state].get(resource, 0), resource=resource)
        slots.add(config.slots(resource), resource=resource)
        stopped.add(int(resource in paused), resource=resource)
        longest.add(round(oldest.get(resource, 0.0), 3), resource=resource)
    waits = Family("k1_queue_wait_seconds", HISTOGRAM, "How long tickets that were let in waited, since ever.")
    for resource, histogram in shared.tally(workspace).waits.items():  # the oldest first: `k1ctl.metrics.cardinality`
        waits.observe(histogram.buckets(), histogram.count, histogram.sum, {"resource": resource})
    return [*families, slots, stopped, longest, waits, *outcomes.families(workspace, "run", "runs", "kind")]


def _age(at: str, now: float) -> float:
    """Seconds since a time that a ticket tells; 0 for one that is none."""
    from k1ctl.units import parse_rfc3339

    try:
        return max(0.0, now - parse_rfc3339(at))
    except ValueError:
        return 0.0
