"""``k1ctl archive push``: copies of archives off this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import K1ctlError
from k1ctl.output import emit_json, json_option, put, say

if TYPE_CHECKING:
    from k1ctl.archive.folder import Archive
    from k1ctl.stores import Store


@click.command(short_help="Copy archives to a store off this host.")
@click.argument("archives", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every archive.")
@click.option("--store", metavar="NAME", default="", help="The store [stores.NAME] (default: archive.store).")
@click.option("--init-store", is_flag=True, help="Say that its folder is the right one, mounted, and new.")
@click.option("--tracked-secrets", is_flag=True, help="Also send commits with files that have a secret's name.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; send nothing.")
@json_option
@pass_context
def push(
    context: Context,
    archives: tuple[str, ...],
    everything: bool,
    store: str,
    init_store: bool,
    tracked_secrets: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Copy archives to a store off this host: a git bundle of what no remote has, and the tar files; never secrets.

    What is there already is not sent again, what was sent is read back and compared, and a push that was killed goes
    on where it was. A store in a folder is written to only when the folder holds the file .k1ctl-store, which
    --init-store makes: an empty mount point does not. Secrets (archive.secrets) stay on this host; a commit that
    tracks one and that no remote has yet is refused without --tracked-secrets.

    \b
    Example:
      k1ctl archive push --store nas --init-store
      k1ctl archive push oslo --store nas --dry-run
      k1ctl archive push --all --json
    """
    from k1ctl.archive import copies
    from k1ctl_plugins.archive import choose
    from k1ctl_plugins.archive.settle import settle

    chosen = choose.store(context, store)
    if init_store and not dry_run:
        chosen.prepare()
    settle(context.workspace, context.config)
    only_init = init_store and not archives and not everything
    found = [] if only_init else choose.archives(context, archives, everything)
    name = copies.repository(context.workspace)
    rows: list[dict[str, Any]] = []
    failed: K1ctlError | None = None
    for archive in found:
        try:
            row = _push(context, chosen, name, archive, tracked_secrets, dry_run)
        except K1ctlError as exc:
            failed = failed or exc
            row = {"archive": archive.id, "store": chosen.name, "outcome": "failed", **exc.document()}
        rows.append(row)
        if not as_json:
            _tell(row)
    if as_json:
        head = failed.document() if failed else {"ok": True}
        emit_json({**head, "store": chosen.name, "repository": name, "dry_run": dry_run, "archives": rows})
    elif only_init:
        say(f"the store {chosen.name} {'would be made' if dry_run else 'is'} ready")
    elif not rows:
        say("there is no archive to push")
    return failed.exit_code if failed else 0


def _push(
    context: Context, store: Store, name: str, archive: Archive, tracked_secrets: bool, dry_run: bool
) -> dict[str, Any]:
    from k1ctl.archive import push

    options = {"tracked_secrets": tracked_secrets, "dry_run": dry_run}
    return push.push(context.workspace, context.config, store, name, archive, **options)


def _tell(row: dict[str, Any]) -> None:
    from k1ctl.units import format_size
    from k1ctl_plugins.archive.report import plural

    if row["outcome"] == "failed":
        error = row["error"]
        say(f"{row['archive']}: {error['message']}{' (' + error['hint'] + ')' if error['hint'] else ''}")
        return
    words = {"pushed": f"{format_size(row['sent_bytes'])} sent to", "there": "already in"}
    text = f"{row['archive']}: {words.get(row['outcome'], 'would be sent to')} {row['store']}"
    if row["secrets_count"]:
        text += f"; left on this host: {plural(row['secrets_count'], 'secret')}"
    if row["prerequisites"]:
        text += f"; it builds on {plural(len(row['prerequisites']), 'commit')} of the remotes"
    put(text)
