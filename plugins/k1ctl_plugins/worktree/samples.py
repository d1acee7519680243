"""Workspaces for a monitoring stack: what they do, by the queue and by their last event."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.metrics import shared
from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

STATUSES = ("running", "waiting", "active", "idle", "gone")


def samples(workspace: Workspace, config: Config) -> list[Family]:
    """How many of the repository's linked worktrees there are of each status, and when each did something last.

    ``running``: it holds a place in the queue; ``waiting``: it stands in line; ``active``: neither, but its last event
    is younger than ``[metrics] active``; ``idle``: none of these; ``gone``: git knows it, its folder is not there.
    """
    import time

    from k1ctl.units import parse_rfc3339

    now, recent = time.time(), float(config.get("metrics", "active"))
    busy: dict[str, str] = {}
    for row in shared.tickets(workspace, config):
        state, name = row["state"], str(row.get("workspace") or "")
        if state in ("running", "waiting") and busy.get(name) != "running":
            busy[name] = state
    known = shared.tally(workspace).workspaces
    counts = dict.fromkeys(STATUSES, 0)
    last = Family("k1_workspace_last_event_at_seconds", GAUGE, "When a workspace did something last.")
    for name, there in _worktrees(workspace).items():
        activity = known.get(name)
        at = 0.0
        if activity is not None and activity.at:
            try:
                at = parse_rfc3339(activity.at)
                last.add(at, workspace=name)
            except ValueError:
                pass
        idle = "active" if now - at < recent else "idle"
        counts[busy.get(name, idle) if there else "gone"] += 1
    found = Family("k1_workspaces", GAUGE, "Worktrees of the repository by what they do.")
    for status, count in counts.items():
        found.add(count, status=status)
    return [found, last]


def _worktrees(workspace: Workspace) -> dict[str, bool]:
    """{folder name: whether it is there} of the linked worktrees, without asking git."""
    from k1ctl.overview.workspaces import worktrees

    found: dict[str, bool] = {}
    for path, _, main in worktrees(workspace.root, workspace.git_dir):
        name = os.path.basename(path)
        if not main:
            found[name] = os.path.isfile(os.path.join(path, ".git")) or found.get(name, False)
    return found
