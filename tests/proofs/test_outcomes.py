"""What an upload says is what the device did, or `unknown`: a small storm of faults, drawn from a seed.

bench/outcomes.py does the same with 200 uploads, with faults of the REST API, and over USB.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from tests.kit import REPOSITORY, Project


def load(name: str) -> Any:
    """A program of bench/ as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "bench" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_outcome_is_a_lie(tmp_path: Path) -> None:
    """Each fault hits every fourth flash, more than one of them some uploads: none is said to be installed that is not,
    or not to be that is, and no two flashes overlap."""
    outcomes = load("outcomes")
    faults = ("drop=1", "refuse", "lost-ok", "no-install")
    desks = [outcomes.Desk("net", "ota", faults, 8)]
    project = Project(tmp_path / "repo", worktrees=[f"agent{number}" for number in range(10)])
    trees = [project.worktree(f"agent{number}") for number in range(10)]
    storm = outcomes.Storm(
        tmp_path / "devices",
        project.ops,
        trees,
        [sys.executable, "-m", "k1ctl"],
        os.environ,
        seed=3,
        share=0.25,
    )
    with contextlib.ExitStack() as stack:
        storm.start(desks, stack)
        storm.rage(desks, 16)
        rows = storm.rows()
        assert [row for row in rows if not row.right] == []
        assert {row.upload.outcome for row in rows} <= set(outcomes.CLAIMS)
        assert {row.upload.outcome for row in rows if row.upload.exit_code == 0} == {"installed"}
        assert storm.overlaps() == 0 and storm.last_images()
    seen = {flash["why"] for device in storm.devices.values() for flash in device.flashes()}
    assert seen >= {"", "lost-ok", "no-install", "refuse"}
    assert {row.upload.outcome for row in rows} >= {"installed", "refused"} and len(rows) == 16
