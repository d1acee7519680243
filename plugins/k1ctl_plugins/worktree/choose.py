"""Which worktrees a command means by the names it was given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.errors import K1ctlError
from k1ctl.worktrees import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k1ctl.workspace import Workspace


class NoWorktreeError(K1ctlError):
    """No worktree of the repository has this name."""

    code = "no-such-worktree"


def choose(found: list[Entry], names: Iterable[str]) -> list[Entry]:
    """The entries that ``names`` mean: a folder's name, a branch, or a path; each once. Raises NoWorktreeError."""
    return list(dict.fromkeys(_one(found, name) for name in names))


def here(found: list[Entry], workspace: Workspace) -> list[Entry]:
    """The entry that the call came from; [] in a folder that git does not know (moved, copied)."""
    real = os.path.realpath(workspace.path)
    return [entry for entry in found if os.path.realpath(entry.path) == real]


def _one(found: list[Entry], name: str) -> Entry:
    by_name = [entry for entry in found if os.path.basename(entry.path) == name]
    by_branch = [entry for entry in found if entry.branch == name]
    real = os.path.realpath(os.path.expanduser(name))
    by_path = [entry for entry in found if entry.path == name or os.path.realpath(entry.path) == real]
    matched = by_name or by_branch or by_path
    if len(matched) == 1:
        return matched[0]
    if matched:
        raise NoWorktreeError(
            f"{name} may be {' or '.join(entry.path for entry in matched)}", hint="give the path", code="ambiguous"
        )
    from difflib import get_close_matches

    near = get_close_matches(name, [os.path.basename(entry.path) for entry in found], 1)
    raise NoWorktreeError(
        f"there is no worktree {name}",
        hint=f"did you mean {near[0]}?" if near else "k1ctl worktree list shows them",
    )
