"""The worktrees of a repository, as ``git worktree list --porcelain -z`` tells, and whether each is clean."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from k1ctl.git import call
from k1ctl.worktrees import entries


def dirty(path: str) -> bool | None:
    """Whether the worktree has changes or untracked files, whatever git is set to display; None when unknown."""
    if not os.path.isdir(path):
        return None
    args = ["-c", "core.fsmonitor=false", "status", "--porcelain", "-z", "--untracked-files=normal", "--no-renames"]
    done = call(args, path)
    return None if done.returncode else bool(done.stdout)


def documents(cwd: str, current: str) -> list[dict[str, Any]]:
    """The worktrees as JSON; ``current`` is the path of the one we are in. The looks for changes run side by side."""
    found = entries(cwd)
    with ThreadPoolExecutor(max_workers=min(8, max(1, len(found)))) as pool:
        states = list(pool.map(dirty, (entry.path for entry in found)))
    here = os.path.realpath(current)
    return [
        {
            "name": os.path.basename(entry.path),
            "path": entry.path,
            "branch": entry.branch or None,
            "head": entry.head,
            "main": entry.main,
            "current": os.path.realpath(entry.path) == here,
            "dirty": state,
            "locked": entry.locked,
            "prunable": entry.prunable,
        }
        for entry, state in zip(found, states, strict=True)
    ]
