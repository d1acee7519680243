"""``k1ctl archive list``: the archives on this host, or those in a store."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say, table


@click.command(short_help="List the archives, here or in a store.")
@click.option("--store", metavar="NAME", default="", help="Those in the store [stores.NAME].")
@click.option("--repository", metavar="NAME", default="", help="As which it was pushed (default: by `origin`).")
@json_option
@pass_context
def list(context: Context, store: str, repository: str, as_json: bool) -> None:
    """List the archives of this repository, the newest first: whose, from when, how far, how large, what is in each,
    and which stores hold a copy.

    States: `saved` (its worktree is still there), `removing`, `archived` (its worktree was removed), `restored`,
    `purging`. With --store: what that store holds; a copy is `whole` once its push was finished.

    \b
    Example:
      k1ctl archive list
      k1ctl archive list --json | jq -r '.archives[] | select(.copies == {}) | .archive'
      k1ctl archive list --store nas
    """
    from k1ctl_plugins.archive import report

    if store or repository:
        _in_store(context, store, repository, as_json)
        return
    from k1ctl.archive.folder import list_archives
    from k1ctl_plugins.archive.settle import settle

    settle(context.workspace, context.config)
    rows = [report.row(archive) for archive in list_archives(context.workspace)]
    if as_json:
        emit_json({"ok": True, "archives": rows})
    elif rows:
        put(table([report.cells(row) for row in rows], report.HEADERS))
    else:
        say("there is no archive: `k1ctl archive run --dry-run` shows what would be archived")


def _in_store(context: Context, name: str, repository: str, as_json: bool) -> None:
    from k1ctl.archive import copies
    from k1ctl_plugins.archive import choose, report

    store = choose.store(context, name)
    repository = repository or copies.repository(context.workspace)
    rows = report.remote_rows(copies.listed(store, repository), copies.here(context.workspace))
    if as_json:
        emit_json({"ok": True, "store": store.name, "repository": repository, "archives": rows})
    elif rows:
        put(table([report.remote_cells(row) for row in rows], report.REMOTE_HEADERS))
    else:
        say(f"the store {store.name} holds no archive of {repository}")
