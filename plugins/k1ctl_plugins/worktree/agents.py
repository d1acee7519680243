"""Room on the host for one more agent: asked for before its worktree is set up, kept while the worktree is there."""

from __future__ import annotations

import os

from k1ctl.capacity import gate
from k1ctl.capacity.need import Need
from k1ctl.errors import BusyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

KIND = "worktree"
_HINT = "`k1ctl worktree setup --wait D` waits; an archived worktree makes room; k1ctl capacity show tells the limit"


def admit(
    workspace: Workspace, config: Config, *, wait: float = 0.0, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Have room for the agent of this worktree, waiting ``wait`` seconds at most; what was reserved, {} for nothing.

    Where capacity.agents or capacity.per_agent say how many there may be, it is a reservation that ends with the
    worktree. The root's own tree, and a worktree that was admitted or, uncounted, set up before, go through. Raises
    BusyError (no-capacity), OSError.
    """
    from k1ctl.capacity import reservations

    need = _need(config)
    if not _asks(workspace, need):
        return {}
    what = f"the workspace {workspace.name}"
    try:
        held = gate.promise(
            workspace, config, need, what=what, kind=KIND, wait=wait, key=_key(workspace.path), tell=tell, around=False
        )
    except BusyError as exc:
        exc.hint = _HINT
        raise
    try:
        if not need:
            return {}
        kept = reservations.add(
            held.place,
            need,
            units=held.promise.units,
            until=None,
            worktree=os.path.realpath(workspace.path),
            id=_key(workspace.path),
            what=what,
            kind="reservation",
            of=held.promise.run,
            workspace=workspace.name,
            root=workspace.root,
        )
        return kept.document()
    finally:
        held.release()


def look(workspace: Workspace, config: Config, path: str) -> None:
    """Whether there would be room for a worktree at ``path``, which is yet to be made. Raises as `admit`."""
    decision = gate.look(config, _need(config), kind=KIND, path=workspace.path, around=False)
    if not decision.go:
        refused = gate.no_capacity(f"the workspace {os.path.basename(path)}", decision)
        refused.hint = _HINT
        raise refused


def planned(workspace: Workspace, config: Config) -> dict[str, Any]:
    """What `admit` would ask for, and whether it would get it, for ``--dry-run``."""
    need = _need(config)
    if not _asks(workspace, need):
        return {"need": {}, "go": True, "reasons": []}
    decision = gate.look(config, need, kind=KIND, path=workspace.path, around=False)
    return {"need": need.document(), "go": decision.go, "reasons": [r.document() for r in decision.reasons]}


def _need(config: Config) -> Need:
    from k1ctl.capacity.formula import are_counted

    return Need(agents=1 if are_counted(config) else 0)


def _asks(workspace: Workspace, need: Need) -> bool:
    from k1ctl.capacity import promises, reservations
    from k1ctl.worktrees import SET_UP, own_git_dir

    if os.path.realpath(workspace.path) == os.path.realpath(workspace.root):
        return False
    if need:
        return all(p.id != _key(workspace.path) for p in reservations.held(promises.folder()))
    own = own_git_dir(workspace.path)
    return not (own and os.path.isdir(os.path.join(own, SET_UP)))


def _key(path: str) -> str:
    from k1ctl.capacity.reservations import for_worktree

    return for_worktree(path)
