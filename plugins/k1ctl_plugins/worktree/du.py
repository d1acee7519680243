"""``k1ctl worktree du``: what worktrees take of the disk."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put, say, table
from k1ctl.units import format_duration, format_size, parse_rfc3339

if TYPE_CHECKING:
    from typing import Any


@click.command(short_help="What worktrees take of the disk, and the quotas.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--refresh", is_flag=True, help="Scan anew instead of using scans that are kept.")
@click.option("--sort", type=click.Choice(["size", "name", "idle"]), default="size", show_default=True)
@json_option
@pass_context
def du(ctx: Context, names: tuple[str, ...], refresh: bool, sort: str, as_json: bool) -> None:
    """What worktrees (all, or those named) take of the disk: sources, node_modules, .pio, what else can be made again,
    and their git folders; then what belongs to none of them, and the quotas of [disk].

    Bytes are those allocated; a file with several names counts once in a worktree. Blocks that files share with others
    (clones, reflinks) cannot be told apart and count in full, so clones take less than is shown. A scan is used again
    for 10 minutes, and for a day while nothing it goes by has changed. Over a quota is marked; the exit code is 0.

    \b
    Examples:
      k1ctl worktree du --sort idle
      k1ctl worktree du oslo --refresh --json
    """
    from k1ctl import disk
    from k1ctl.worktrees import entries
    from k1ctl_plugins.worktree import du_report
    from k1ctl_plugins.worktree.choose import choose

    workspace = ctx.workspace
    found = entries(workspace.path)
    chosen = choose(found, names) if names else found
    rows = du_report.worktrees(workspace, ctx.config, found, chosen, refresh=refresh, sort=sort)
    others = [] if names else du_report.shared(workspace, found, refresh=refresh)
    report = du_report.document(workspace, ctx.config, rows, others)
    report["missing"] = [entry.path for entry in chosen if not os.path.isdir(entry.path)]
    if hint := disk.suggest(ctx.config, workspace.root):
        say(hint)
    if report["missing"]:
        say(f"not there, or not to be looked at: {', '.join(clean(path) for path in report['missing'])}")
    if as_json:
        emit_json(report)
        return
    put(table([_cells(row) for row in rows], ("NAME", "TOTAL", *PARTS, "IDLE", "SCANNED", "")))
    if others:
        put()
        put(
            table(
                [(row["name"], format_size(row["bytes"]), row["path"]) for row in others], ("SHARED", "BYTES", "PATH")
            )
        )
    put()
    put(_summary(report))


PARTS = ("SOURCES", "NODE_MODULES", ".PIO", "REGENERABLE", "GIT")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    sizes = (row[f"{part}_bytes"] for part in ("sources", "node_modules", "pio", "regenerable", "git"))
    notes = ["main"] * row["main"] + ["over quota"] * row["over_quota"]
    unread = row["unreadable_count"]
    notes += [f"{unread} folder{'s' * (unread != 1)} unreadable"] * bool(unread)
    return (
        row["name"],
        format_size(row["bytes"]),
        *(format_size(size) if size else "-" for size in sizes),
        "-" if row["idle_seconds"] is None else format_duration(row["idle_seconds"]),
        f"{format_duration(max(0.0, time.time() - parse_rfc3339(row['scanned_at'])))} ago",
        ", ".join(notes),
    )


def _summary(report: dict[str, Any]) -> str:
    quota, each = report["total_quota_bytes"], report["workspace_quota_bytes"]
    there = report["disk"]
    text = f"worktrees {format_size(report['worktrees_bytes'])}"
    text += f" of {format_size(quota)}{', over quota' * report['over_quota']}" if quota else ""
    text += f" ({format_size(each)} each)" if each else ""
    text += f"; with all else {format_size(report['total_bytes'])}"
    return f"{text}; disk at {there['used_percent']} %, {format_size(there['free_bytes'])} free"
