"""The configured devices as the last prober left word of them; none is asked."""

from __future__ import annotations

from k1ctl.overview.parts import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.overview.parts import Sources

UNKNOWN = "unknown"  # nobody asked it yet
_FIGURES = ("fps", "heap_free_bytes", "rssi_dbm", "uptime_ms")


def look(sources: Sources) -> Part:
    """Rows: ``device``, ``default``, ``state`` (as `k1ctl device health` has it, or unknown), ``message``,
    ``probed_at``, ``age_seconds`` of that, ``fps``, ``heap_free_bytes``, ``rssi_dbm``, ``uptime_ms``, ``version`` it
    told (its build's id, else what its framework is), ``image`` it was sent last ({artifact, target, workspace, at,
    outcome: installed, sending or unknown, verification} or None), ``holder`` ({workspace, label, run, since} or None),
    ``elsewhere`` (who of another repository on this host has it and stands in no line here, "" for nobody),
    ``waiting``, ``out_of_service``, ``paused``, and ``escalation`` ({rung, since, reason} or None)."""
    from k1ctl.device.survey import configured

    sections = configured(sources.config)
    if not sections:
        return Part()
    from k1ctl.device.occupancy import of_devices

    queue = of_devices(sources.workspace, sources.config, sections)
    default = str(sources.config.get("defaults", "device"))
    return Part([{**_row(sources, n, d, queue[n]), "default": n == default} for n, d in sections.items()])


def _row(sources: Sources, name: str, device: dict[str, Any], queue: dict[str, Any]) -> dict[str, Any]:
    from k1ctl.device import images
    from k1ctl.device.health import last
    from k1ctl.device.verdict import INFO, judge

    found: dict[str, Any] = dict.fromkeys((*_FIGURES, "probed_at", "age_seconds", "version"))
    found |= {"state": UNKNOWN, "message": "nobody asked it yet (k1ctl device health)"}
    record = last(sources.workspace, device)
    if record is not None:
        verdict = judge(record, device)
        found |= {key: verdict.values[key] for key in _FIGURES}
        found |= {"probed_at": record.get("probed_at"), "age_seconds": round(record["age_seconds"], 3)}
        found |= {"state": verdict.state, "message": verdict.message, "version": _version(record["answers"][INFO])}
    holder = queue["holder"]
    if holder:
        queue = {**queue, "holder": {**holder, "workspace": sources.owner(holder)}}
    return {
        "device": name,
        **found,
        "image": _image(images.read(sources.workspace, name)["current"], holder),
        "elsewhere": "" if holder else _elsewhere(device),
        **queue,
        "escalation": _escalation(sources, name),
    }


def _image(current: dict[str, Any] | None, holder: dict[str, Any] | None) -> dict[str, Any] | None:
    """What it was sent last; whose run has the device yet, and has no outcome, is being sent."""
    if current is None:
        return None
    found = {key: current.get(key) for key in ("artifact", "target", "workspace", "at", "outcome", "verification")}
    under_way = holder is not None and current["run"] == holder["run"] and current["outcome"] == "unknown"
    return {**found, "outcome": "sending"} if under_way else found


def _version(answer: dict[str, Any]) -> str | None:
    build = (answer.get("document") or {}).get("build")
    words = [build.get(key) for key in ("id", "version", "framework")] if isinstance(build, dict) else []
    return next((word for word in words if isinstance(word, str) and word), None)


def _escalation(sources: Sources, name: str) -> dict[str, str] | None:
    from k1ctl.escalation.keeper import load

    state = load(sources.workspace, name)
    if not state["rung"]:
        return None
    reason = next((str(step["reason"]) for step in reversed(state["steps"]) if step["rung"] == state["rung"]), "")
    return {"rung": str(state["rung"]), "since": str(state["since"]), "reason": reason}


def _elsewhere(device: dict[str, Any]) -> str:
    """Who holds the host's guard of the device and stands in no line here; a shared lock for an instant finds out."""
    import fcntl
    import os

    from k1ctl.device import guard
    from k1ctl.files import flock

    path = guard.guard_path(guard.guard_key(device))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return "" if flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, path) else guard.holder_text(path)
    finally:
        os.close(fd)
