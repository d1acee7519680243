"""All that is known of one worktree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl import diskscan, ports
from k1ctl.archive.activity import last_activity, list_changes
from k1ctl.archive.runs import Runs
from k1ctl.artifacts import newest_build
from k1ctl.errors import ConfigError
from k1ctl.git import call
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace
from k1ctl.worktrees import OPERATIONS, origin, own_git_dir, whole

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.worktrees import Entry


def facts(workspace: Workspace, config: Config, entry: Entry, found: list[Entry]) -> dict[str, Any]:
    """The worktree ``entry`` as JSON; what needs its folder is null when that is gone."""
    made = origin(entry.path)
    there = os.path.isdir(entry.path)
    own = workspace.git_dir if entry.main else own_git_dir(entry.path)
    runs = Runs(workspace, config)
    changes = list_changes(entry.path) if there and not entry.bare else None
    activity = last_activity(workspace, entry, config=config, runs=runs, listed=changes or ()) if there else None
    place = Workspace(workspace.root, entry.path, os.path.basename(entry.path), workspace.git_dir)
    try:
        held, lost = ports.of(place), None
    except ConfigError as exc:  # the host's file of ports is damaged; all else is known
        held, lost = None, exc.message
    scan = diskscan.scan(workspace, config, entry, found) if there else None
    base, root = str(made.get("base") or ""), found[0]
    last = runs.last.get(os.path.realpath(entry.path))
    return {
        "ok": True,
        "name": os.path.basename(entry.path),
        "path": entry.path,
        "branch": entry.branch or None,
        "head": entry.head,
        "main": entry.main,
        "missing": not there,
        "bare": entry.bare,
        "locked": entry.locked,
        "prunable": entry.prunable,
        "creator": made.get("creator") or None,
        "made_at": made.get("at") or None,
        "base": base or None,
        "commits_since_base": _count(workspace, [f"{base}..{entry.head}"]) if base else None,
        "root": _against_root(workspace, root, entry),
        "unpushed_count": _count(workspace, [entry.head, "--not", "--remotes"]),
        "upstream": _upstream(workspace, entry),
        **_changes(changes),
        "operation": next((what for name, what in OPERATIONS.items() if own and _is(own, name)), None),
        "stashes": _stashes(workspace, entry.branch) if entry.branch else [],
        "ports": {"first": held.first, "last": held.last, "origin": held.origin} if held else None,
        "ports_problem": lost,
        "disk": scan.document() if scan else None,
        "active_at": rfc3339(activity.at) if activity and activity.at else None,
        "activity": activity.what if activity and activity.at else None,
        "idle_seconds": round(activity.idle(), 3) if activity and activity.at else None,
        "working": runs.of(entry.path),
        "last_run": {"label": last[1], "at": rfc3339(last[0])} if last else None,
        "artifacts": [
            {"target": target, **{key: build.get(key) for key in ("id", "at", "commit", "dirty")}}
            for target in config.names("targets")
            if (build := newest_build(place, target))
        ],
    }


def _is(own: str, name: str) -> bool:
    return os.path.lexists(os.path.join(own, name))


def _count(workspace: Workspace, words: list[str]) -> int | None:
    """How many commits ``git rev-list`` counts; None where it cannot."""
    done = call(["rev-list", "--count", *words], whole(workspace))
    return int(done.stdout) if done.returncode == 0 else None


def _against_root(workspace: Workspace, root: Entry, entry: Entry) -> dict[str, Any] | None:
    """How many commits it is ahead of and behind what the root has checked out."""
    if entry.main or root.bare:
        return None
    done = call(["rev-list", "--left-right", "--count", f"{root.head}...{entry.head}"], whole(workspace))
    behind, _, ahead = done.stdout.strip().partition("\t")
    if done.returncode or not ahead:
        return None
    return {"branch": root.branch or None, "ahead": int(ahead), "behind": int(behind)}


def _upstream(workspace: Workspace, entry: Entry) -> str | None:
    if not entry.branch:
        return None
    args = ["for-each-ref", "--format=%(upstream:short)", f"refs/heads/{entry.branch}"]
    return call(args, whole(workspace)).stdout.strip() or None


def _changes(lines: list[str] | None) -> dict[str, int | None]:
    """Counts of what git lists: staged and not, untracked, in conflict, ignored (a folder counts once)."""
    keys = ("changed_count", "staged_count", "untracked_count", "conflict_count", "ignored_count")
    if lines is None:
        return dict.fromkeys(keys)
    codes = [line[:2] for line in lines]
    conflict = [c for c in codes if c in ("DD", "AU", "UD", "UA", "DU", "AA", "UU")]
    own = [c for c in codes if c not in ("??", "!!") and c not in conflict]
    counts = (
        len(own),
        sum(c[0] != " " for c in own),
        codes.count("??"),
        len(conflict),
        codes.count("!!"),
    )
    return dict(zip(keys, counts, strict=True))


def _stashes(workspace: Workspace, branch: str) -> list[dict[str, str]]:
    """The stashes that were made on ``branch``: their subject says so (git-stash(1))."""
    words = ["log", "-g", "--first-parent", "-z", "--format=%H%x09%gd%x09%gs", "refs/stash", "--"]
    done = call(words, whole(workspace))  # as git-stash(1) lists them; it works without a worktree, too
    found = []
    for line in done.stdout.split("\0"):
        commit, _, rest = line.partition("\t")
        name, _, subject = rest.partition("\t")
        if subject.startswith((f"WIP on {branch}:", f"On {branch}:")):
            found.append({"name": name, "commit": commit, "subject": subject})
    return found
