"""``k1ctl budget settle``: book what was really used under a hold."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say
from k1ctl_plugins.budget import words


@click.command(short_help="Book what was really used under a hold, once.")
@click.argument("id_", metavar="ID")
@click.argument("tokens", metavar="[TOKENS]", type=words.TOKENS, required=False)
@words.by_class
@click.option("--dry-run", is_flag=True, help="Book nothing; tell what would be booked.")
@json_option
@pass_context
def settle(context: Context, /, id_: str, tokens: int | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Book what was really used under the hold ID, in all (TOKENS) or by class; without either, what was held.

    Once: a further call changes nothing and tells what was booked. A hold that was lost or released is settled late.
    More than was held is an overrun: it is booked in full, told as an event, and leaves less for the next. What this
    acknowledged is kept through a loss of power.

    \b
    Example:
      k1ctl budget settle "$id" 41200
      k1ctl budget settle "$id" --input 3k --output 2100 --cache-read 180k
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.limits import amount

    ledger, used = Ledger(context.workspace, context.config), words.amount(tokens, options)
    if dry_run:
        hold = ledger.hold(id_)
        booked = hold.tokens if used is None else ledger.limits.counted(used)
        again = hold.state == "settled"
        if as_json:
            emit_json({"ok": True, "dry_run": True, "again": again, "tokens": booked, "hold": hold.document()})
        else:
            put("was settled before; nothing would be booked" if again else f"would book {amount(0, booked)}")
        return
    settled = ledger.settle(id_, used, micro_usd=words.micro_usd(options))
    if as_json:
        emit_json({"ok": True, **settled.document()})
        return
    hold = settled.hold
    for unit, (over, held) in enumerate(zip(hold.overrun, (hold.tokens, hold.micro_usd), strict=True)):
        if over and not settled.again:
            say(f"k1ctl: overrun: {amount(unit, over)} more than the {amount(unit, held)} held")
    late = " late, the hold had ended" if settled.late else ""
    put(f"{'was settled before: ' if settled.again else ''}booked {amount(0, settled.booked)}{late}")
