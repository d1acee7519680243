"""Copy what git ignores and a workspace needs (``.env``) from the root: 0600, never printed, never overwritten."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from k1ctl.files import read_bytes
from k1ctl.git import call, names
from k1ctl.setup import StepReport
from k1ctl_plugins.worktree import place

if TYPE_CHECKING:
    from collections.abc import Collection

    from k1ctl.workspace import Workspace


def wanted(root: str, globs: list[str]) -> list[str]:
    """The git-ignored files of the root that a glob names, relative; wholly ignored folders are not entered.

    A glob without a slash is compared with the file's name, one with a slash with its path.
    """
    ignored = names(["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"], root)
    files = [f for f in ignored if not f.endswith("/") and os.path.isfile(os.path.join(root, f))]
    return [f for f in files if any(fnmatchcase(f if "/" in g else os.path.basename(f), g) for g in globs)]


def copy(workspace: Workspace, globs: list[str], *, without: Collection[str] = (), dry_run: bool = False) -> StepReport:
    """Copy the wanted files to the same place in the worktree, but for those in ``without``.

    Left alone: what is there already, what git would not ignore in the worktree (it would be committed), and what
    would land in a folder that this worktree does not have or that leads out of it.
    """
    if os.path.realpath(workspace.path) == os.path.realpath(workspace.root):
        return StepReport(False, "this is the root: nothing to copy", {"copied": [], "kept": [], "skipped": []})
    files = [file for file in wanted(workspace.root, globs) if file not in without]
    ignored = set(_ignored(workspace.path, files))
    copied, kept, skipped = [], [], []
    top = os.path.realpath(workspace.path) + "/"
    for file in files:
        target = os.path.join(workspace.path, file)
        folder = os.path.dirname(target)
        if os.path.lexists(target):
            kept.append(file)
        elif file not in ignored:
            skipped.append({"file": file, "reason": "git does not ignore it here"})
        elif not os.path.isdir(folder) or not (os.path.realpath(folder) + "/").startswith(top):
            skipped.append({"file": file, "reason": "its folder is not in this worktree"})
        else:
            if not dry_run:
                data = read_bytes(os.path.join(workspace.root, file)) or b""
                place.write_secret(workspace, target, data)
            copied.append(file)
    verb = "would be copied" if dry_run else "copied"
    parts = [f"{verb}: {', '.join(copied)}" if copied else "", f"there already: {', '.join(kept)}" if kept else ""]
    parts += [f"not copied: {s['file']} ({s['reason']})" for s in skipped]
    summary = "; ".join(part for part in parts if part) or "no git-ignored file to copy"
    return StepReport(bool(copied), summary, {"copied": copied, "kept": kept, "skipped": skipped})


def _ignored(worktree: str, files: list[str]) -> list[str]:
    if not files:
        return []
    done = call(["check-ignore", "-z", "--stdin"], worktree, stdin="\0".join(files) + "\0")
    return done.stdout.split("\0")  # exit 1 only says that none is ignored
