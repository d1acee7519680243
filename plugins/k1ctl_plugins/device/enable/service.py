"""Putting a device into service again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl import events
from k1ctl.queue import service
from k1ctl.queue.view import pauses

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def put_in(workspace: Workspace, config: Config, folder: str, name: str, *, dry_run: bool) -> dict[str, Any]:
    """Put the device ``name`` into service; ``was``: why it was out, ``paused``: the reason of a pause that stays.

    Raises ConfigError for a device that neither is configured nor was out of service.
    """
    was = service.out_of_service(folder).get(name)
    if was is None:
        config.named("devices", name)
    changed = was is not None if dry_run else service.enable(folder, name)
    if changed and not dry_run:
        events.emit(workspace, "device.enabled", device=name, by=workspace.caller(), was=was)
    paused = pauses(folder).get(f"device:{name}")
    return {"device": name, "changed": changed, "was": was, "paused": paused, "dry_run": dry_run}
