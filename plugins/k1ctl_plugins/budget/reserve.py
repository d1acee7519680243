"""``k1ctl budget reserve``: hold tokens before they are spent."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put
from k1ctl_plugins.budget import words


@click.command(short_help="Hold tokens before they are spent; prints the hold's id.")
@click.argument("tokens", metavar="[TOKENS]", type=words.TOKENS, required=False)
@words.whose
@words.by_class
@click.option("--ttl", type=DURATION, metavar="D", default=600.0, help="How long it holds at most (default: 10m).")
@click.option("--owner-pid", type=click.IntRange(min=2), metavar="PID", help="It also ends with this process.")
@click.option("--id", "id_", default="", metavar="ID", help="An id of your own: a repeated call finds the same hold.")
@click.option("--wait", type=DURATION, metavar="D", default=0.0, help="Wait at most D for room; then 75.")
@click.option("--dry-run", is_flag=True, help="Hold nothing; tell whether it would be held.")
@json_option
@pass_context
def reserve(
    context: Context,
    /,
    tokens: int | None,
    ttl: float,
    owner_pid: int | None,
    id_: str,
    wait: float,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Hold TOKENS, or --input, --output, --cache-write and --cache-read, and print the hold's id.

    It is held in one step against all limits: of the day, of the agent and day, of the task, of the pool and of the
    hour. Exit 75 (budget-exhausted): not now, with each reason, its numbers, and when it would fit. A hold ends when it
    is settled or released, at its deadline, or with --owner-pid; this call ends at once and owns nothing.

    \b
    Example:
      id=$(k1ctl budget reserve 50k --agent A --task T --ttl 10m) || exit
      id=$(k1ctl budget reserve 50k --owner-pid $$ --ttl 2h --wait 5m) || exit
      k1ctl budget settle "$id" 41200
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.waiting import reserve as hold

    need = words.amount(tokens, options)
    if need is None:
        raise UsageError("how many tokens?", hint="as in k1ctl budget reserve 50k --agent A --task T")
    if owner_pid is not None:
        from k1ctl import groups

        if not groups.living(owner_pid):
            raise UsageError(f"--owner-pid {owner_pid}: there is no such process", hint="in a shell: --owner-pid $$")
    who = {name: options[name] for name in ("task", "pool", "model", "critical")}
    who.update(agent=options["agent"] or context.workspace.name, micro_usd=words.micro_usd(options))
    ledger = Ledger(context.workspace, context.config)
    if dry_run:
        from k1ctl_plugins.budget.check import tell

        tell(ledger, need, who, as_json)
        return
    words.tell_unpriced(ledger, who["model"], who["micro_usd"])
    held = hold(ledger, need, wait=wait, ttl=ttl, owner=owner_pid or 0, id=id_, **who)
    if as_json:
        emit_json({"ok": True, "id": held.id, "again": held.again, "hold": held.document()})
    else:
        put(held.id)
