"""The tools a workspace needs, by absolute path: Conductor, cron and launchd hand over a poor PATH."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.programs import find_tool as find
from k1ctl.programs import path_for
from k1ctl.setup import StepReport

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find", "look", "path_for"]


def look(names: Iterable[str]) -> StepReport:
    """Report which tools are there. A missing one is no failure here: the step that needs it says so.

    pio is the PlatformIO step's, which also knows the one that k1ctl brings.
    """
    found = {name: find(name) for name in dict.fromkeys(names)}
    missing = [name for name, path in found.items() if not path]
    there = ", ".join(name for name, path in found.items() if path)
    parts = [f"found {there}"] * bool(there) + [f"not found: {', '.join(missing)}"] * bool(missing)
    summary = "; ".join(parts) or "none is configured (worktree.tools)"
    return StepReport(False, summary, {"tools": {name: path or None for name, path in found.items()}})
