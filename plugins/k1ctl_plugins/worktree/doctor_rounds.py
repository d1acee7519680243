"""All examinations of ``k1ctl worktree doctor``, in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.errors import K1ctlError
from k1ctl_plugins.worktree import doctor_locks, doctor_places, doctor_tree
from k1ctl_plugins.worktree.doctor_finding import LEVELS, Finding

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry


def examine(workspace: Workspace, config: Config, found: list[Entry], chosen: list[Entry]) -> list[Finding]:
    """Every finding of the repository and the chosen worktrees, errors first. A worktree that git cannot work in is a
    finding, too."""
    findings = [*doctor_places.find(workspace, found, chosen), *doctor_locks.find(workspace, chosen)]
    broken = {f.worktree for f in findings if f.code in ("broken-gitdir", "another-repository", "worktree-gone")}
    for entry in chosen:
        if entry.bare or entry.path in broken or not os.path.isdir(entry.path):
            continue
        try:
            findings += doctor_tree.find(workspace, config, entry, found)
        except (K1ctlError, OSError) as exc:
            if not os.path.isdir(entry.path):  # removed meanwhile
                continue
            findings.append(
                Finding(
                    "unreadable",
                    "error",
                    entry.path,
                    f"it could not be examined: {exc}",
                    "what git cannot read it cannot keep",
                    "`git status`, called in it, says more",
                )
            )
    return sorted(findings, key=lambda f: (LEVELS.index(f.level), f.worktree))
