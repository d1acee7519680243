"""Putting a device out of service, and who is concerned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl import events
from k1ctl.errors import UsageError
from k1ctl.queue import service
from k1ctl.queue.view import describe, entries

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def put_out(
    workspace: Workspace, config: Config, folder: str, name: str, reason: str, *, dry_run: bool
) -> dict[str, Any]:
    """Put the device ``name`` out of service; ``goes_on``: who has it, ``waiting``: how many wait for it and no other.

    Raises ConfigError for a device that is not configured, UsageError without a reason.
    """
    config.named("devices", name)
    reason = " ".join(reason.split())
    if not reason:
        raise UsageError("say why, in a few words", hint='--reason "the cable is out"')
    by = workspace.caller()
    known = service.out_of_service(folder)
    new = name not in known if dry_run else service.disable(folder, name, reason, by)
    if not dry_run:
        known = service.out_of_service(folder)
        if new:
            events.emit(workspace, "device.disabled", device=name, reason=reason, by=by)
    resource = f"device:{name}"
    mine = [e for e in entries(folder) if resource in e["resources"]]
    return {
        "device": name,
        "changed": new,
        "reason": reason,
        "by": by,
        "since": known.get(name, {}).get("since"),
        "goes_on": [{"ticket": e["ticket"], "what": describe(e)} for e in mine if e["state"] == "running"],
        "waiting": sum(e["state"] == "waiting" for e in mine),
        "dry_run": dry_run,
    }
