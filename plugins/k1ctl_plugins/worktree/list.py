"""``k1ctl worktree list``: the repository's worktrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say, table
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


@click.command(short_help="List the repository's worktrees.")
@click.option("--refresh", is_flag=True, help="Look at every one, however long it takes.")
@json_option
@pass_context
def list(ctx: Context, refresh: bool, as_json: bool) -> None:
    """List the repository's worktrees: branch, how long idle, who made it, and its state.

    `changed` has changes or untracked files. Every worktree is looked at, as far as that takes 120 ms; of more of
    them, one that was looked at within the last minute keeps its answer while its HEAD and index are the same
    (`dirty_age_seconds` in JSON). IDLE goes by index, HEAD and changed files; `worktree show` knows more.

    \b
    Examples:
      k1ctl worktree list
      k1ctl worktree list --json | jq -r '.[] | select(.dirty) | .path'
    """
    from k1ctl import disk
    from k1ctl_plugins.worktree.listing import documents

    rows = documents(ctx.workspace, refresh=refresh)
    if hint := disk.suggest(ctx.config, ctx.workspace.root):
        say(hint)
    if as_json:
        emit_json(rows)
        return
    cells = [
        (
            "*" if row["current"] else "",
            row["name"],
            row["branch"] or ("-" if row["bare"] else "(detached)"),
            row["head"][:12] or "-",
            "-" if row["idle_seconds"] is None else format_duration(row["idle_seconds"]),
            row["creator"] or "-",
            row["path"],
            ", ".join(_notes(row)),
        )
        for row in rows
    ]
    put(table(cells, ("", "NAME", "BRANCH", "HEAD", "IDLE", "MADE BY", "PATH", "STATE")))
    kept = [row["dirty_age_seconds"] for row in rows if (row["dirty_age_seconds"] or 0) > 1]
    if kept:
        say(f"{len(kept)} of {len(rows)} were last looked at up to {max(kept):.0f} s ago; --refresh looks at each")


def _notes(row: dict[str, Any]) -> Sequence[str]:
    notes = ["main"] * row["main"]
    for key in ("locked", "prunable"):
        if row[key] is not None:
            notes.append(f"{key} ({row[key]})" if row[key] else key)
    notes += ["bare"] * row["bare"] + ["folder is gone"] * (row["missing"] and row["prunable"] is None)
    notes += ["git cannot tell (worktree doctor)"] * (row["dirty"] is None and not row["missing"] and not row["bare"])
    return notes + ["changed"] * bool(row["dirty"])
