"""All that is known of one archive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.git import call, output
from k1ctl.units import format_size
from k1ctl_plugins.archive import report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.archive.folder import Archive
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

WIDTH = 12  # columns of a label
_SHOWN = 6  # folders that are named in words


def facts(workspace: Workspace, config: Config, archive: Archive) -> dict[str, Any]:
    """Its row, its manifest, and what is so now: ``branch_now`` (commit, or None when the branch is gone),
    ``path_taken``, ``trash_bytes``, and what a ``purge`` would do."""
    from k1ctl.archive import purge

    row = report.row(archive)
    return {
        **row,
        "manifest": archive.manifest,
        "branch_now": _branch(workspace, row["branch"]),
        "path_taken": os.path.lexists(str(row["path"])),
        "trash_bytes": report.trash_bytes(row),
        "purge": purge.plan(config, [archive], named=True).rows[0].document(),
    }


def _branch(workspace: Workspace, branch: str | None) -> str | None:
    if not branch:
        return None
    done = call(["rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"], workspace.git_dir)
    return done.stdout.strip() or None


def lines(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(Label, text) for people."""
    manifest = about["manifest"]
    yield "archive", str(about["archive"])
    yield "worktree", f"{about['workspace']}, {about['path']}"
    by = f" by {manifest['creator']}" if manifest.get("creator") else ""
    yield (
        "saved",
        f"{report.ago(about['age_seconds'])}, {about['at']}, by {about['reason']}; worktree made{by or ' by git'}",
    )
    yield "state", f"{about['state']} since {about['state_at']}"
    yield "branch", _branch_text(about)
    yield "holds", report.holds(about)
    if about["stash_count"]:
        yield "stashes", ", ".join(str(stash.get("subject")) for stash in manifest["stashes"])
    for key, label in (("submodules", "submodules"), ("nested", "nested"), ("regenerable", "not kept")):
        named = manifest.get(key) or []
        if named:
            more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
            yield label, ", ".join(str(name) for name in named[:_SHOWN]) + more
    if manifest.get("special"):
        yield "not kept", f"{len(manifest['special'])} sockets or pipes"
    files = manifest.get("files") or {}
    parts = [f"{name} {format_size(each['bytes'])}" for name, each in files.items()]
    yield "size", f"{format_size(about['bytes'])} ({', '.join(parts)})"
    yield "trash", _trash_text(about)
    yield from _copies(about)
    yield "restore", _restore_text(about)
    yield "purge", _purge_text(about["purge"])


def _branch_text(about: dict[str, Any]) -> str:
    head, branch, now = str(about["head"] or ""), about["branch"], about["branch_now"]
    if not branch:
        return f"none, HEAD was detached at {head[:12]}"
    if not head:
        return f"{branch}, without a commit yet"
    since = "gone since" if now is None else "there as it was" if now == head else f"at {now[:12]} now"
    return f"{branch} at {head[:12]}; {since}"


def _trash_text(about: dict[str, Any]) -> str:
    if not about["trash"]:
        return "none"
    if about["trash_bytes"] is None:
        return f"{about['trash']}, gone"
    return f"the worktree itself in {about['trash']}, {format_size(about['trash_bytes'])}"


def _copies(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for store, copy in about["copies"].items():
        yield "copy", f"in {store} since {copy['at']}, {format_size(copy['bytes'])}"
    if not about["copies"]:
        yield "copy", "none off this host"


def _restore_text(about: dict[str, Any]) -> str:
    to = " --to FOLDER (its place is taken)" if about["path_taken"] else ""
    text = f"k1ctl archive restore {about['archive']}{to}"
    missing = about["secrets_missing_count"]
    return text + (f"; {report.plural(missing, 'secret')} stayed on another host" if missing else "")


def _purge_text(plan: dict[str, Any]) -> str:
    if plan["why_not"]:
        return f"not now: {plan['why_not']}"
    what = "its files, its ref and its trash" if plan["trash"] else "its files and its ref"
    kept = "copies in stores stay" if plan["copies"] else "there is no copy of it"
    return f"would delete {what} for good, when a person confirms it; {kept}"


def names(workspace: Workspace, archive: Archive) -> dict[str, list[str]]:
    """Names of what it holds: ``changed`` against HEAD with git's letter before each (untracked files are ``A``),
    ``staged`` in the index, ``kept`` of files.tar, ``secrets`` of secrets.tar. Raises GitError, OSError."""
    manifest = archive.manifest
    empty = output(["hash-object", "-t", "tree", "--stdin"], workspace.git_dir).strip()
    head = str(manifest.get("head") or empty)
    found = {"changed": _changed(workspace, head, str(manifest["tree"]))}
    if manifest.get("index_commit"):
        found["staged"] = _changed(workspace, head, str(manifest["index_commit"]))
    files = manifest.get("files") or {}
    if "files.tar" in files:
        found["kept"] = _members(os.path.join(archive.folder, "files.tar"))
    if "secrets.tar" in files:  # tree/... of the worktree, git/... of its own git folder
        secrets = _members(os.path.join(archive.folder, "secrets.tar"))
        found["secrets"] = [name.removeprefix("tree/") for name in secrets]
    return found


def _changed(workspace: Workspace, before: str, after: str) -> list[str]:
    told = output(["diff-tree", "-r", "-z", "--no-renames", "--name-status", before, after], workspace.git_dir)
    words = told.split("\0")[:-1]
    return [f"{letter} {name}" for letter, name in zip(words[::2], words[1::2], strict=True)]


def _members(path: str) -> list[str]:
    from k1ctl.archive.tar import members

    with open(path, "rb", buffering=1 << 20) as file:
        return [member.name for member in members(file) if member.kind != "folder"]
