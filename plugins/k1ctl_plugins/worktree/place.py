"""Where set-up keeps what it remembers of one worktree: in the worktree's own git folder, which goes with it."""

from __future__ import annotations

import errno
import os
import zlib
from typing import TYPE_CHECKING

from k1ctl.files import write_atomic
from k1ctl.worktrees import SET_UP, own_git_dir

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace


def git_folder(workspace: Workspace) -> str:
    """The git folder that is the worktree's own, the repository's for the main checkout; "" outside git."""
    return own_git_dir(workspace.path) or workspace.git_dir


def memory(workspace: Workspace, *parts: str) -> str:
    """A path in the folder for what set-up remembers of this worktree; an archive keeps it with the secrets."""
    own = git_folder(workspace)
    return os.path.join(own, SET_UP, *parts) if own else workspace.ops_path("setup", *parts)


def write_secret(workspace: Workspace, path: str, data: bytes) -> None:
    """Replace a file of the worktree, 0600, from a folder in which what a crash left half-way is never committed;
    from beside it where that is on another filesystem or mounted apart, as in a container. Raises OSError."""
    try:
        write_atomic(path, data, mode=0o600, scratch=memory(workspace) if git_folder(workspace) else "")
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        write_atomic(path, data, mode=0o600)


def sweep(workspace: Workspace) -> None:
    """Remove what a set-up that was killed left half written; for who holds the set-up's lock."""
    folder = memory(workspace)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.startswith(".") and name.endswith(".tmp"):
            os.unlink(os.path.join(folder, name))


def within(path: str, top: str) -> bool:
    """Whether ``path``, links followed as far as it exists, is below the folder ``top``."""
    return os.path.realpath(path).startswith(os.path.realpath(top).rstrip("/") + "/")


def log_file(workspace: Workspace, step: str) -> str:
    """Where the output of a step's last run is kept; names that differ have files that differ."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in step)[:60]
    if safe != step:
        safe += f"-{zlib.crc32(step.encode(errors='surrogateescape')):08x}"
    return memory(workspace, f"{safe}.log")
