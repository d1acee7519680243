"""``k1ctl artifact list``: every artifact with its size, its age and why it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl.retention import Stock


@click.command(short_help="List the artifacts: who built each, its size, and why it is kept.")
@click.argument("target", required=False)
@click.option("--workspace", metavar="NAME", default="", help="Only what this workspace built last.")
@click.option("--verify", is_flag=True, help="Read every file and compare its SHA-256; exit 65 when one differs.")
@json_option
@pass_context
def list(context: Context, target: str | None, workspace: str, verify: bool, as_json: bool) -> int:
    """List the artifacts of TARGET, or of all, the one built last first.

    KEPT says why one does not go when more than artifact.limit is taken: pinned; among the newest of a worktree
    (artifact.keep); on a device, or what it may be rolled back to; wanted by a run that stands in line. What has `-`
    there goes first, the oldest of it.

    \b
    Example:
      k1ctl artifact list
      k1ctl artifact list fw --workspace oslo
      k1ctl artifact list --verify
    """
    from k1ctl import retention

    stock = retention.survey(context.workspace, context.config)
    rows = [
        row
        for kept in stock.kept
        if target in (None, (row := kept.document())["target"]) and workspace in ("", row["workspace"])
    ]
    problems = _problems(stock, rows) if verify else []
    limit = int(context.config.get("artifact", "limit"))
    if as_json:
        facts = {"bytes": stock.bytes, "limit_bytes": limit or None, "damaged": sorted(stock.damaged)}
        emit_json({"ok": not problems, **facts, "artifacts": rows})
    else:
        _tell(stock, rows, limit, verify=verify)
        for problem in problems:
            say(clean(problem))
    return 65 if problems else 0


def _problems(stock: Stock, rows: Any) -> Any:
    """A sentence for each damaged artifact; its row gets its ``problems``."""
    shown = {row["folder"]: row for row in rows}
    told = []
    for kept in stock.kept:
        row = shown.get(kept.artifact.folder)
        if row is not None:
            row["problems"] = kept.artifact.problems()
            if row["problems"]:
                told.append(f"{row['target']} {row['id']} is damaged: {'; '.join(row['problems'])}")
    return told


def _tell(stock: Stock, rows: Any, limit: int, *, verify: bool) -> None:
    from k1ctl.units import format_duration, format_size

    cells = [
        (
            row["target"],
            row["id"],
            row["workspace"] or "-",
            (str(row["commit"] or "")[:12] or "-") + ("+" if row["dirty"] else ""),
            format_duration(row["age_seconds"]),
            format_size(row["bytes"]),
            *(("damaged" if row["problems"] else "whole",) if verify else ()),
            ", ".join(reason["text"] for reason in row["kept"]) or "-",
        )
        for row in rows
    ]
    if rows:
        state = ("STATE",) if verify else ()
        put(table(cells, ("TARGET", "ID", "WORKSPACE", "COMMIT", "AGE", "SIZE", *state, "KEPT")))
    else:
        say(f"there is {'no such' if stock.kept else 'no'} artifact: k1ctl build makes one")
    of = f" of {format_size(limit)}" if limit else ""
    say(f"ops/artifacts takes {format_size(stock.bytes)}{of}")
    if stock.damaged:
        count, size = len(stock.damaged), format_size(sum(stock.damaged.values()))
        one = "one is" if count == 1 else "ones are"
        say(f"{count} damaged {one} set aside there ({size}): what is not pinned of it goes first")
    for path in sorted(stock.pinned):
        say(f"damaged, and kept because it is pinned: {clean(path)}")
