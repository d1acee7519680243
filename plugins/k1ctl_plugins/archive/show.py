"""``k1ctl archive show``: all that is known of an archive, how to restore it, and what a purge would do."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put


@click.command(short_help="Show an archive: what it holds, how to restore it, what a purge would do.")
@click.argument("archive", metavar="ID")
@click.option("--files", is_flag=True, help="Also the names of what it holds.")
@json_option
@pass_context
def show(context: Context, archive: str, files: bool, as_json: bool) -> None:
    """Show an archive in words: whose worktree, when and why, what it holds and what not, where copies are, how to
    restore it, and what a purge would do. With --files also the names of what it holds; never what is in them.

    ID is an archive's or its beginning, or a workspace's name for its newest.

    \b
    Example:
      k1ctl archive show oslo
      k1ctl archive show oslo --files --json | jq -r '.files.kept[]'
    """
    from k1ctl.archive.folder import find
    from k1ctl_plugins.archive import details
    from k1ctl_plugins.archive.settle import settle

    settle(context.workspace, context.config)
    found = find(context.workspace, archive)
    facts = details.facts(context.workspace, context.config, found)
    if files:
        facts["files"] = details.names(context.workspace, found)
    if as_json:
        emit_json({"ok": True, **facts})
        return
    for label, text in details.lines(facts):
        put(f"{label:<{details.WIDTH}}{clean(text)}")
    for what, names in (facts.get("files") or {}).items():
        put()
        put(f"{what.replace('_', ' ')}: {len(names)}")
        for name in names:
            put(f"  {clean(name)}")
