"""``k1ctl archive push``: copies of archives off this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import ConfigError, K1ctlError, NotFoundError
from k1ctl.output import clean, emit_json, json_option, put, say
from k1ctl.stores import StoreError

if TYPE_CHECKING:
    from k1ctl.archive.folder import Archive
    from k1ctl.stores import Store

_OF_STORE = (StoreError, ConfigError, NotFoundError)  # what fails for one archive as for the next


@click.command(short_help="Copy archives to a store off this host.")
@click.argument("archives", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every archive.")
@click.option("--store", metavar="NAME", default="", help="The store [stores.NAME] (default: archive.store).")
@click.option("--init-store", is_flag=True, help="Say that its folder is the right one, mounted, and new.")
@click.option("--tracked-secrets", is_flag=True, help="Also send commits with secrets' names, reflogs with logins.")
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
    tracks one and that no remote has yet, or a reflog with a login in a URL, is refused without --tracked-secrets.

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
        if isinstance(failed, _OF_STORE):  # and would be for each of the others
            rows.append({"archive": archive.id, "store": chosen.name, "outcome": "not-tried"})
            continue
        try:
            row = _push(context, chosen, name, archive, tracked_secrets, dry_run)
        except (K1ctlError, OSError) as raised:
            exc = raised if isinstance(raised, K1ctlError) else K1ctlError(f"{raised.strerror}: {raised.filename}")
            failed = exc if isinstance(exc, _OF_STORE) else failed or exc
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
    not_tried = sum(row["outcome"] == "not-tried" for row in rows)
    if not_tried and not as_json:
        say(f"the store failed, so {not_tried} more were not tried")
    return failed.exit_code if failed else 0


def _push(
    context: Context, store: Store, name: str, archive: Archive, tracked_secrets: bool, dry_run: bool
) -> dict[str, Any]:
    from k1ctl.archive import push
    from k1ctl_plugins.archive.choose import shown

    options = {"tracked_secrets": tracked_secrets, "dry_run": dry_run}
    with shown(f"{archive.id}: to {store.name}"):
        return push.push(context.workspace, context.config, store, name, archive, **options)


def _tell(row: dict[str, Any]) -> None:
    from k1ctl.units import format_size
    from k1ctl_plugins.archive.report import plural

    if row["outcome"] == "failed":
        error = row["error"]
        say(clean(f"{row['archive']}: {error['message']}{' (' + error['hint'] + ')' if error['hint'] else ''}"))
        return
    words = {"pushed": f"{format_size(row['sent_bytes'])} sent to", "there": "already in"}
    text = f"{row['archive']}: {words.get(row['outcome'], 'would be sent to')} {row['store']}"
    if row["secrets_count"]:
        text += f"; left on this host: {plural(row['secrets_count'], 'secret')}"
    if row["prerequisites"]:
        text += f"; it builds on {plural(len(row['prerequisites']), 'commit')} of the remotes"
    put(text)
