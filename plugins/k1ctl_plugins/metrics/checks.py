"""What `k1ctl doctor` is told of metrics: a file that is written, and not any more."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from k1ctl.checks import OK, WARNING, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Nothing raised."""
    from k1ctl.units import format_duration

    path = workspace.ops_path("metrics", "k1ctl.prom")
    try:
        age = time.time() - os.stat(path).st_mtime
    except OSError:
        return [Check("metrics", OK, f"nobody writes {path}; `k1ctl metrics serve` needs no file")]
    period = float(config.get("metrics", "period"))
    if age > 2 * period:  # as the alert has it
        what = f"{path} was written {format_duration(age)} ago (metrics.period is {format_duration(period)})"
        why = "a textfile collector shows figures of then as those of now"
        return [Check("stale", WARNING, what, why=why, fix="let cron call `k1ctl metrics write`, or remove the file")]
    return [Check("metrics", OK, f"{path} is {format_duration(max(0.0, age))} old")]
