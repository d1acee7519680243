"""The tools a workspace needs, by absolute path: Conductor, cron and launchd hand over a poor PATH."""

from __future__ import annotations

from k1ctl.programs import find_tool as find
from k1ctl.programs import path_for
from k1ctl.setup import StepReport

__all__ = ["find", "look", "path_for"]
NAMES = ("git", "gcc", "node", "npm")  # pio is the PlatformIO step's, which also knows the one k1ctl brings


def look() -> StepReport:
    """Report which tools are there. A missing one is no failure here: the step that needs it says so."""
    found = {name: find(name) for name in NAMES}
    missing = [name for name, path in found.items() if not path]
    there = ", ".join(name for name, path in found.items() if path)
    summary = f"found {there}" + (f"; not found: {', '.join(missing)}" if missing else "")
    return StepReport(False, summary, {"tools": {name: path or None for name, path in found.items()}})
