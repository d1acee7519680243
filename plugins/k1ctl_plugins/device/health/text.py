"""A device's health in one line: for people, and as a plugin of Nagios prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.device.verdict import BROKEN, DEGRADED, FORBIDDEN, OFFLINE, ONLINE, WRONG, figure
from k1ctl.nagios import WORDS, below, datum, plain
from k1ctl.output import clean, style
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from k1ctl_plugins.device.health.flow import Health

NAGIOS = {ONLINE: 0, DEGRADED: 1, OFFLINE: 2, FORBIDDEN: 2, WRONG: 2, BROKEN: 2}
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
    word = WORDS[NAGIOS[verdict.state]]
    said = verdict.message or _facts(found)
    head = f"K1 {word} - {found.record['device']} {verdict.state}: {plain(said)}"
    device = found.device
    uptime = None if values["uptime_ms"] is None else values["uptime_ms"] // 1000
    data = [
        datum("fps", values["fps"], warn=below(device["fps_min"]), least=0),
        datum("heap", values["heap_free_bytes"], "B", warn=below(device["heap_min"]), least=0),
        datum("rssi", values["rssi_dbm"], warn=below(device["rssi_min"])),
        datum("uptime", uptime, "s", least=0),
        datum("time", found.record["seconds"], "s", least=0),
    ]
    return f"{head} | {' '.join(word for word in data if word)}"
