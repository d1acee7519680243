"""Links to folders of the root that nobody changes (fonts, fixtures, toolchains): ``worktree setup --cache symlink``.

Only what ``worktree.read_only`` names is linked. What a build or an install writes into never is: through a link, one
tree's ``npm ci`` empties another's packages.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from k1ctl.errors import ConfigError, UsageError
from k1ctl.git import call, names
from k1ctl.setup import SetupStep, StepReport

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

NEVER = ("node_modules", ".pio", ".git")


def declared(config: Config) -> list[str]:
    """The folders in ``worktree.read_only``, relative to the root, checked. Raises ConfigError."""
    found = []
    for given in config.get("worktree", "read_only"):
        folder = os.path.normpath(given)
        parts = folder.split(os.sep)
        why = ""
        if os.path.isabs(folder) or folder == "." or ".." in parts:
            why = "is no folder of the root"
        elif any(part in NEVER for part in parts):
            why = "is written by builds and installs: a link would let one worktree change another's"
        if why:
            raise ConfigError(
                f"worktree.read_only: {given} {why}",
                hint="name folders of the root that nothing writes into, as assets/fonts",
                code="not-read-only",
            )
        found.append(folder)
    return found


def step(workspace: Workspace, config: Config) -> SetupStep:
    """The step that links them. Raises ConfigError, and UsageError when none is declared."""
    folders = declared(config)
    if not folders:
        raise UsageError(
            "--cache symlink links to nothing: worktree.read_only names no folder",
            hint="k1ctl config set worktree.read_only '[\"assets/fonts\"]'",
        )
    run = partial(link, workspace, folders)
    return SetupStep("read-only", run, partial(run, dry_run=True))


def link(workspace: Workspace, folders: list[str], *, dry_run: bool = False) -> StepReport:
    """Link each folder to the root's, once. Left alone, and told why: what is not in the root, what git tracks, what is
    there already, and what git would not ignore as a link."""
    if os.path.realpath(workspace.path) == os.path.realpath(workspace.root):
        return StepReport(False, "this is the root: nothing to link", {"linked": [], "kept": [], "skipped": []})
    linked, kept, skipped = [], [], []
    for folder in folders:
        source, target = os.path.join(workspace.root, folder), os.path.join(workspace.path, folder)
        there = os.path.isdir(source)
        if there and os.path.islink(target) and os.path.realpath(target) == os.path.realpath(source):
            kept.append(folder)
            continue
        why = _against(workspace, folder, source, target)
        if why:
            skipped.append({"folder": folder, "reason": why})
            continue
        if not dry_run:
            os.symlink(source, target, target_is_directory=True)
        linked.append(folder)
    parts = [f"{'would be linked' if dry_run else 'linked'}: {', '.join(linked)}"] * bool(linked)
    parts += [f"linked already: {', '.join(kept)}"] * bool(kept)
    parts += [f"not linked: {s['folder']} ({s['reason']})" for s in skipped]
    facts = {"linked": linked, "kept": kept, "skipped": skipped, "strategy": "symlink", "own_bytes": 0}
    return StepReport(bool(linked), "; ".join(parts), facts)


def _against(workspace: Workspace, folder: str, source: str, target: str) -> str:
    """Why the folder is not linked; "" when nothing speaks against it."""
    parent, top = os.path.dirname(target), os.path.realpath(workspace.path)
    if not os.path.isdir(source):
        return "the root has no such folder"
    if os.path.lexists(target):
        return "something is there already"
    if not os.path.isdir(parent) or not (os.path.realpath(parent) + "/").startswith(top + "/"):
        return "its parent is not in this worktree"
    if names(["ls-files", "-z", "--", folder], workspace.root) or names(["ls-files", "-z", "--", folder], top):
        return "git tracks files in it"
    if call(["check-ignore", "-q", "--", folder], top).returncode:
        return f"git would not ignore the link: write /{folder} without a slash at its end into .gitignore"
    return ""
