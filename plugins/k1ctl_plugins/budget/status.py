"""``k1ctl budget status``: what is spent and held, of what, and by whom."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, table
from k1ctl.units import format_tokens


@click.command(short_help="What is spent and held today, of what limit, and by whom.")
@click.option("--agent", metavar="A", help="Only this agent's.")
@click.option("--task", metavar="T", help="Only this task's.")
@json_option
@pass_context
def status(context: Context, agent: str | None, task: str | None, as_json: bool) -> None:
    """What is spent and held now, of which limits, and who holds what.

    A hold counts until it is settled, given back, past its deadline, or its owner gone; those that are gone already are
    shown as such and not counted, but for a run's that nobody settled yet: what it spent is to be booked. Tokens count
    by their class's weight (budget.weights). Changes nothing.

    \b
    Example:
      k1ctl budget status
      k1ctl budget status --json | jq '.counters[] | select(.scope == "day").free_tokens'
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl_plugins.budget import status_state

    state = status_state.State(Ledger(context.workspace, context.config), agent, task)
    if as_json:
        emit_json({"ok": True, "root": context.workspace.root, **state.document()})
        return
    put(f"day {state.day} ({state.zone}), until {state.until[:19]}Z")
    put(table(state.rows(), ("OF", "SPENT", "HELD", "LIMIT", "FREE", "USED")))
    if state.limits.reserve and state.limits.tokens.get("day"):
        put(f"of the day's limit, {format_tokens(state.limits.reserve)} are for critical work only")
    if state.holds:
        put()
        put(table(state.hold_rows(), ("HOLD", "TOKENS", "AGENT", "TASK", "LEFT", "OWNER")))
