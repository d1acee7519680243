"""Who waits, in the order of service, and who keeps a place."""

from __future__ import annotations

from k1ctl.overview.line import expected
from k1ctl.overview.parts import ELSEWHERE, Part, shown
from k1ctl.queue.names import alternatives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.overview.parts import Sources


def look(sources: Sources) -> Part:
    """Rows: ``ticket``, ``state`` (waiting, parked, or room: it has its turn and waits for room on the host),
    ``position`` (None unless waiting), ``workspace``, ``label``, ``kind``, ``run``, ``resources``, ``priority``,
    ``since``, ``seconds``, ``expected_seconds`` until the start (None: not known), ``blocked`` (the pause, or what of
    the host it waits for; "" for none). Facts: how many of each."""
    starts = expected(sources)
    rows = [
        _row(sources, ticket, starts)
        for ticket in sources.tickets
        if ticket["state"] in ("waiting", "parked") or ticket.get("waits_for")
    ]
    told = {row["run"] for row in rows}
    rows += [_promise(sources, p) for p in sources.promises if p.waiting and (not p.run or p.run not in told)]
    order = ("room", "waiting", "parked")
    rows.sort(key=lambda row: order.index(row["state"]))
    return Part(rows, {state: sum(row["state"] == state for row in rows) for state in order})


def _row(sources: Sources, ticket: dict[str, Any], starts: dict[int, float | None]) -> dict[str, Any]:
    room = ticket.get("waits_for") if ticket["state"] == "running" else ""
    since = ticket.get("granted_at") if room else ticket.get("queued_at")
    stopped = []
    for resource in ticket["resources"]:
        reasons = [sources.paused.get(each) for each in alternatives(resource)]
        stopped += [resource] if all(reason is not None for reason in reasons) else []
    return {
        "ticket": ticket["ticket"],
        "state": "room" if room else ticket["state"],
        "position": ticket.get("position"),
        "workspace": sources.owner(ticket),
        "label": ticket.get("label") or ticket.get("command") or ticket.get("holder") or "",
        "kind": ticket.get("kind", ""),
        "run": ticket.get("run", ""),
        "resources": shown(ticket["resources"]),
        "priority": ticket["priority"],
        "since": since or None,
        "seconds": sources.ago(since),
        "expected_seconds": None if stopped else starts.get(ticket["ticket"]),
        "blocked": str(room) if room else "; ".join(_paused(r, sources.paused.get(r) or "") for r in stopped),
    }


def _paused(resource: str, why: str) -> str:
    from k1ctl.process.view import describe_pause

    return describe_pause(resource, why)


def _promise(sources: Sources, promise: Any) -> dict[str, Any]:
    """One who waits for memory, cores or disk of the host and stands in no line of the queue."""
    from k1ctl.queue.names import priority_name
    from k1ctl.units import rfc3339

    ours = promise.root in ("", sources.workspace.root)
    return {
        "ticket": None,
        "state": "room",
        "position": None,
        "workspace": promise.workspace if ours else f"{promise.workspace} {ELSEWHERE}",
        "label": promise.what,
        "kind": promise.kind,
        "run": promise.run,
        "resources": [],
        "priority": priority_name(promise.priority),
        "since": rfc3339(promise.since) if promise.since else None,
        "seconds": sources.ago(promise.since) if promise.since else None,
        "expected_seconds": None,
        "blocked": f"room on this host for {promise.need}",
    }
