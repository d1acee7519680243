"""The end of an upload, told to the ladder of the device's trouble: a failed one gets a prompt for its agent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.errors import BusyError, K1ctlError
from k1ctl.escalation import keeper
from k1ctl.escalation.ladder import UPLOAD_FAILED, UPLOAD_INSTALLED
from k1ctl.units import parse_rfc3339
from k1ctl_plugins.upload import outcome
from k1ctl_plugins.upload.verification import NOT_VERIFIED

if TYPE_CHECKING:
    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace


def raise_unless_well(workspace: Workspace, run: Run, done: dict[str, Any]) -> None:
    """As `outcome.raise_unless_well`; the error of a failed upload names the prompt (details ``prompt``)."""
    device = done.get("device")
    try:
        outcome.raise_unless_well(done)
    except K1ctlError as exc:
        if device and exc.exit_code == NOT_VERIFIED[0]:
            keeper.observe(workspace, None, device, UPLOAD_INSTALLED, run=run.id)
        elif device and exc.exit_code != BusyError.exit_code:
            facts = {key: getattr(exc, key) for key in ("code", "exit_code", "message", "hint")}
            facts |= {"run": run.id, "attempts": done["attempts"], "seconds": _tried(run)}
            prompt = keeper.observe(workspace, None, device, UPLOAD_FAILED, **facts)
            if prompt:
                exc.details["prompt"] = prompt
        raise
    if device:
        keeper.observe(workspace, None, device, UPLOAD_INSTALLED, run=run.id)


def _tried(run: Run) -> float:
    """Seconds since the upload had the device."""
    granted = run.record.get("granted_at")
    return max(0.0, time.time() - parse_rfc3339(granted)) if granted else 0.0
