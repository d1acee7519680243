"""All configured devices with what is known of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.device import discover, occupancy, survey
from k1ctl.device.usb import spelled
from k1ctl.device.verdict import INFO, judge
from k1ctl.output import table
from k1ctl.units import format_duration, parse_rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

UNKNOWN = "unknown"  # nobody came to an answer: see the message
_FIGURES = ("fps", "heap_free_bytes", "rssi_dbm", "uptime_ms")


def devices(workspace: Workspace, config: Config, *, max_age: float | None) -> list[dict[str, Any]]:
    """A row for each configured device, in the order of the configuration. Raises ConfigError."""
    sections = survey.configured(config)
    window = float(config.get("device", "window"))
    records = survey.ask_each(workspace, sections, window=window, max_age=max_age or 0.0)
    by_usb = any(device["mac"] for device in sections.values())
    ports = discover.plugged()[0] if by_usb else []
    queue = occupancy.of_devices(workspace, config, sections)
    uploads = occupancy.last_uploads(workspace, sections)
    default = str(config.get("defaults", "device"))
    rows = []
    for name, device in sections.items():
        port, mac = discover.port_of(device, ports), spelled(str(device["mac"]))
        rows.append(
            {
                "device": name,
                "default": name == default,
                **_health(records[name], device),
                "host": device["host"],
                "http_port": device["http_port"],
                "mac": mac,
                "usb_port": port.path if port and (not mac or port.mac in ("", mac)) else "",
                "groups": device["groups"],
                **queue[name],
                "last_upload": uploads.get(name),
            }
        )
    return rows


def _health(record: dict[str, Any] | str, device: dict[str, Any]) -> dict[str, Any]:
    if isinstance(record, str):
        nothing = dict.fromkeys((*_FIGURES, "probed_at", "age_seconds"))
        return {"state": UNKNOWN, "message": record, **nothing}
    verdict = judge(record, device)
    figures = {key: verdict.values[key] for key in _FIGURES}
    when = {"probed_at": record["probed_at"], "age_seconds": round(record["age_seconds"], 3)}
    unsaid = "it was too often asked to say who it is" if verdict.reachable and INFO in verdict.missing else ""
    return {"state": verdict.state, "message": verdict.message or unsaid, **figures, **when}


def text(rows: list[dict[str, Any]]) -> str:
    """The rows as a table, and below it why a device is not online."""
    now = time.time()
    cells = [
        (
            row["device"],
            row["state"],
            _host(row),
            row["mac"] or "-",
            row["usb_port"] or "-",
            ",".join(row["groups"]) or "-",
            queue_text(row),
            upload_text(row["last_upload"], now),
        )
        for row in rows
    ]
    lines = [table(cells, ("DEVICE", "STATE", "HOST", "MAC", "USB", "GROUPS", "QUEUE", "LAST UPLOAD"))]
    lines += [f"{row['device']}: {row['message']}" for row in rows if row["message"]]
    return "\n".join(lines)


def _host(row: dict[str, Any]) -> str:
    port = "" if row["http_port"] == 80 else f":{row['http_port']}"
    return f"{row['host']}{port}" if row["host"] else "-"


def queue_text(row: dict[str, Any]) -> str:
    """Who has a device and who waits: ``free`` when nobody does."""
    out, holder = row["out_of_service"], row["holder"]
    words = []
    if out:
        words.append(f"out of service{': ' if out['reason'] else ''}{out['reason']}")
    elif row["paused"] is not None:
        words.append(f"paused: {row['paused']}" if row["paused"] else "paused")
    if holder:
        words.append(f"{holder['workspace']}: {holder['label']}")
    if row["waiting"]:
        words.append(f"{row['waiting']} waiting")
    return ", ".join(words) or "free"


def upload_text(upload: dict[str, Any] | None, now: float) -> str:
    """An upload in a few words: ``installed, 3 m ago, tokyo``."""
    if upload is None:
        return "-"
    try:
        ago = f"{format_duration(max(now - parse_rfc3339(str(upload['at'])), 0.0))} ago"
    except ValueError:
        ago = "?"
    seen = upload["verification"]
    word = f"{upload['outcome']}{f', {seen}' if seen not in (None, '', 'ok', 'skipped') else ''}"
    return f"{word}, {ago}, {upload['workspace']}"
