"""Repositories inside a worktree: embedded ones, submodules, and what other worktrees were put below it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.archive.gitstate import holds_credentials
from k1ctl.errors import K1ctlError
from k1ctl.files import read_bytes
from k1ctl.git import call

if TYPE_CHECKING:
    from k1ctl.archive.files import Files, Look


class NestedWorktreeError(K1ctlError):
    """Another worktree of the repository lies inside this one."""

    code = "nested-worktree"


def check_no_worktree_below(top: str, common: str) -> None:
    """Raises NestedWorktreeError when a registered worktree of this repository lies below ``top`` and is there."""
    base = os.path.join(common, "worktrees")
    real = os.path.realpath(top) + os.sep
    below = []
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        link = (read_bytes(os.path.join(base, name, "gitdir")) or b"").rstrip(b"\r\n")
        path = os.path.dirname(os.path.join(base, name, os.fsdecode(link)))
        if link and os.path.realpath(path).startswith(real) and os.path.lexists(os.path.join(path, ".git")):
            below.append(path)
    if below:
        raise NestedWorktreeError(
            f"{', '.join(below)} is a worktree of this repository inside {top}",
            hint="archive it first, or move it: git worktree move",
            worktrees=below,
        )


def to_keep(found: Look) -> dict[str, Files]:
    """The repositories of a look that are kept: all but those in a regenerable folder that a remote holds whole."""
    folders = tuple(folder + "/" for folder in found.regenerable)
    maybe = [name for name in found.nested if folders and (name + "/").startswith(folders)]
    gone = set(_replaceable(found.top, maybe)) if maybe else set()
    return {name: files for name, files in found.nested.items() if name not in gone}


def _replaceable(top: str, names: list[str]) -> list[str]:
    """Those that can be cloned again and would be the same: clean, and every commit on a remote."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=min(4, len(names))) as pool:
        answers = pool.map(lambda name: _on_a_remote(os.path.join(top, name)), names)
        return [name for name, answer in zip(names, answers, strict=True) if answer]


def _on_a_remote(path: str) -> bool:
    git = os.path.join(path, ".git")
    linked = os.path.join(git, "worktrees")
    if not os.path.isdir(git) or (os.path.isdir(linked) and os.listdir(linked)):
        return False  # others need it where it is, or it is another repository's: `k1ctl.archive.checks.ties`
    own = ("-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false")
    status = call([*own, "status", "--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=none"], path)
    if status.returncode or status.stdout:
        return False
    hidden = call(["ls-files", "-z", "-v"], path)
    if hidden.returncode or any(line[0] not in "H" for line in hidden.stdout.split("\0") if line):
        return False
    only_here = call(["rev-list", "--max-count=1", "HEAD", "--all", "--reflog", "--not", "--remotes"], path)
    return only_here.returncode == 0 and not only_here.stdout


def spilled(found: Look, kept: dict[str, Files]) -> set[str]:
    """The configuration files of repositories, with a worktree or without, that hold credentials and that git does
    not track."""
    paths = [path for path in found.files if path not in found.tracked and _configures(path)]
    paths += [path for files in kept.values() for path in files if _configures(path)]
    return {path for path in paths if holds_credentials(os.path.join(found.top, path))}


def _configures(path: str) -> bool:
    return path.endswith(("/config", "/config.worktree"))
