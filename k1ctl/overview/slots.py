"""What there is only one of, or only N of: who holds it, since when, and how many wait."""

from __future__ import annotations

from k1ctl.overview.parts import Part
from k1ctl.queue.names import lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.overview.parts import Sources


def look(sources: Sources) -> Part:
    """Rows: ``resource``, ``slots``, ``held_slots``, ``held`` ({workspace, label, kind, run, ticket, slots, since,
    seconds, waits_for} each), ``waiting`` (how many; for one of several devices they count for each),
    ``typical_seconds`` of a hold, ``paused`` (the reason, None when it is not)."""
    from k1ctl.queue.history import typical

    rows = []
    for resource in _names(sources):
        held = [_holder(sources, t, resource) for t in sources.tickets if _holds(t, resource)]
        rows.append(
            {
                "resource": resource,
                "slots": sources.config.slots(resource),
                "held_slots": sum(each["slots"] for each in held),
                "held": held,
                "waiting": sum(t["state"] == "waiting" and resource in lines(t["resources"]) for t in sources.tickets),
                "typical_seconds": typical(sources.queue, resource),
                "paused": sources.paused.get(resource),
            }
        )
    return Part(rows)


def _names(sources: Sources) -> list[str]:
    """Every resource that is configured, paused, or asked for; not the locks of build folders (``tree:HASH``)."""
    config = sources.config
    found = [f"device:{name}" for name in config.names("devices")]
    found += [f"build:{name}" for name in config.names("targets")]
    found += config.names("queue", "slots")
    found += [name for ticket in sources.tickets for name in lines(ticket["resources"])]
    return [name for name in dict.fromkeys([*found, *sources.paused]) if not name.startswith("tree:")]


def _holds(ticket: dict[str, Any], resource: str) -> bool:
    return ticket["state"] == "running" and resource in ticket["resources"]


def _holder(sources: Sources, ticket: dict[str, Any], resource: str) -> dict[str, Any]:
    return {
        "workspace": sources.owner(ticket),
        "label": ticket.get("label") or ticket.get("command") or ticket.get("holder") or "",
        "kind": ticket.get("kind", ""),
        "run": ticket.get("run", ""),
        "ticket": ticket["ticket"],
        "slots": ticket["resources"][resource],
        "since": ticket.get("granted_at") or None,
        "seconds": sources.ago(ticket.get("granted_at")),
        "waits_for": ticket.get("waits_for") or None,
    }
