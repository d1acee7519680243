"""The images of a device, for people."""

from __future__ import annotations

from typing import Any

from k1ctl.output import clean, table
from k1ctl.units import format_duration


def entry(found: dict[str, Any]) -> str:
    """One image in a few words: ``9f3c2a11... (fw of lisbon, soaked 20s)``."""
    soaked = f", soaked {format_duration(found['soak_seconds'])}" if found.get("soak_seconds") else ""
    return f"{found['artifact']} ({found['target']} of {found['workspace']}{soaked})"


def planned(plan: dict[str, Any]) -> str:
    """What ``--dry-run`` prints."""
    way = {"auto": "", "usb": " over USB"}.get(plan["via"], f" by {plan['via']}")
    lifts = f"\nwould end the pause of its queue: {clean(plan['lifts'])}" if plan["lifts"] else ""
    return f"would send {entry(plan['image'])} to {plan['device']}{way}{lifts}"


def sheet(found: dict[str, Any]) -> str:
    """What ``--list`` prints: what runs, and a table of what has passed its soak."""
    current = found["current"]
    if current is None:
        runs = f"{found['device']}: nothing was uploaded to it from here"
    elif current["outcome"] != "installed":
        runs = f"{found['device']}: not known; the upload of {entry(current)} has no final word"
    else:
        seen = current["verification"] or "not verified"
        runs = f"{found['device']}: {entry(current)}, since {current['at']}, {seen}"
    if not found["soaked"]:
        return f"{runs}\nno image has passed a soak on it"
    rows = [_row(one, found) for one in found["soaked"]]
    return f"{runs}\n{table(rows, ('passed', 'target', 'workspace', 'at', 'soak', 'min fps', ''))}"


def _row(one: dict[str, Any], found: dict[str, Any]) -> tuple[object, ...]:
    notes = ["rollback takes it"] if one["artifact"] == found["rolls_back_to"] else []
    notes += [f"failed since: {one['failed_since']}"] if one.get("failed_since") else []
    notes += [] if one["kept"] else ["its artifact is gone or damaged"]
    fps = "" if one.get("fps_min") is None else f"{one['fps_min']:.0f}"
    soak = format_duration(one["soak_seconds"])
    return one["artifact"], one["target"], one["workspace"], one["at"], soak, fps, ", ".join(notes)
