"""``k1ctl worktree list``: the repository's worktrees."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, table


@click.command(short_help="List the repository's worktrees.")
@json_option
@pass_context
def list(ctx: Context, as_json: bool) -> None:
    """List the repository's worktrees.

    Example: k1ctl worktree list --json | jq -r '.[] | select(.dirty) | .path'
    """
    from k1ctl_plugins.worktree.listing import documents

    rows = documents(ctx.workspace.path, ctx.workspace.path)
    if as_json:
        emit_json(rows)
        return
    cells = []
    for row in rows:
        notes = ["main"] * row["main"] + ["locked"] * (row["locked"] is not None)
        notes += ["prunable"] * (row["prunable"] is not None) + ["changed"] * bool(row["dirty"])
        mark, state = "*" if row["current"] else "", ", ".join(notes)
        cells.append((mark, row["name"], row["branch"] or "-", row["head"][:12], row["path"], state))
    put(table(cells, ("", "NAME", "BRANCH", "HEAD", "PATH", "STATE")))
