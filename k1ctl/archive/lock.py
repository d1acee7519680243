"""The lock over everything that makes, finishes or takes away an archive of a repository."""

from __future__ import annotations

import os

from k1ctl.files import open_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

_held: dict[str, list[int]] = {}  # {path: [descriptor, how often it was entered]}


class ArchiveLock:
    """``with ArchiveLock(workspace):`` one call at a time saves, removes, clears up after a killed one, or sweeps.

    The same thread may enter it again. A separate file from `k1ctl.worktrees.RepositoryLock`, so that saving does not
    keep anybody from adding a worktree; who needs both takes this one first. Raises ConfigError (no flock), OSError.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.path = os.path.join(workspace.git_dir, "k1ctl", "archive.lock")

    def __enter__(self) -> int:
        held = _held.get(self.path)
        if held is None:
            fd = open_locked(self.path, mode=0o600)
            assert fd is not None
            held = _held[self.path] = [fd, 0]
        held[1] += 1
        return held[0]

    def __exit__(self, *exc: object) -> None:
        held = _held[self.path]
        held[1] -= 1
        if not held[1]:
            del _held[self.path]
            os.close(held[0])
