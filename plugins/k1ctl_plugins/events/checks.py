"""What `k1ctl doctor` is told of the record of events: whether it is written and whole, and what it takes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

_LARGE = 2 << 30  # bytes that are worth a word


def checks(workspace: Workspace) -> list[Check]:
    """Raises OSError."""
    from k1ctl.disk import measure
    from k1ctl.tally import current
    from k1ctl.units import format_size

    folder = workspace.ops_path("events")
    if not os.path.isdir(folder):
        return [Check("events", OK, "nothing happened here yet")]
    found = []
    tally, size = current(workspace), measure(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        why = "what happens leaves no trace: events are lost without an error"
        found.append(Check("not-written", ERROR, f"{folder} cannot be written", why=why, fix="check who owns it"))
    if tally.bad_lines:
        what = f"{tally.bad_lines} of {tally.events + tally.bad_lines} lines are no events"
        why = "a disk was full, or another program wrote there; figures lack them"
        fix = "they are passed over; look for a full disk (df -h)"
        found.append(Check("bad-lines", WARNING, what, why=why, fix=fix))
    if size > _LARGE:
        what = f"events take {format_size(size)}"
        found.append(Check("large", NOTE, what, fix="k1ctl events --help: old days can be compressed and removed"))
    return found or [Check("events", OK, f"{tally.events} events, {format_size(size)}, each line whole")]
