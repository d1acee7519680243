"""``k1ctl budget release``: a hold is not needed any more, and nothing was spent under it."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, say


@click.command(short_help="Give holds back unspent.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Tell what would be given back; change nothing.")
@json_option
@pass_context
def release(context: Context, ids: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Give holds back under which nothing was spent. One that has ended stays as it is.

    \b
    Example:
      k1ctl budget release "$id"
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.limits import amount

    ledger = Ledger(context.workspace, context.config)
    for id_ in ids:
        ledger.hold(id_)  # all of them are there, or none is given back
    found = [ledger.hold(id_) if dry_run else ledger.release(id_) for id_ in ids]
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, "released": [hold.document() for hold in found]})
        return
    for hold in found:
        if hold.again or (dry_run and hold.state != "open"):
            say(f"k1ctl: {hold.id} is {hold.state} already")
        else:
            verb = "would be given back" if dry_run else "given back"
            say(f"k1ctl: {verb}: {amount(0, hold.tokens)} of {hold.agent} ({hold.id})")
