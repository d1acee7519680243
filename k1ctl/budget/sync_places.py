"""Whose a message is: the workspace in whose worktree it was used."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from k1ctl.output import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k1ctl.workspace import Workspace

ELSEWHERE = "elsewhere"  # whom a message counts for whose folder is in no worktree of this repository
_NAME = 200  # characters, as the ledger takes them


class Places:
    """Which workspace a folder belongs to: the worktree that it is in, the innermost one."""

    def __init__(self, folders: Iterable[str]) -> None:
        kept = [os.path.normpath(folder) for folder in folders]
        names = Counter(os.path.basename(path) for path in kept)
        self._found: dict[str, str] = {"": ELSEWHERE}
        self.tops: list[tuple[str, str]] = []
        for path in kept:
            name = os.path.basename(path)
            named = clean(name if names[name] == 1 else "/".join(path.rsplit("/", 2)[1:]))[:_NAME]
            self.tops += [(top, named) for top in {path, os.path.realpath(path)}]
        self.tops.sort(key=lambda pair: -len(pair[0]))

    def of(self, folder: str) -> str:
        """The workspace's name, or `ELSEWHERE`."""
        name = self._found.get(folder)
        if name is None:
            try:
                name = self._look(os.path.normpath(folder)) or self._look(os.path.realpath(folder)) or ELSEWHERE
            except ValueError:  # what no folder can be called
                name = ELSEWHERE
            self._found[folder] = name
        return name

    def _look(self, folder: str) -> str:
        return next((name for top, name in self.tops if folder == top or folder.startswith(top + "/")), "")


def worktrees_of(workspace: Workspace) -> list[str]:
    """The folders of the repository's worktrees; outside git the root alone."""
    from k1ctl import worktrees

    if not workspace.git_dir:
        return [workspace.root]
    return [entry.path for entry in worktrees.entries(worktrees.whole(workspace)) if not entry.bare]
