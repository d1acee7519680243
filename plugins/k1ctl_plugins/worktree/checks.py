"""What `k1ctl doctor` is told of worktrees: the findings of `k1ctl worktree doctor`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.checks import NOTE, OK, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

MOST = 20  # worktrees that are examined; each costs some calls of git


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Each finding once, with the worktrees that have it. Of very many worktrees the current one and those that were
    worked in last are examined, and it says so. Raises GitError."""
    from k1ctl.worktrees import entries
    from k1ctl_plugins.worktree.doctor_finding import listed
    from k1ctl_plugins.worktree.doctor_rounds import examine

    if not workspace.git_dir:
        return []
    found = entries(workspace.path)
    chosen = sorted(found, key=lambda entry: (entry.path != workspace.path, -_used(entry)))[:MOST]
    alike: dict[tuple[str, str, str, str, str], list[str]] = {}
    for code, level, worktree, what, why, fix, _ in examine(workspace, config, found, chosen):
        alike.setdefault((code, level, what, why, fix), []).append(os.path.basename(worktree) or "repository")
    told = [
        Check(code, level, f"{listed(names)}: {what}", why=why, fix=fix)
        for (code, level, what, why, fix), names in alike.items()
    ]
    if len(chosen) < len(found):
        what = f"{len(chosen)} of {len(found)} worktrees were examined, those that were used last"
        told.append(Check("worktrees-left-out", NOTE, what, why="", fix="k1ctl worktree doctor --all examines each"))
    if not told:
        told.append(Check("worktrees", OK, f"{len(found)} worktree{'s are' if len(found) != 1 else ' is'} in order"))
    return told


def _used(entry: Entry) -> float:
    from k1ctl.worktrees import own_git_dir

    try:
        return os.stat(os.path.join(own_git_dir(entry.path) or os.path.join(entry.path, ".git"), "index")).st_mtime
    except OSError:
        return 0.0
