"""A rollback of a device that nobody new gets: an incident's pause gives way to it, a person's does not."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from k1ctl.errors import BusyError
from k1ctl.escalation import keeper
from k1ctl.queue import incident
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.names import PRIORITIES
from k1ctl.queue.service import out_of_service, told
from k1ctl.queue.view import entries, pauses

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

PRIORITY = next(iter(PRIORITIES))  # critical: it is the remedy for all who wait
_IN_LINE_SECONDS = 20.0  # until the upload of a rollback stands in line, on a host that is short of everything
_LOOK = 0.05


def of_incident(workspace: Workspace, config: Config, device: str) -> str:
    """Why an incident paused the device's queue; "" when none did. Raises BusyError (code device-out-of-service) where
    a person did, or put the device out of service. Who runs under a lease of the device has his turn: "".
    """
    folder, resource = queue_folder(workspace, config), f"device:{device}"
    why, out = pauses(folder).get(resource), out_of_service(folder).get(device)
    if (why is None and out is None) or _held(folder, resource):
        return ""
    if out is None and why and incident.mark_of(why):
        return why
    if out is not None:
        said, hint = f"is {told(out)}", f"k1ctl device enable {device} puts it back into service"
    else:
        said = f"was paused by a person{': ' + why if why else ''}"
        hint = f"k1ctl events list --event queue.paused tells by whom; k1ctl queue resume {resource} ends it"
    raise BusyError(
        f"not rolled back: {resource} {said}",
        hint=f"{hint}, once whoever did it agrees",
        code="device-out-of-service",
        device=device,
        **(out if out is not None else {"reason": why}),
    )


def _held(folder: str, resource: str) -> bool:
    """Whether we run under a lease of it."""
    from k1ctl.process.nested import LEASES, join

    have, descriptors = join(folder, os.environ.get(LEASES))
    for fd in descriptors:
        os.close(fd)
    return resource in have


def lift(workspace: Workspace, config: Config, device: str, artifact: str) -> bool:
    """End the incident that paused the device's queue, in the name of the rollback to ``artifact``; False when there is
    none any more. Raises K1ctlError, OSError."""
    reason = f"k1ctl device rollback of {device} to {artifact} in {workspace.name}"
    closed = keeper.close(workspace, config, device, reason)
    return keeper.tidy(workspace, config, device) or closed


def in_line(workspace: Workspace, config: Config, device: str, over: Callable[[], bool]) -> bool:
    """Wait until a rollback of the device stands in its line, or ``over()``; whether it does.

    The pause is lifted behind that: of those who wait, nobody else is let in first.
    """
    folder, resource = queue_folder(workspace, config), f"device:{device}"
    end = time.monotonic() + _IN_LINE_SECONDS
    while not over() and time.monotonic() < end:
        if any(resource in e["resources"] and e["priority"] == PRIORITY for e in entries(folder)):
            return True
        time.sleep(_LOOK)
    return not over()
