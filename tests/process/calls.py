"""What the tests of `queue run` call, and what they read of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kit import Project

GRACE = {"K1CTL_PROCESS_GRACE": "300ms"}
SH = ["--", "sh", "-c"]


def record(workspace: Project) -> dict[str, object]:
    """The record of the only run."""
    [path] = (workspace.ops / "runs").iterdir()
    found: dict[str, object] = json.loads((path / "run.json").read_text())
    return found


def lines(path: Path) -> list[str]:
    """The whole lines of a file that may not be there yet."""
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
