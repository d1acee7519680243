"""What `k1ctl doctor` is told of worktrees: the findings of `k1ctl worktree doctor`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.checks import NOTE, OK, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

_REPAIR = "k1ctl worktree repair"
MOST = 100  # worktrees that are examined; each costs some calls of git, 10 to 20 ms


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Each finding once, with the worktrees that have it. Of very many worktrees the current one, those that git cannot
    work in and those that were worked in last are examined, and it says so. Raises GitError."""
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
        Check(code, level, f"{listed(names)}: {what}", why=why, fix=_typed(fix, names))
        for (code, level, what, why, fix), names in alike.items()
    ]
    if len(chosen) < len(found):
        what = f"{len(chosen)} of {len(found)} worktrees were examined, those that were used last"
        told.append(Check("worktrees-left-out", NOTE, what, why="", fix="`k1ctl worktree doctor --all` examines each"))
    if not told:
        told.append(Check("worktrees", OK, f"{len(found)} worktree{'s are' if len(found) != 1 else ' is'} in order"))
    return told


def _typed(fix: str, names: list[str]) -> str:
    """The fix as it works from wherever the doctor was called: a repair with the names of its worktrees."""
    from shlex import quote

    if "repository" in names or f"{_REPAIR} --all" in fix:
        return fix
    who = " ".join(map(quote, names)) if len(names) <= 3 else "--all"
    return fix.replace(_REPAIR, f"{_REPAIR} {who}")


def _used(entry: Entry) -> float:
    """When git last wrote its index; what has none comes first: something is wrong there."""
    from k1ctl.worktrees import own_git_dir

    try:
        return os.stat(os.path.join(own_git_dir(entry.path) or os.path.join(entry.path, ".git"), "index")).st_mtime
    except OSError:
        return float("inf")
