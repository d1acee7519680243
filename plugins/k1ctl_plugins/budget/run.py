"""``k1ctl budget run``: a command with a hold of its own, settled when it ends."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.output import json_option
from k1ctl_plugins.budget import words


@click.command(short_help="Reserve, run a command, and settle what it used.")
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--estimate", type=words.TOKENS, metavar="TOKENS", required=True, help="What it will use, as 50k.")
@words.whose
@words.priced
@click.option("--wait", type=DURATION, metavar="D", default=0.0, help="Wait at most D for budget; then 75.")
@click.option("--settle-from", metavar="FILE", default="", help="What it used: FILE, which it writes (JSON).")
@click.option(
    "--settle-by",
    type=click.Choice(("estimate", "sync")),
    default="estimate",
    show_default=True,
    help="Where it does not say: book the estimate, or keep the hold for `budget sync`.",
)
@click.option("--dry-run", is_flag=True, help="Run nothing, hold nothing; tell whether it would be let in.")
@json_option
@pass_context
def run(
    context: Context, /, command: tuple[str, ...], estimate: int, dry_run: bool, as_json: bool, **options: Any
) -> int:
    """Hold the estimate, run CMD in this terminal, book what it used, and exit with its status.

    The hold belongs to CMD itself: it lasts as long as CMD does, also when this call is killed, and is booked then by
    whoever needs its room. CMD finds the file that it may write what it used to in K1CTL_BUDGET_USAGE (or the one of
    --settle-from), and the hold's id in K1CTL_BUDGET_HOLD. The file has one JSON document, or several, one a line,
    which are added up: {"input": 3000, "output": 2100, "cache_write": 0, "cache_read": 180000} or {"tokens": 41200},
    and "usd" where it is known. No budget is exit code 75, and nothing is run.

    \b
    Example:
      k1ctl budget run --estimate 50k --agent A --task T -- ./agent.sh
      k1ctl budget run --estimate 2M --wait 10m --settle-by sync -- claude -p "$prompt"
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl_plugins.budget import run_call

    if as_json and not dry_run:
        raise UsageError(
            "--json is for --dry-run", hint="what CMD prints is CMD's; k1ctl budget history has what it used"
        )
    who = {name: options[name] for name in ("task", "pool", "model", "critical")}
    who["agent"] = options["agent"] or context.workspace.name
    who["micro_usd"] = words.micro_usd(options)
    ledger = Ledger(context.workspace, context.config)
    if dry_run:
        from k1ctl_plugins.budget.check import tell

        tell(ledger, estimate, who, as_json)
        return 0
    words.tell_unpriced(ledger, who["model"], who["micro_usd"])
    call = run_call.Call(ledger, [*command], estimate, who)
    return call.run(options["wait"], options["settle_from"], options["settle_by"])
