"""What `k1ctl doctor` is told of alerts: whether somebody looks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from k1ctl.checks import NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Nothing raised."""
    from k1ctl.alerts import FIRING, checked_at, state
    from k1ctl.units import format_duration

    at, gap = checked_at(workspace), float(config.get("alerts", "gap"))
    fix = "let cron call `k1ctl alert check --notify` every few minutes (docs/alerts.md)"
    if at is None:
        return [Check("never-checked", NOTE, "no alert was ever checked", why="nobody is told of a full disk", fix=fix)]
    age = max(0.0, time.time() - at)
    found = []
    if age > gap:
        what = f"alerts were checked {format_duration(age)} ago (alerts.gap is {format_duration(gap)})"
        found.append(Check("stale", WARNING, what, why="what began since then is not seen", fix=fix))
    for alert in state(workspace):
        if alert.state == FIRING and not alert.silenced:
            what = f"{alert.key} fires since {alert.since}: {alert.text}"
            found.append(Check("firing", WARNING, what, why="", fix="`k1ctl alert list` has all of them"))
    return found or [Check("alerts", OK, f"checked {format_duration(age)} ago, none fires")]
