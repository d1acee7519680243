"""What tests share beside `k1ctl.testing`, whose names can be imported from here too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from k1ctl.testing import TEST_ID, Outcome, Project, base_environment, finish, left_behind, wait_until

__all__ = [
    "REPOSITORY",
    "TEST_ID",
    "Outcome",
    "Project",
    "base_environment",
    "finish",
    "left_behind",
    "needs",
    "processes",
    "wait_until",
]

REPOSITORY = Path(__file__).resolve().parent.parent
_DEBIAN = {
    "tsp": "task-spooler",
    "nq": "nq",
    "sem": "parallel",
    "pio": "",
    "npm": "npm",
    "node": "nodejs",
    "promtool": "prometheus",
}


def needs(*tools: str) -> pytest.MarkDecorator:
    """Mark a test that is skipped, by name, where a program is missing: ``@needs("tsp")``."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    named = ", ".join(f"{t} (Debian: {_DEBIAN.get(t) or t})" for t in missing)
    return pytest.mark.skipif(bool(missing), reason=f"needs {named}")


def processes(commands: Sequence[Sequence[str]], timeout: float = 60, **kwargs: Any) -> list[int]:
    """Start all the commands at once, wait for all, and return their exit codes."""
    started = [subprocess.Popen(list(argv), **kwargs) for argv in commands]
    return [finish(process, timeout) for process in started]
