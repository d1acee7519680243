"""Whose a message is: the workspace in whose worktree it was used.

A workspace is called as its folder, two folders of one name alike, or as Conductor calls it: as everywhere in k1ctl.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.output import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from k1ctl.workspace import Workspace

ELSEWHERE = "elsewhere"  # whom a message counts for whose folder is in no worktree of this repository
_NAME = 200  # characters, as the ledger takes them


class Place(NamedTuple):
    """The ``name`` of a workspace and the path of its ``worktree``, links resolved."""

    name: str
    worktree: str


_NOWHERE = Place(ELSEWHERE, "")


class Places:
    """Which workspace a folder belongs to: the worktree that it is in, the innermost one. ``names``: of workspaces that
    are not called as their folder; ``root``: the main checkout."""

    def __init__(self, folders: Iterable[str], names: Mapping[str, str] | None = None, root: str = "") -> None:
        self.root = os.path.realpath(root) if root else ""
        self._found: dict[str, Place] = {"": _NOWHERE}
        tops: dict[str, Place] = {}
        for folder in folders:
            path, real = os.path.normpath(folder), os.path.realpath(folder)
            name = (names or {}).get(real) or os.path.basename(path) or "root"
            tops[path] = tops[real] = Place(clean(name)[:_NAME], real)
        self.tops = sorted(tops.items(), key=lambda pair: -len(pair[0]))
        self.names = {ELSEWHERE, *(place.name for place in tops.values())}

    def of(self, folder: str) -> Place:
        """The workspace that a folder is in; of none its name is `ELSEWHERE`, and its worktree ""."""
        place = self._found.get(folder)
        if place is None:
            try:
                place = self._look(os.path.normpath(folder)) or self._look(os.path.realpath(folder)) or _NOWHERE
            except ValueError:  # what no folder can be called
                place = _NOWHERE
            self._found[folder] = place
        return place

    def _look(self, folder: str) -> Place | None:
        return next(
            (place for top, place in self.tops if folder == top or folder.startswith(top.rstrip("/") + "/")), None
        )

    def means(self, agent: str, worktree: str) -> str:
        """Whose messages a hold of ``agent`` that was made in ``worktree`` is for: a worktree's, by its path; where it
        was made elsewhere, and the agent is called as a workspace, that one's, by its name; "" nobody's."""
        return agent if worktree in ("", self.root) and agent in self.names else worktree


def known(db: sqlite3.Connection) -> tuple[list[str], dict[str, str]]:
    """(Worktrees that holds were made in, some of them gone by now, the names of those not called as their folder)."""
    found = db.execute("SELECT DISTINCT worktree FROM holds WHERE worktree != ''").fetchall()
    return [path for (path,) in found], dict(db.execute("SELECT * FROM usage_workspaces").fetchall())


def worktrees_of(workspace: Workspace) -> list[str]:
    """The folders of the repository's worktrees; outside git the root alone."""
    from k1ctl import worktrees

    if not workspace.git_dir:
        return [workspace.root]
    return [entry.path for entry in worktrees.entries(worktrees.whole(workspace)) if not entry.bare]
