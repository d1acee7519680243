"""``k1ctl archive pull``: bring an archive back from a store."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say


@click.command(short_help="Bring an archive from a store, to restore it here.")
@click.argument("archive", metavar="ID")
@click.option("--store", metavar="NAME", default="", help="The store [stores.NAME] (default: archive.store).")
@click.option("--repository", metavar="NAME", default="", help="As which it was pushed (default: by `origin`).")
@click.option("--trust", is_flag=True, help="Also one that holds what git would run: settings, hooks.")
@click.option("--dry-run", is_flag=True, help="Say what would be got; get nothing.")
@json_option
@pass_context
def pull(
    context: Context, archive: str, store: str, repository: str, trust: bool, dry_run: bool, as_json: bool
) -> None:
    """Bring an archive from a store into this clone of its repository, checked; `archive restore` then restores it.

    ID is the archive's or its beginning, as `archive list --store` shows, or a workspace's name for its newest. One
    that is here and damaged is repaired.
    Secrets never left the host that pushed it: a restore says how many are missing. One that holds what git would run
    by itself, such as core.fsmonitor or a hook in a submodule, is refused without --trust.
    Exit code 65: the copy is damaged, builds on commits that this clone has not, or holds what git would run.

    \b
    Example:
      k1ctl archive pull 20261121-1803 --store nas
      k1ctl archive restore 20261121-1803 --to ../oslo
    """
    from k1ctl.archive import copies
    from k1ctl.archive import pull as pulling
    from k1ctl.units import format_size
    from k1ctl_plugins.archive import choose

    chosen = choose.store(context, store)
    name = repository or copies.repository(context.workspace)
    options = {"trust": trust, "dry_run": dry_run}
    with choose.shown(f"{archive}: from {chosen.name}"):
        row = pulling.pull(context.workspace, context.config, chosen, name, archive, **options)
    if as_json:
        emit_json({"ok": True, "repository": name, **row})
    elif row["outcome"] == pulling.HERE:
        say(f"{row['archive']} is here already")
    elif dry_run:
        put(f"{row['archive']}: {format_size(row['bytes'])} would be got from {chosen.name}")
    else:
        put(f"{row['archive']}: {row['outcome']}, {format_size(row['bytes'])} from {chosen.name}")
        if row["outcome"] == pulling.REPAIRED:
            return
        if row["secrets_count"]:
            say(f"{row['secrets_count']} of its secrets stayed on the host it was made on")
        say(f"k1ctl archive restore {row['archive']} brings the worktree back")
