"""``k1ctl archive save``: save a worktree and leave it alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import LiveLine, clean, emit_json, json_option, put, say
from k1ctl.units import format_duration, format_size

if TYPE_CHECKING:
    from typing import Any

    from k1ctl.archive.planning import Plan
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry


@click.command(short_help="Save a worktree in the archive, and change nothing in it.")
@click.argument("name", default="")
@click.option("--reason", default="save", metavar="TEXT", help="Why, as `archive list` will tell.")
@click.option("--dry-run", is_flag=True, help="Write nothing; tell what would be saved.")
@json_option
@pass_context
def save(ctx: Context, name: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Save the worktree NAME (a name or a path; default: this one), and change nothing in it.

    Kept are its files, tracked or not, byte for byte; what git ignores, but for what can be made again; its index,
    HEAD, reflog and whatever operation is under way; repositories and submodules in it. Saved again without a change,
    it is the same archive.

    \b
    Example:
      k1ctl archive save
      k1ctl archive save oslo --dry-run --json
    """
    from k1ctl.archive.planning import plan
    from k1ctl.archive.save import save as save_worktree
    from k1ctl_plugins.archive.settle import settle

    if not dry_run:
        settle(ctx.workspace, ctx.config)
    entry = _entry(ctx.workspace, name)
    if dry_run:
        found = _document(plan(ctx.workspace, ctx.config, entry))
        say(f"would be saved: {clean(entry.path)}, {format_size(found['bytes'])} at most")
        _tell(found)
        if as_json:
            emit_json({"ok": True, "dry_run": True, **found})
        return
    line = LiveLine()
    try:
        saved = save_worktree(ctx.workspace, ctx.config, entry, reason=reason, watch=_watcher(line))
    finally:
        line.clear()
    manifest = saved.archive.manifest
    if saved.reused:
        say(f"unchanged: {clean(entry.path)} is saved as it is")
    else:
        say(
            f"saved: {clean(entry.path)}, {format_size(manifest['bytes'])} beside what git holds, "
            f"in {format_duration(manifest['save_seconds'])}"
        )
        _tell(manifest)
    if as_json:
        emit_json({"ok": True, "dry_run": False, "reused": saved.reused, **saved.archive.document()})
    else:
        put(saved.archive.id)


def _watcher(line: LiveLine) -> Any:
    """Shows what is being done on a terminal only: elsewhere the end of it is news enough."""
    return line.update if line.terminal else None


def _entry(workspace: Workspace, name: str) -> Entry:
    """The worktree that ``name`` names. Raises UsageError, ConfigError."""
    from k1ctl.worktrees import entries

    if not name:
        workspace.check_inside()
    found = entries(workspace.path)
    path = os.path.realpath(os.path.expanduser(name)) if name else workspace.path
    by_path = [entry for entry in found if os.path.realpath(entry.path) == path]
    by_name = [entry for entry in found if name and os.path.basename(entry.path) == name]
    chosen = by_path or by_name
    if len(chosen) > 1:
        raise UsageError(f"there are {len(chosen)} worktrees {name}", hint="give a path")
    if not chosen:
        raise UsageError(f"there is no worktree {name}", hint="k1ctl worktree list shows them")
    return chosen[0]


def _document(found: Plan) -> dict[str, Any]:
    places = found.places
    counts = {
        "untracked": places.untracked,
        "ignored_kept": places.ignored,
        "secrets": len(places.secrets),
        "nested": len(found.kept),
    }
    facts = {"workspace": os.path.basename(found.entry.path), "path": found.entry.path, "bytes": found.bytes}
    more = {"operation": found.state.operation or None, "nested": sorted(found.kept), "special": places.special}
    return {**facts, "counts": counts, "regenerable": found.found.regenerable, **more}


def _tell(facts: dict[str, Any]) -> None:
    counts = facts["counts"]
    words = {
        "changed": "changed",
        "untracked": "untracked",
        "ignored_kept": "ignored and kept",
        "secrets": "secret, on this host only",
        "nested": "repositories inside",
    }
    parts = [f"{counts[key]} {word}" for key, word in words.items() if counts.get(key)]
    if facts["operation"]:
        parts.append(f"a {facts['operation']} under way")
    if parts:
        say("with it: " + ", ".join(parts))
    if facts["regenerable"]:
        say(f"left out, as it can be made again: {clean(', '.join(facts['regenerable'][:8]))}")
    if facts.get("not_pinned"):
        say(f"{len(facts['not_pinned'])} commits in its reflog have lost a part of their history and cannot be held")
    if facts["special"]:
        say(f"sockets and devices cannot be kept: {clean(', '.join(facts['special'][:8]))}")
