"""The worktrees of a repository as git keeps them, the lock under which they come and go, and who made each."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.files import open_locked, read_bytes, read_json, write_json
from k1ctl.git import output
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

SET_UP = os.path.join("k1ctl", "setup")  # in the worktree's own git folder, too: logs and digests of its set-up
_ORIGIN = "k1ctl.json"  # in the worktree's own git folder: git leaves it alone, and takes it away with the worktree


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
    ``path`` is no linked worktree."""
    text = (read_bytes(os.path.join(path, ".git")) or b"") if os.path.isfile(os.path.join(path, ".git")) else b""
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
    facts = read_json(os.path.join(own, _ORIGIN)) if own else None
    return facts if isinstance(facts, dict) else {}
