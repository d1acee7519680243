"""What the demo claims, checked against the device's own record of what it took and when."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from k1ctl.output import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl_plugins.demo.play import Agent
    from k1ctl_plugins.demo.stage import Stage


def check(stage: Stage, agents: Sequence[Agent]) -> list[dict[str, Any]]:
    """The claims, each with whether it ``holds`` and what was ``seen``."""
    from hashlib import sha256

    from k1ctl.simulator.device import history

    folder = stage.ops / "device" / "sim-k1"
    flashes = history(str(folder))
    installed = [f for f in flashes if f["outcome"] == "installed"]
    served = sorted((a for a in agents if a.record.get("ticket")), key=lambda a: int(a.record["ticket"]))
    by_ticket = [a.build["artifact"]["sha256"] for a in served]
    on_device = [f["sha256"] for f in installed]
    equal = sum(_artifact_digest(a) == a.build["artifact"]["sha256"] for a in served)
    image = (folder / "image.bin").read_bytes() if (folder / "image.bin").exists() else b""
    last = bool(by_ticket) and sha256(image).hexdigest() == by_ticket[-1]
    distinct = len(set(by_ticket))
    count = len(agents)
    return [
        _claim("uploads installed", len(installed) == len(flashes) == count, f"{len(installed)} of {count}"),
        _no_overlap(flashes, served),
        _claim("served in ticket order", on_device == by_ticket, " ".join(a.name for a in served)),
        _claim("every image is its worktree's artifact", equal == count and last, f"{equal} of {count} equal"),
        _claim("every worktree built its own", distinct == count, f"{distinct} different images"),
    ]


def _no_overlap(flashes: list[dict[str, Any]], served: Sequence[Agent]) -> dict[str, Any]:
    """The device takes one update at a time anyhow; who else invited it meanwhile, and the leases, tell more."""
    times = [a.record.get("monotonic", {}) for a in served]
    leases = [(t["started"], t["ended"]) for t in times if "started" in t and "ended" in t]
    overlaps = _overlaps([(f["start"], f["end"]) for f in flashes]) + _overlaps(leases)
    others = sum(f["ignored_invitations"] for f in flashes)
    seen = f"{overlaps} overlaps in {len(flashes)} flashes, {others} invitations by others meanwhile"
    return _claim("no two overlapped", overlaps == others == 0 and len(leases) == len(flashes), seen)


def _overlaps(intervals: list[tuple[float, float]]) -> int:
    return sum(later[0] < earlier[1] for earlier, later in pairwise(sorted(intervals, key=lambda i: i[1])))


def _artifact_digest(agent: Agent) -> str:
    """The digest of the artifact's bytes as they lie there now."""
    from hashlib import sha256
    from pathlib import Path

    try:
        return sha256(Path(agent.build["artifact"]["path"]).read_bytes()).hexdigest()
    except OSError:
        return ""


def _claim(what: str, holds: bool, seen: str) -> dict[str, Any]:
    return {"what": what, "holds": holds, "seen": seen}


def as_table(agents: Sequence[Agent]) -> str:
    """The agents in the order in which the device served them."""
    rows = []
    for agent in sorted(agents, key=lambda a: a.record.get("ticket") or 1 << 60):
        facts = agent.document()
        rows.append(
            (
                facts["ticket"] or "-",
                agent.name,
                facts["artifact"] or "-",
                _seconds(agent.seconds.get("set-up")),
                _seconds(agent.seconds.get("build")),
                _seconds(facts["wait_seconds"]),
                _seconds(facts["transfer_seconds"]),
                facts["outcome"] if not agent.error else agent.error,
            )
        )
    return table(rows, ("TICKET", "WORKTREE", "ARTIFACT", "SET-UP", "BUILD", "IN LINE", "TRANSFER", "OUTCOME"))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
