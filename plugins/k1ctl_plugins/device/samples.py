"""Devices for a monitoring stack, from the last probe that anybody made; no device is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.metrics import outcomes
from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_FIGURES = {
    "fps": ("k1_device_fps", "Frames a second."),
    "heap_free_bytes": ("k1_device_heap_free_bytes", "Free memory of the device."),
    "rssi_dbm": ("k1_device_rssi_dbm", "Strength of its signal."),
}


def samples(workspace: Workspace, config: Config) -> list[Family]:
    """State, figures and time of the last probe by device, what is configured of it, and tests by device."""
    up = Family("k1_device_up", GAUGE, "Whether the right device answered the last probe (1).")
    states = Family("k1_device_state", GAUGE, "What the last probe found: 1 for the state that it is in.")
    probed = Family("k1_device_probed_at_seconds", GAUGE, "When the last probe was made, in seconds since 1970.")
    uptime = Family("k1_device_uptime_seconds", GAUGE, "How long the device ran when it was probed.")
    least = Family("k1_device_fps_min", GAUGE, "Frames a second below which it is degraded ([devices.NAME] fps_min).")
    figures = {key: Family(name, GAUGE, about) for key, (name, about) in _FIGURES.items()}
    from k1ctl.device import verdict

    for name in config.names("devices"):
        section = {**config.section("devices", name), "name": name}
        if section["fps_min"]:
            least.add(section["fps_min"], device=name)
        record = _record(workspace, section)
        if record is None:
            continue
        try:
            found = verdict.judge(record, section)
        except (KeyError, TypeError, ValueError, AttributeError):  # a record that was damaged by hand: as none
            continue
        up.add(int(found.reachable), device=name)
        for state in verdict.EXIT_CODES:
            states.add(int(state == found.state), device=name, state=state)
        probed.add(record["wall"], device=name)
        for key, family in figures.items():
            if found.values[key] is not None:
                family.add(found.values[key], device=name)
        if found.values["uptime_ms"] is not None:
            uptime.add(found.values["uptime_ms"] / 1000, device=name)
    return [
        up,
        states,
        probed,
        uptime,
        least,
        *figures.values(),
        *outcomes.families(workspace, "test", "tests", "device"),
    ]


def _record(workspace: Workspace, device: dict[str, Any]) -> dict[str, Any] | None:
    """The last probe's record, of whatever age; None when there is none of this address that can be judged."""
    from k1ctl.device.health import state_path
    from k1ctl.device.verdict import HEALTH, INFO
    from k1ctl.files import read_json

    record = read_json(state_path(workspace, device["name"]))
    if not isinstance(record, dict) or any(record.get(key) != device[key] for key in ("host", "http_port")):
        return None
    answers, wall = record.get("answers"), record.get("wall")
    whole = isinstance(answers, dict) and all(
        isinstance(answers.get(route), dict)
        and isinstance(answers[route].get("outcome"), str)
        and isinstance(answers[route].get("document") or {}, dict)
        for route in (INFO, HEALTH)
    )
    return record if whole and isinstance(wall, int | float) else None
