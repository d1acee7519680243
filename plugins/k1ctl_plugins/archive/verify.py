"""``k1ctl archive verify``: whether archives are whole."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put


@click.command(short_help="Check that archives are whole and could be restored.")
@click.argument("archives", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every archive.")
@click.option("--quick", is_flag=True, help="Only whether all is there, not what is in it.")
@json_option
@pass_context
def verify(context: Context, archives: tuple[str, ...], everything: bool, quick: bool, as_json: bool) -> int:
    """Check that archives are whole: the ref and every object it reaches, and each tar file with its SHA-256 and its
    members. The copy of a manifest under ops/archive that is gone is written anew.

    ID is an archive's or its beginning, or a workspace's name for its newest. Exit codes: 0 all whole; 65 one is not.

    \b
    Example:
      k1ctl archive verify oslo
      k1ctl archive verify --all --json | jq -r '.archives[] | select(.ok | not) | .problems[]'
    """
    from k1ctl.archive.verify import nameless
    from k1ctl.archive.verify import verify as check
    from k1ctl_plugins.archive import choose
    from k1ctl_plugins.archive.settle import settle

    settle(context.workspace, context.config)
    found = choose.archives(context, archives, everything)
    rows = []
    for archive in found:
        problems = check(context.workspace, archive, deep=not quick)
        rows.append({"archive": archive.id, "ok": not problems, "problems": problems})
        if not as_json:
            put(clean(f"{archive.id}: {'; '.join(problems) or 'whole'}"))
    for name, problem in nameless(context.workspace).items() if everything else ():
        rows.append({"archive": name, "ok": False, "problems": [problem]})
        if not as_json:
            put(f"{name}: {problem}")
    damaged = [row for row in rows if not row["ok"]]
    if as_json:
        emit_json({"ok": not damaged, "archives": rows})
    return 65 if damaged else 0
