"""The worktrees of a repository, as ``git worktree list --porcelain -z`` tells, and whether each is clean."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from k1ctl_plugins.worktree.gitcalls import call, output


class Entry(NamedTuple):
    """One worktree. ``locked`` and ``prunable`` hold git's reason ("" without one), None when it is not."""

    path: str
    head: str
    branch: str
    main: bool
    locked: str | None
    prunable: str | None


def entries(cwd: str) -> list[Entry]:
    """All worktrees of the repository around ``cwd``, the main one first. Raises GitError."""
    return parse(output(["worktree", "list", "--porcelain", "-z"], cwd))


def parse(text: str) -> list[Entry]:
    """git-worktree(1), PORCELAIN FORMAT: attributes end with NUL, a worktree with an empty attribute."""
    found: list[Entry] = []
    for block in text.split("\0\0"):
        facts = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        if "worktree" in facts:
            found.append(
                Entry(
                    facts["worktree"],
                    facts.get("HEAD", ""),
                    facts.get("branch", "").removeprefix("refs/heads/"),
                    not found,
                    facts.get("locked"),
                    facts.get("prunable"),
                )
            )
    return found


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
