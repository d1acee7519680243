"""``k1ctl artifact pull``: fetch artifacts from a store."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put


@click.command(short_help="Fetch artifacts from a store, checked.")
@click.argument("artifacts", metavar="ID...", nargs=-1, required=True)
@click.option("--target", default="", help="Where an id is that of several targets.")
@click.option("--store", "name", default="", metavar="NAME", help="Of [stores.NAME] (default: artifact.store).")
@click.option("--dry-run", is_flag=True, help="Fetch nothing; tell what would be.")
@json_option
@pass_context
def pull(context: Context, artifacts: tuple[str, ...], target: str, name: str, dry_run: bool, as_json: bool) -> int:
    """Fetch the artifacts ID... (or the beginning of an id) that somebody pushed.

    An artifact gets its place here only once every file has the size and SHA-256 that were recorded; what is here whole
    is not fetched. Fetched ones go like those that were built here: pin what has to stay.

    \b
    Example:
      k1ctl artifact pull 9f3c2a11 --store nas
      k1ctl upload fw --artifact 9f3c2a11
    """
    from k1ctl import artifacts_copies, retention
    from k1ctl_plugins.artifact.where import store_of

    store = store_of(context, name)
    rows: list[dict[str, Any]] = []
    for reference in artifacts:
        if dry_run:
            where, artifact_id, _ = artifacts_copies.locate(store, reference, target)
            rows.append({"id": artifact_id, "store": store.name, "key": where})
            continue
        found, fetched = artifacts_copies.pull(context.workspace, context.config, store, reference, target=target)
        row = {"target": found.target, "id": found.id, "store": store.name, "fetched": fetched}
        rows.append({**row, "folder": found.folder})
    if not dry_run:
        retention.trim(context.workspace, context.config)
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, "artifacts": rows})
        return 0
    for each in rows:
        if dry_run:
            put(f"{each['id']} would be fetched from {each['store']} ({each['key']}) unless it is here")
        else:
            put(f"{clean(each['target'])} {each['id']} {'was fetched' if each['fetched'] else 'is here already'}")
    return 0
