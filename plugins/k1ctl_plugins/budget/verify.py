"""``k1ctl budget verify``: prove the books by replaying their record."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import WrongDataError
from k1ctl.output import emit_json, json_option, put
from k1ctl.units import format_tokens


@click.command(short_help="Replay the record and prove that every sum comes out.")
@json_option
@pass_context
def verify(context: Context, as_json: bool) -> None:
    """Replay the append-only record and compare: every counter, every hold, what was spent by day, agent, task, pool,
    model and hour, and that no entry is missing. Checks the file itself, too. Changes nothing.

    Exit 65 (books-differ) with each difference when something does not come out.

    \b
    Example:
      k1ctl budget verify
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.verify import verify as prove

    ledger = Ledger(context.workspace, context.config)
    proof = prove(ledger.state)
    if proof.wrong:
        raise WrongDataError(
            f"the books do not come out in {proof.wrong} places: {'; '.join(proof.differences[:3])}",
            hint="--json has them all; k1ctl budget export has the record",
            code="books-differ",
            **{k: v for k, v in proof.document().items() if k != "ok"},
        )
    if as_json:
        emit_json(proof.document())
        return
    sums = f"{proof.counters} counters, {proof.holds} holds and {proof.spends} rows of spend"
    put(f"{proof.entries} entries replayed: {sums} come out; {format_tokens(proof.tokens)} tokens spent in all")
