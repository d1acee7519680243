"""``k1ctl budget check``: would it be held now? For hooks; holds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put
from k1ctl_plugins.budget import words

if TYPE_CHECKING:
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.tokens import Usage


@click.command(short_help="Tell whether there is budget for a need now: exit 0 or 75.")
@click.option("--need", type=words.TOKENS, metavar="TOKENS", required=True, help="As 50k.")
@words.whose
@words.priced
@json_option
@pass_context
def check(context: Context, /, need: int, as_json: bool, **options: Any) -> None:
    """Tell whether a reserve of that many tokens would be held now. Holds nothing, changes nothing.

    Exit 0: it would. Exit 75 (budget-exhausted): the reasons, the numbers, and when it would fit. Who looks and starts
    something later may find that others did the same: `budget reserve` and `budget run` do both in one step.

    \b
    Example:
      k1ctl budget check --need 50k --agent A --task T || exit
      k1ctl budget check --need 50k --model claude-opus-4-5 || exit
    """
    from k1ctl.budget.ledger import Ledger

    options["agent"] = options["agent"] or context.workspace.name
    options["micro_usd"] = words.micro_usd(options)
    del options["usd"]
    tell(Ledger(context.workspace, context.config), need, options, as_json)


def tell(ledger: Ledger, need: int | Usage, who: dict[str, Any], as_json: bool) -> None:
    """Print what a reserve would come to. Raises BusyError where it would be refused."""
    from k1ctl.budget.limits import amount, exhausted

    words.tell_unpriced(ledger, who["model"], who.get("micro_usd"))
    reasons, tokens = ledger.ask(need, **who), ledger.limits.counted(need)
    if reasons:
        raise exhausted(f"{amount(0, tokens)} of {who['agent']}", reasons)
    if as_json:
        emit_json({"ok": True, "go": True, "tokens": tokens, "agent": who["agent"], "reasons": []})
    else:
        put(f"{amount(0, tokens)} would be held for {who['agent']}")
