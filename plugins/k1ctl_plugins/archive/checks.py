"""What `k1ctl doctor` is told of archives: steps that were broken off, what is past its time, what trash takes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from k1ctl.checks import NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.archive.folder import Archive
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_STUCK = 3600.0  # s in which a removal or a purge is over
_LARGE = 5 << 30  # bytes of trash that are worth a word


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Raises OSError."""
    from k1ctl.archive.folder import list_archives, restoring

    if not workspace.git_dir:
        return []
    archives = list_archives(workspace)
    found = [*_stuck(archives), *_past(archives, config), *_trash(archives, config), *_disk(workspace, config)]
    if restoring(workspace):
        what = "a restore is under way, or was killed"
        found.append(Check("restoring", NOTE, what, fix="`k1ctl archive restore`, called again, begins anew"))
    return found or [Check("archives", OK, f"{len(archives)} archive{'s' * (len(archives) != 1)}, none past its time")]


def _since(archive: Archive) -> float:
    from k1ctl.units import parse_rfc3339

    try:
        return time.time() - parse_rfc3339(str(archive.state.get("at") or archive.manifest.get("at")))
    except ValueError:
        return 0.0


def _stuck(archives: list[Archive]) -> Iterator[Check]:
    for archive in archives:
        state = archive.state["state"]
        if state in ("removing", "purging") and _since(archive) > _STUCK:
            what = f"{archive.id} is {state} for {_since(archive) / 3600:.0f} h: it was broken off"
            yield Check(
                "broken-off", WARNING, what, why="the worktree is half there", fix="k1ctl archive list settles it"
            )


def _past(archives: list[Archive], config: Config) -> Iterator[Check]:
    keep = float(config.get("archive", "keep"))
    past = [a for a in archives if a.state["state"] in ("archived", "restored") and _since(a) > keep]
    if past:
        what = f"{len(past)} archive{'s are' if len(past) > 1 else ' is'} past archive.keep ({keep / 86400:.0f} days)"
        fix = "`k1ctl archive purge --dry-run` shows them"
        yield Check("past-retention", NOTE, what, why="they take room", fix=fix)


def _trash(archives: list[Archive], config: Config) -> Iterator[Check]:
    from k1ctl.archive.trash import places
    from k1ctl.disk import measure
    from k1ctl.units import format_duration, format_size

    keep, total, late = float(config.get("archive", "keep_trash")), 0, 0
    for archive in archives:
        for place in places(archive, str(archive.manifest.get("path", ""))):
            if os.path.isdir(place):
                total += measure(place) if total < 10 * _LARGE else 0
                late += _since(archive) > keep + 86400.0 and not archive.state.get("hold")
    if late:
        what = f"the trash of {late} archive{'s' * (late > 1)} is past archive.keep_trash ({format_duration(keep)})"
        fix = "`k1ctl archive run --dry-run` shows what goes; `k1ctl archive schedule` has it done each week"
        yield Check("old-trash", NOTE, what, why="nobody has swept it", fix=fix)
    if total > _LARGE:
        what = f"removed worktrees take {format_size(total)}"
        yield Check(
            "trash", NOTE, what, why="", fix=f"`k1ctl archive run` sweeps what is older than {format_duration(keep)}"
        )


def _disk(workspace: Workspace, config: Config) -> Iterator[Check]:
    from k1ctl.disk import suggest

    hint = suggest(config, workspace.root)
    if hint:
        yield Check(
            "disk", WARNING, hint, why="nothing new is begun at disk.stop_percent", fix="k1ctl archive run --dry-run"
        )
