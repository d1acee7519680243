"""What `k1ctl doctor` is told of metrics: a file that is written, and not any more."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from k1ctl.checks import OK, WARNING, Check

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

_STALE = 600.0  # s; who writes it does so each minute or so


def checks(workspace: Workspace) -> list[Check]:
    """Nothing raised."""
    from k1ctl.units import format_duration

    path = workspace.ops_path("metrics", "k1ctl.prom")
    try:
        age = time.time() - os.stat(path).st_mtime
    except OSError:
        return [Check("metrics", OK, f"nobody writes {path}; `k1ctl metrics serve` needs no file")]
    if age > _STALE:
        what = f"{path} was written {format_duration(age)} ago"
        why = "a textfile collector shows figures of then as those of now"
        return [Check("stale", WARNING, what, why=why, fix="let cron call `k1ctl metrics write`, or remove the file")]
    return [Check("metrics", OK, f"{path} is {format_duration(max(0.0, age))} old")]
