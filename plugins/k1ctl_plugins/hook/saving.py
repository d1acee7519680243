"""Save a workspace before Conductor removes it, when there is anything in it that nobody else has."""

from __future__ import annotations

import filecmp
import os
from typing import TYPE_CHECKING, Any

from k1ctl.errors import ConfigError
from k1ctl.files import read_bytes
from k1ctl.setup import from_templates

if TYPE_CHECKING:
    from k1ctl.archive.planning import Plan
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry
    from k1ctl_plugins.hook.gitwork import GitWork

REASON = "hook archive"
_COMPARED = 50  # files that git ignores, at most, that are compared with the root's; with more it is saved


def save(workspace: Workspace, config: Config, work: GitWork, *, dry_run: bool) -> dict[str, Any] | None:
    """Save the workspace; what became of it as JSON, None when it holds nothing that would be lost.

    Raises K1ctlError when it cannot be saved whole.
    """
    from k1ctl.archive import nested, planning
    from k1ctl.archive.calls import Calls
    from k1ctl.archive.save import save as save_worktree

    entry = _entry(workspace)
    own = planning.check(workspace, entry)
    nested.check_no_worktree_below(entry.path, workspace.git_dir)
    with planning.ScratchFolder(workspace) as folder, Calls(entry.path, folder) as calls:
        found = planning.make_plan(calls, config, workspace, entry, own)
        why = reasons(workspace, found, work)
        if not why:  # whatever it takes, and however full the disk is
            return None
        if dry_run:
            planning.check_room(config, folder, found)
            return {"archive": None, "why": why}
    saved = save_worktree(workspace, config, entry, reason=REASON)
    manifest = saved.archive.manifest
    facts = {"reused": saved.reused, "folder": saved.archive.folder, "bytes": manifest["bytes"]}
    restore = f"k1ctl archive restore {saved.archive.id}"
    return {"archive": saved.archive.id, "why": why, **facts, "restore": restore}


def reasons(workspace: Workspace, found: Plan, work: GitWork) -> list[str]:
    """What would be lost with the worktree, in words; empty when everything of it is elsewhere too."""
    places = found.places
    counts = {
        "changed file{}": len(work.changed or []),
        "untracked file{}": places.untracked,
        "file{} that git ignores": _own(workspace, found),
        "other git folder{} inside": len(found.kept),
        "commit{} on no other branch": work.only_here or work.unreachable or 0,
        "commit{} that only its own reflog or refs reach": work.left or 0,
    }
    why = [f"{count} {what.format('' if count == 1 else 's')}" for what, count in counts.items() if count]
    if found.state.operation:
        why.append(f"a {found.state.operation} under way")
    if any(row.tag != "H" for rows in found.found.tracked.values() for row in rows):
        why.append("files that git was told not to look at")
    return [*why, f"git cannot tell: {work.problem}"] if work.problem else why


def _own(workspace: Workspace, found: Plan) -> int:
    """How many of the ignored files that are worth keeping set-up has not made: it copies some from the root, which has
    them just so, and fills in templates."""
    paths = [*found.places.files, *found.places.secrets]
    if len(paths) > _COMPARED:
        return len(paths)
    top, filled = found.entry.path, from_templates(found.entry.path)
    mine = [path for path in paths if not _same(os.path.join(top, path), os.path.join(workspace.root, path))]
    return sum(path not in filled or _digest(os.path.join(top, path)) not in filled[path] for path in mine)


def _same(one: str, other: str) -> bool:
    try:
        return not os.path.islink(one) and filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _digest(path: str) -> str:
    from hashlib import sha256

    return sha256(read_bytes(path) or b"").hexdigest()


def _entry(workspace: Workspace) -> Entry:
    """The worktree as git knows it. Raises ConfigError, GitError."""
    from k1ctl.worktrees import entries

    for entry in entries(workspace.path):
        if os.path.realpath(entry.path) == os.path.realpath(workspace.path):
            return entry
    raise ConfigError(
        f"git does not know {workspace.path} as a worktree of {workspace.root}",
        hint="git worktree repair mends the links of one that was moved",
        code="no-worktree",
    )
