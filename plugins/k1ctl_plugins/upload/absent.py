"""Devices of a group that no way leads to: they count as free in the line, but whoever took one would only fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl_plugins.upload import transports

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.upload.ways import Way, Ways

_GONE = ("offline", "wrong-device")
_MAX_AGE = "10s"


def leave_out(workspace: Workspace, ways: Ways) -> None:
    """Close the ways to devices that do not answer, or are others, and that no cable leads to; where no way would be
    left, nothing. A device that somebody holds may be restarting under his hands: it stays.
    """
    if len(ways.open) < 2:
        return
    told = _told(workspace)
    gone = {n: row["message"] for way in ways.open if _only_by_network(way) and (row := told.get(n := _name(way)))}
    there = [way for way in ways.open if _name(way) not in gone]
    if there:
        ways.open = there
        ways.warnings += [f"{device} is left out: {why}" for device, why in gone.items()]


def _name(way: Way) -> str:
    return str(way.device["name"])


def _only_by_network(way: Way) -> bool:
    name = way.transport.name
    return name == transports.OTA or (name == transports.AUTO and not transports.is_on_usb(way.device))


def _told(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """What `k1ctl device list` says of the devices that are gone, asked as a user would."""
    import json
    import subprocess

    argv = [*transports.PYTHON, "k1ctl", "--root", workspace.root, "device", "list", "--max-age", _MAX_AGE, "--json"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=workspace.path, check=False)
    try:
        rows = json.loads(done.stdout)["devices"]
    except (ValueError, KeyError):
        return {}  # then each device is tried as if it were there
    return {row["device"]: row for row in rows if row["state"] in _GONE and not row["holder"]}
