"""``.pio`` and ``node_modules`` must be a worktree's own: through a link, one tree builds or empties another's.

With a shared ``.pio`` one build in five ended with the other tree's firmware; ``npm ci`` empties a linked target.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from k1ctl.errors import K1ctlError
from k1ctl.setup import StepReport

NAMES = ((".pio",), (".pio", "build"), (".pio", "libdeps"), ("node_modules",))


class Link(NamedTuple):
    """A link that leaves its worktree: its path relative to the worktree, and where it leads."""

    path: str
    target: str


def leaving(worktree: str, folders: list[str]) -> list[Link]:
    """The links below ``folders`` (relative) that lead out of the worktree, dangling ones included.

    Raises K1ctlError when a project folder itself is a link out of the tree: that is not ours to take away.
    """
    top = os.path.realpath(worktree)
    found = []
    for folder in folders:
        place = os.path.join(top, folder)
        if not _inside(os.path.realpath(place), top):
            raise K1ctlError(
                f"{folder} is a link out of the worktree, to {os.path.realpath(place)}",
                hint="make it a folder of this worktree",
                code="link-leaves-worktree",
            )
        for name in NAMES:
            path = os.path.join(place, *name)
            below_a_link = len(name) > 1 and os.path.islink(os.path.join(place, name[0]))
            if os.path.islink(path) and not below_a_link and not _inside(os.path.realpath(path), top):
                found.append(Link(os.path.relpath(path, top), os.path.realpath(path)))
    return found


def _inside(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def plan(worktree: str, folders: list[str]) -> StepReport:
    """What `remove` would do."""
    found = leaving(worktree, folders)
    return StepReport(bool(found), _summary("would be unlinked", found), _details(found))


def remove(worktree: str, folders: list[str], *, unlink: bool = True) -> StepReport:
    """Take the links away, never what they lead to; with ``unlink=False`` raise K1ctlError instead."""
    found = leaving(worktree, folders)
    if found and not unlink:
        raise K1ctlError(
            _summary("leads out of the worktree", found),
            hint="k1ctl worktree setup --unlink removes the link and keeps its target",
            code="link-leaves-worktree",
            **_details(found),
        )
    for link in found:
        os.unlink(os.path.join(worktree, link.path))
    return StepReport(bool(found), _summary("unlinked", found), _details(found))


def _summary(verb: str, found: list[Link]) -> str:
    return "; ".join(f"{verb}: {link.path} (to {link.target})" for link in found) or "no link leads out of the worktree"


def _details(found: list[Link]) -> dict[str, list[dict[str, str]]]:
    return {"links": [link._asdict() for link in found]}
