"""The lock over everything that makes, finishes or takes away an archive of a repository."""

from __future__ import annotations

import os
import sys
import time

from k1ctl.files import open_locked, read_bytes
from k1ctl.output import clean, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

_PATIENCE = 1.0  # s until a wait is told
_held: dict[str, list[int]] = {}  # {path: [descriptor, how often it was entered]}


class ArchiveLock:
    """``with ArchiveLock(workspace):`` one call at a time saves, removes, clears up after a killed one, or sweeps.

    The same thread may enter it again. A separate file from `k1ctl.worktrees.RepositoryLock`, so that saving does not
    keep anybody from adding a worktree; who needs both takes this one first. Who waits for long is told for whom: the
    holder's process and command stand in the file. Raises ConfigError (no flock), OSError.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.path = os.path.join(workspace.git_dir, "k1ctl", "archive.lock")

    def __enter__(self) -> int:
        held = _held.get(self.path)
        if held is None:
            held = _held[self.path] = [self._take(), 0]
        held[1] += 1
        return held[0]

    def _take(self) -> int:
        until = time.monotonic() + _PATIENCE
        while (fd := open_locked(self.path, blocking=False, mode=0o600)) is None and time.monotonic() < until:
            time.sleep(0.02)
        if fd is None:
            who = os.fsdecode(read_bytes(self.path) or b"").strip()
            say(f"the archives of this repository are in use{f' by {clean(who)}' if who else ''}; waiting")
            fd = open_locked(self.path, mode=0o600)
            assert fd is not None
        words = " ".join(["k1ctl", *sys.argv[1:3]])
        os.ftruncate(fd, 0)
        os.pwrite(fd, os.fsencode(f"process {os.getpid()}: {words}\n"), 0)
        return fd

    def __exit__(self, *exc: object) -> None:
        held = _held[self.path]
        held[1] -= 1
        if not held[1]:
            del _held[self.path]
            os.close(held[0])
