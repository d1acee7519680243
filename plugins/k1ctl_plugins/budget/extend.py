"""``k1ctl budget extend``: keep a hold for longer."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, put
from k1ctl.units import rfc3339


@click.command(short_help="Keep a hold for longer.")
@click.argument("id_", metavar="ID")
@click.option("--ttl", type=DURATION, metavar="D", default=600.0, help="At least so long from now (default: 10m).")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell whether the hold is open.")
@json_option
@pass_context
def extend(context: Context, id_: str, ttl: float, dry_run: bool, as_json: bool) -> None:
    """Keep the hold ID for at least D from now, never for less than it holds already. Prints its deadline.

    One that has ended cannot be brought back (exit 1, hold-ended): reserve anew.

    \b
    Example:
      k1ctl budget extend "$id" --ttl 30m
    """
    from k1ctl.budget.holds import OPEN, ended
    from k1ctl.budget.ledger import Ledger

    ledger = Ledger(context.workspace, context.config)
    hold = ledger.hold(id_) if dry_run else ledger.extend(id_, ttl)
    if hold.state != OPEN:
        raise ended(hold)
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, "hold": hold.document()})
    else:
        put(rfc3339(hold.until))
