"""What ``k1ctl worktree du`` tells: the worktrees' scans, what they share, the quotas."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl import disk, diskscan
from k1ctl.archive.folder import archives_folder
from k1ctl.workspace import cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

SORTS = ("size", "name", "idle")


def worktrees(
    workspace: Workspace, config: Config, found: list[Entry], chosen: list[Entry], *, refresh: bool, sort: str
) -> list[dict[str, Any]]:
    """A row for each chosen worktree whose folder is there, the largest first unless ``sort`` says otherwise."""
    quota = config.get("disk", "workspace_quota")
    rows = []
    for entry in chosen:
        if not os.path.isdir(entry.path):
            continue
        scan = diskscan.scan(workspace, config, entry, found, refresh=refresh)
        facts = {"name": os.path.basename(entry.path), "path": entry.path, "main": entry.main}
        idle = diskscan.idle_seconds(entry.path)
        over = bool(quota) and not entry.main and scan.total > quota
        rows.append(
            {**facts, **scan.document(), "idle_seconds": None if idle is None else round(idle, 3), "over_quota": over}
        )
    keys = {
        "size": lambda r: (-r["bytes"], r["name"]),
        "name": lambda r: r["name"],
        "idle": lambda r: -(r["idle_seconds"] or 0.0),
    }
    return sorted(rows, key=keys[sort])


def shared(workspace: Workspace, found: list[Entry], *, refresh: bool) -> list[dict[str, Any]]:
    """What belongs to no worktree: the folders of ``ops/``, archives, trash beside the worktrees, and seeds (the
    host's belong to all repositories)."""
    rows = []
    for name, path in _places(workspace, found):
        try:
            scan = diskscan.folder(workspace, path, refresh=refresh)
        except OSError:  # beside a worktree in a folder that is not ours to read
            continue
        if scan.total:
            rows.append({"name": name, "path": path, "bytes": scan.total, "scanned_at": scan.document()["scanned_at"]})
    return sorted(rows, key=lambda row: -row["bytes"])


def _places(workspace: Workspace, found: list[Entry]) -> Iterator[tuple[str, str]]:
    ops = workspace.ops
    for name in sorted(os.listdir(ops)) if os.path.isdir(ops) else ():
        path = os.path.join(ops, name)
        if name == "cache" and os.path.isdir(path):
            yield from ((f"ops/cache/{below}", os.path.join(path, below)) for below in sorted(os.listdir(path)))
        else:
            yield f"ops/{name}", path
    yield "archives", archives_folder(workspace)
    yield "seeds", os.path.join(workspace.git_dir, "k1ctl", "npm")
    yield "seeds (host)", os.path.join(cache_dir(), "npm")
    for parent in sorted({os.path.dirname(entry.path) for entry in found}):
        yield "trash", os.path.join(parent, ".k1ctl-trash")


def document(
    workspace: Workspace, config: Config, rows: list[dict[str, Any]], others: list[dict[str, Any]]
) -> dict[str, Any]:
    """The whole report as JSON. ``worktrees_bytes`` is what ``disk.total_quota`` is about: all but the main one."""
    quota = config.get("disk", "total_quota")
    linked = sum(row["bytes"] for row in rows if not row["main"])
    return {
        "ok": True,
        "worktrees": rows,
        "shared": others,
        "worktrees_bytes": linked,
        "total_bytes": sum(row["bytes"] for row in [*rows, *others]),
        "workspace_quota_bytes": config.get("disk", "workspace_quota") or None,
        "total_quota_bytes": quota or None,
        "over_quota": bool(quota) and linked > quota,
        "disk": disk.use(workspace.root).document(),
    }
