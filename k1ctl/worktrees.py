"""The worktrees of a repository as git keeps them, the lock under which they come and go, and who made each."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.files import open_locked, read_bytes, read_json, write_json
from k1ctl.git import GitError, call, output
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

SET_UP = os.path.join("k1ctl", "setup")  # in the worktree's own git folder, too: logs and digests of its set-up
LIST = ("worktree", "list", "--porcelain", "-z")
_ORIGIN = "k1ctl.json"  # in the worktree's own git folder: git leaves it alone, and takes it away with the worktree
# What git keeps of an operation that waits for its end, in the worktree's own folder (wt-status.c, wt_status_get_state)
OPERATIONS = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase or am",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
    "sequencer": "series of picks",
}


class Entry(NamedTuple):
    """One worktree. ``locked`` and ``prunable`` hold git's reason ("" without one), None when it is not; ``bare``: it
    is the repository itself, without files."""

    path: str
    head: str
    branch: str
    main: bool
    locked: str | None
    prunable: str | None
    bare: bool = False


def entries(cwd: str) -> list[Entry]:
    """All worktrees of the repository around ``cwd``, the main one first. Raises GitError."""
    try:
        told = output(LIST, cwd)
    except GitError:
        check_link(cwd)
        done = call(LIST[:-1], cwd)  # a git before 2.36 has no -z
        if done.returncode:
            raise
        told = done.stdout.replace("\n", "\0")
    return with_main(parse(told), cwd)


def check_link(path: str) -> None:
    """Raises GitError (repository-gone) when the .git file of the worktree at ``path`` leads nowhere."""
    own = own_git_dir(path)
    if own and not os.path.isdir(own):
        raise GitError(
            f"the .git file of {path} leads to {own}, which is gone",
            hint="when the repository was moved: k1ctl worktree repair --all, called in its main checkout",
            code="repository-gone",
        )


def with_main(found: list[Entry], cwd: str) -> list[Entry]:
    """The entries with the main one where its files are: of a submodule, or where the git folder is kept apart, git
    names the git folder instead. Of the latter only a call from the main checkout, ``cwd``, knows better."""
    git_dir = "" if not found or found[0].bare else found[0].path
    if not git_dir or os.path.lexists(os.path.join(git_dir, ".git")) or not _is_git_dir(git_dir):
        return found
    top = os.path.realpath(cwd)
    if os.path.realpath(own_git_dir(top) or git_dir + "/.git") != os.path.realpath(git_dir):
        top = call(["rev-parse", "--show-toplevel"], git_dir).stdout.removesuffix("\n")
    return [found[0]._replace(path=top), *found[1:]] if top else found


def _is_git_dir(path: str) -> bool:
    """gitrepository-layout(5): what every repository has."""
    return all(os.path.exists(os.path.join(path, name)) for name in ("HEAD", "objects", "refs"))


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
                    "bare" in facts,
                )
            )
    return found


def whole(workspace: Workspace) -> str:
    """The folder to call git in for what concerns the whole repository: the root, where that is a checkout; of a bare
    repository's worktrees it is only the folder around."""
    at_root = os.path.lexists(os.path.join(workspace.root, ".git"))
    return workspace.root if at_root or not workspace.git_dir else workspace.git_dir


class RepositoryLock:
    """Worktrees of a repository are added one at a time: git's own lock on its configuration makes others fail."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = os.path.join(workspace.git_dir, "k1ctl", "worktrees.lock")

    def __enter__(self) -> int:
        fd = open_locked(self.path)
        assert fd is not None
        self.fd = fd
        return fd

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # also when a hook of git left a daemon behind
        os.close(self.fd)


def own_git_dir(path: str) -> str:
    """The git folder that is a worktree's own, ``<common>/worktrees/<name>`` (gitrepository-layout(5)); "" when
    ``path`` is no linked worktree, or cannot be read."""
    link = os.path.join(path, ".git")
    try:
        text = (read_bytes(link) or b"") if os.path.isfile(link) else b""
    except OSError:
        return ""
    if not text.startswith(b"gitdir:"):
        return ""
    return os.path.normpath(os.path.join(path, os.fsdecode(text[7:].strip(b" \t\r\n"))))


def note_origin(path: str, *, creator: str, base: str, branch: str) -> None:
    """Remember who made the worktree at ``path``, on which new branch, at which commit. Raises OSError."""
    facts = {"creator": creator, "base": base, "branch": branch, "at": rfc3339()}
    write_json(os.path.join(own_git_dir(path), _ORIGIN), facts)


def origin(path: str, own: str = "") -> dict[str, Any]:
    """What `note_origin` wrote: ``creator``, ``base``, ``branch``, ``at``; {} where k1ctl did not make it.

    ``own``: the worktree's own git folder, where the caller has it.
    """
    own = own or own_git_dir(path)
    try:
        facts = read_json(os.path.join(own, _ORIGIN)) if own else None
    except OSError:
        return {}
    return facts if isinstance(facts, dict) else {}
