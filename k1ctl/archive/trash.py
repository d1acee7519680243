"""Where a removed worktree lies until its time is over: renamed, on the filesystem it was on.

The trash of an archive is ``<archive>/trash``, or ``.k1ctl-trash/<id>`` beside the worktree where that lies on another
filesystem. In it are ``tree``, the worktree, and ``git``, git's entry of it (always in the archive's own folder).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.archive.deletion import delete_folder
from k1ctl.archive.folder import list_archives
from k1ctl.archive.lock import ArchiveLock
from k1ctl.units import parse_rfc3339

if TYPE_CHECKING:
    from k1ctl.archive.folder import Archive
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

BESIDE = ".k1ctl-trash"


class Swept(NamedTuple):
    """What became of an archive's trash: ``freed_bytes`` of it, or ``problems`` for which it (or a part) stays."""

    archive: str
    freed_bytes: int
    problems: list[str]

    def document(self) -> dict[str, object]:
        return self._asdict()


def places(archive: Archive, path: str) -> list[str]:
    """Where the trash of the worktree at ``path`` may lie, the first choice first."""
    return [os.path.join(archive.folder, "trash"), os.path.join(os.path.dirname(path), BESIDE, archive.id)]


def sweep(workspace: Workspace, config: Config, *, now: float | None = None, dry_run: bool = False) -> list[Swept]:
    """Delete the trash that is older than ``archive.keep_trash`` (s), of archives that are whole.

    Of those that are not, the problems are told and the trash stays: it may be all that is left. So does trash that was
    written to when it was taken (``hold``). ``dry_run`` tells whose would go, and verifies nothing. Raises OSError.
    """
    now = time.time() if now is None else now
    swept = []
    with ArchiveLock(workspace):
        for archive in list_archives(workspace):
            state = archive.state
            there = [p for p in places(archive, str(archive.manifest.get("path", ""))) if os.path.isdir(p)]
            if state["state"] not in ("archived", "restored") or not there or state.get("hold"):
                continue
            if now - _since(state.get("at")) < float(config.get("archive", "keep_trash")):
                continue
            swept.append(Swept(archive.id, 0, []) if dry_run else _sweep(workspace, archive, there))
    return swept


def _sweep(workspace: Workspace, archive: Archive, there: list[str]) -> Swept:
    from k1ctl.archive.verify import verify

    problems = verify(workspace, archive)
    if problems:
        return Swept(archive.id, 0, [f"its trash stays, for it is not whole: {problem}" for problem in problems])
    state = archive.state
    archive.set_state(**{**state, "trash": "", "tree": "", "git": ""})  # from here on the archive stands without it
    freed = 0
    for folder in there:
        done = delete_folder(folder)
        freed += done.freed_bytes
        problems += done.problems
        if os.path.basename(os.path.dirname(folder)) == BESIDE:
            drop_if_empty(os.path.dirname(folder))
    return Swept(archive.id, freed, problems)


def drop_if_empty(folder: str) -> None:
    """Remove a folder that has nothing in it."""
    try:
        os.rmdir(folder)
    except OSError:
        pass


def _since(at: object) -> float:
    """When the state was reached; what cannot be read counts as just now."""
    try:
        return parse_rfc3339(str(at))
    except ValueError:
        return time.time()
