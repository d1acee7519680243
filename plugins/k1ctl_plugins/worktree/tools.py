"""The tools a workspace needs, by absolute path: Conductor, cron and launchd hand over a poor PATH."""

from __future__ import annotations

import os
from glob import glob

from k1ctl.programs import first_runnable, search_path, which
from k1ctl.setup import StepReport

NAMES = ("git", "gcc", "node", "npm")  # pio is the PlatformIO step's, which also knows the one k1ctl brings
_PLACES = (
    "~/.local/bin",
    "~/.volta/bin",
    "~/.asdf/shims",
    "~/.local/share/mise/shims",
    "~/.platformio/penv/bin",
    "/opt/local/bin",
)


def find(name: str) -> str:
    """The absolute path of a tool in PATH, the standard folders or where its installer puts it; "" when missing."""
    return which(name) or first_runnable(os.path.join(folder, name) for folder in (*_PLACES, *_node_versions()))


def _node_versions() -> list[str]:
    """nvm's versions of node, newest first."""

    def version(folder: str) -> list[int]:
        words = os.path.basename(os.path.dirname(folder)).lstrip("v").split(".")
        return [int(word) if word.isdigit() else 0 for word in words]

    return sorted(glob(os.path.expanduser("~/.nvm/versions/node/v*/bin")), key=version, reverse=True)


def path_for(tool: str) -> str:
    """A PATH for a tool: its own folder first, since npm is a script that looks for node."""
    return os.pathsep.join([os.path.dirname(tool), search_path(os.environ)])


def look() -> StepReport:
    """Report which tools are there. A missing one is no failure here: the step that needs it says so."""
    found = {name: find(name) for name in NAMES}
    missing = [name for name, path in found.items() if not path]
    there = ", ".join(name for name, path in found.items() if path)
    summary = f"found {there}" + (f"; not found: {', '.join(missing)}" if missing else "")
    return StepReport(False, summary, {"tools": {name: path or None for name, path in found.items()}})
