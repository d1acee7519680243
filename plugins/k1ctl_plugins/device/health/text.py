"""A device's health in one line: for people, and as a plugin of Nagios prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.device.verdict import BROKEN, DEGRADED, FORBIDDEN, OFFLINE, ONLINE, WRONG, figure
from k1ctl.output import clean, style
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from k1ctl_plugins.device.health.flow import Health

NAGIOS = {ONLINE: 0, DEGRADED: 1, OFFLINE: 2, FORBIDDEN: 2, WRONG: 2, BROKEN: 2}
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_COLOURS = {ONLINE: "green", DEGRADED: "yellow"}


def line(found: Health) -> str:
    """``k1: online, 150.2 fps, ...``; the reason behind it for every other state."""
    verdict, record = found.verdict, found.record
    state = style(verdict.state, _COLOURS.get(verdict.state, "red"))
    if not verdict.reachable:
        return f"{record['device']}: {state}: {clean(verdict.message)}{_age(found)}"
    head = f"{record['device']}: {state}"
    if verdict.message:
        head += f": {clean(verdict.message)}"
    return f"{head}; {_facts(found)}{_age(found)}"


def _facts(found: Health) -> str:
    values, verdict = found.verdict.values, found.verdict
    degraded = {reason["what"] for reason in verdict.reasons}
    told = [
        figure(what, values[what])
        for what in ("fps", "heap_free_bytes", "rssi_dbm")
        if values[what] is not None and what not in degraded
    ]
    if values["uptime_ms"] is not None:
        told.append(f"up {format_duration(values['uptime_ms'] / 1000)}")
    if found.record["restarted"]:
        told.append("restarted since the last probe")
    if verdict.limited:
        told.append("alive, but too often asked to say more (429)")
    return ", ".join([*told, f"at {clean(str(found.device['host']))}"])


def _age(found: Health) -> str:
    age = found.record["age_seconds"]
    by = clean(str(found.record["prober"]["workspace"]))
    return f" (asked {format_duration(age)} ago by {by})" if age >= 0.05 else ""


def hints(found: Health) -> list[str]:
    """What to do, and who may be the cause."""
    holder = found.holder
    held = holder and f"{holder['workspace']} holds it since {holder['since']}: {holder['label']}"
    return [clean(text) for text in (held, found.verdict.hint) if text]


def nagios(found: Health) -> str:
    """One line after the plugin guidelines: status, text, ``|`` and 'label=value;warning;critical;min'."""
    verdict, values = found.verdict, found.verdict.values
    word = _WORDS[NAGIOS[verdict.state]]
    said = verdict.message or _facts(found)
    head = f"K1 {word} - {found.record['device']} {verdict.state}: {_plain(said)}"
    device = found.device
    data = [
        _datum("fps", values["fps"], "", device["fps_min"], 0),
        _datum("heap", values["heap_free_bytes"], "B", device["heap_min"], 0),
        _datum("rssi", values["rssi_dbm"], "", device["rssi_min"], None),
        _datum("uptime", None if values["uptime_ms"] is None else values["uptime_ms"] // 1000, "s", 0, 0),
        _datum("time", found.record["seconds"], "s", 0, 0),
    ]
    return f"{head} | {' '.join(datum for datum in data if datum)}"


def _datum(label: str, value: float | None, unit: str, least: float, lowest: float | None) -> str:
    """Alert below ``least``, which the guidelines write as ``least:``; "" for a figure that is not known."""
    if value is None:
        return ""
    warning = f"{least:.10g}:" if least else ""
    return f"{label}={value:.10g}{unit};{warning};;{'' if lowest is None else lowest}"


def nagios_unknown(exc: Exception) -> str:
    """What could not be checked at all."""
    from k1ctl.failure import known_error

    return f"K1 UNKNOWN - {_plain(known_error(exc, []).message)}"


def _plain(text: str) -> str:
    """Text without what has a meaning to Nagios."""
    return clean(text).replace("|", "/")
