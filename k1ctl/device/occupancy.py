"""Who has a device, who waits for it, and what was sent to it last."""

from __future__ import annotations

from k1ctl.queue import names
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.service import out_of_service
from k1ctl.queue.view import entries, pauses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_DAYS = 30  # how far back the last upload is looked for
_TOLD = ("at", "workspace", "run", "outcome", "verification", "transport", "target", "artifact", "sha256", "message")


def of_devices(workspace: Workspace, config: Config, devices: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How each device stands in the queue, {device: {holder, waiting, out_of_service, paused}}.

    ``holder`` is {workspace, label, run, since} or None; ``waiting`` counts those who would take this device, also
    among others; ``out_of_service`` is {reason, by, since} or None; ``paused`` the reason of an ordinary pause or None.
    """
    folder = queue_folder(workspace, config)
    rows, out, stopped = entries(folder), out_of_service(folder), pauses(folder)
    found = {}
    for device in devices:
        mine = [row for row in rows if any(device in taken(resource) for resource in row["resources"])]
        running = next((row for row in mine if row["state"] == "running"), None)
        found[device] = {
            "holder": _holder(running) if running else None,
            "waiting": sum(row["state"] == "waiting" for row in mine),
            "out_of_service": out.get(device),
            "paused": stopped.get(f"device:{device}"),
        }
    return found


def taken(resource: str) -> list[str]:
    """The devices that a ticket's resource is, or may be: [] for what is no device."""
    word = resource.removeprefix("device:")
    return [] if word == resource else word.split(names.CHOICE)


def _holder(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "workspace": row.get("workspace", ""),
        "label": row.get("label") or row.get("command", ""),
        "run": row.get("run", ""),
        "since": row.get("granted_at", ""),
    }


def last_uploads(workspace: Workspace, devices: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The last upload to each device that ended, whatever its outcome, out of the events of the last 30 days:
    {device: {at, workspace, run, outcome, verification, transport, target, artifact, sha256, message}}."""
    from k1ctl.events_files import parts
    from k1ctl.events_find import Wanted, newest

    wanted, found, folder = set(devices), {}, workspace.ops_path("events")
    days = sorted({part.day for part in parts(folder)})[-_DAYS:]
    for event in newest(folder, Wanted(["upload.finished"]), since=days[0] if days else ""):
        device = event.get("device")
        name = device.get("name") if isinstance(device, dict) else device
        if name in wanted:
            found[str(name)] = {key: event.get(key) for key in _TOLD}
            wanted.discard(name)
            if not wanted:
                break
    return found
