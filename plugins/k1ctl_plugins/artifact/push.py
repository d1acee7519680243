"""``k1ctl artifact push``: copy artifacts to a store off this host."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put


@click.command(short_help="Copy artifacts to a store off this host.")
@click.argument("artifacts", metavar="ID...", nargs=-1, required=True)
@click.option("--target", default="", help="Where an id is that of several targets.")
@click.option("--store", "name", default="", metavar="NAME", help="Of [stores.NAME] (default: artifact.store).")
@click.option("--init-store", is_flag=True, help="Make the store ready for its first use.")
@click.option("--again", is_flag=True, help="Send also what is there: it may be damaged.")
@click.option("--dry-run", is_flag=True, help="Send nothing; tell what would be.")
@json_option
@pass_context
def push(
    context: Context,
    artifacts: tuple[str, ...],
    target: str,
    name: str,
    init_store: bool,
    again: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Copy the artifacts ID... (the beginning of an id, or `latest`) to a store, each checked before it goes.

    A copy that is whole there is not sent again. A file with a secret's name (archive.secrets) leaves for no store.

    \b
    Example:
      k1ctl artifact push latest --store nas
      k1ctl artifact push 9f3c2a11 --dry-run
    """
    from k1ctl import artifacts_copies
    from k1ctl.units import format_size
    from k1ctl_plugins.artifact.choose import choose
    from k1ctl_plugins.artifact.where import store_of

    found = [choose(context, reference, target) for reference in artifacts]
    store = store_of(context, name)
    if init_store and not dry_run:
        store.prepare()
    rows: list[dict[str, Any]] = []
    for each in found:
        row: dict[str, Any] = {"target": each.target, "id": each.id, "store": store.name}
        if dry_run:
            total = sum(file["bytes"] for file in each.manifest["files"].values())
            rows.append({**row, "bytes": total})
            continue
        sent = artifacts_copies.push(context.workspace, context.config, store, each, again=again)
        rows.append({**row, "sent": bool(sent), "bytes": sent})
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, "artifacts": rows})
        return 0
    for row in rows:
        what = f"{clean(row['target'])} {row['id']}"
        if dry_run:
            put(f"{what} would be sent to {row['store']} unless it is there: {format_size(row['bytes'])}")
        elif row["sent"]:
            put(f"{what} was sent to {row['store']}: {format_size(row['bytes'])}")
        else:
            put(f"{what} is in {row['store']} already")
    return 0
