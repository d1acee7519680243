"""What `k1ctl doctor` is told of the record of events: whether it is written and whole, and what it takes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_WEEK = 7 * 86400.0  # s
_LARGE = 2 << 30  # bytes that are worth a word


def _late(folder: str, compress: float) -> int:
    """How many days ended so long ago that they should have been compressed, and a week more."""
    from k1ctl.units import rfc3339

    last = rfc3339(time.time() - compress - _WEEK)[:10]
    return sum(name.endswith(".jsonl") and name[:10] < last for name in os.listdir(folder))


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Raises OSError."""
    from shlex import quote

    from k1ctl.disk import measure
    from k1ctl.tally import current
    from k1ctl.units import format_size

    folder = workspace.ops_path("events")
    if not os.path.lexists(folder):
        return [Check("events", OK, "nothing happened here yet")]
    if not os.path.isdir(folder):
        why = "what happens leaves no trace: events are lost without an error"
        return [Check("not-written", ERROR, f"{folder} is no folder", why=why, fix="move what is there aside")]
    found = []
    tally, size = current(workspace), measure(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        why = "what happens leaves no trace: events are lost without an error"
        fix = f"`ls -ld {quote(folder)}` tells whose it is"
        found.append(Check("not-written", ERROR, f"{folder} cannot be written", why=why, fix=fix))
    if tally.bad_lines:
        what = f"{tally.bad_lines} of {tally.events + tally.bad_lines} lines are no events"
        why = "a disk was full, or another program wrote there; figures lack them"
        fix = "they are passed over; `df -h` tells whether the disk is full"
        found.append(Check("bad-lines", WARNING, what, why=why, fix=fix))
    if size > _LARGE:
        what = f"events take {format_size(size)}"
        fix = "`k1ctl events compact` compresses past days, and removes those beyond [events] keep"
        found.append(Check("large", NOTE, what, fix=fix))
    late = _late(folder, float(config.get("events", "compress")))
    if late:
        what = f"{late} past day{'s are' if late > 1 else ' is'} not compressed"
        fix = "let cron call `k1ctl events compact` each day"
        found.append(Check("not-compacted", NOTE, what, why="each takes ten times the room", fix=fix))
    return found or [Check("events", OK, f"{tally.events} events, {format_size(size)}, each line whole")]
