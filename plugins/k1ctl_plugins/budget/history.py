"""``k1ctl budget history``: what was spent, by day, agent, task, pool, model or hour."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put, table

BY = ("day", "agent", "task", "pool", "model", "hour")


@click.command(short_help="What was spent, by day, agent, task, pool, model or hour.")
@click.option(
    "--days", type=click.IntRange(min=1, max=3660), default=30, show_default=True, help="So many, with today."
)
@click.option("--by", type=click.Choice(BY), multiple=True, help="Sums by this; may be repeated (default: day).")
@click.option("--agent", metavar="A", help="Only this agent's.")
@click.option("--task", metavar="T", help="Only this task's.")
@json_option
@pass_context
def history(
    context: Context, days: int, by: tuple[str, ...], agent: str | None, task: str | None, as_json: bool
) -> None:
    """What was settled and booked, in four classes of tokens, as they count (WEIGHED) and in dollars.

    \b
    Example:
      k1ctl budget history --days 7
      k1ctl budget history --by agent --by model --json
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.limits import dollars
    from k1ctl.units import format_tokens, rfc3339

    if len(set(by)) != len(by):
        raise UsageError("--by names the same twice")
    keys = by or ("day",)
    rows = _rows(Ledger(context.workspace, context.config), days, keys, agent, task)
    if as_json:
        for row in rows:
            if "hour" in row:
                row["hour_utc"] = rfc3339(row.pop("hour") * 3600)
        emit_json({"ok": True, "by": list(keys), "rows": rows})
        return
    if not rows:
        put(f"nothing was spent in {days} days")
        return
    names = ("input", "output", "cache_write", "cache_read", "tokens")
    cells: list[list[object]] = []
    for row in rows:
        shown = [rfc3339(row[key] * 3600)[:13] + "h" if key == "hour" else row[key] or "-" for key in keys]
        cells.append([*shown, *(format_tokens(row[n]) for n in names), dollars(row["micro_usd"])])
    heads = [*(key.upper() for key in keys), "INPUT", "OUTPUT", "CACHE WRITE", "CACHE READ", "WEIGHED", "COST"]
    put(table(cells, heads))


def _rows(ledger: Any, days: int, keys: tuple[str, ...], agent: str | None, task: str | None) -> list[dict[str, Any]]:
    from datetime import date, timedelta

    from k1ctl.budget.days import day_of

    if not ledger.state.exists:
        return []
    today = date.fromisoformat(day_of(ledger.clock()[0], ledger.limits.zone))
    wanted, values = ["day >= ?"], [(today - timedelta(days=days - 1)).isoformat()]
    for name, value in (("agent", agent), ("task", task)):
        if value is not None:
            wanted.append(f"{name} = ?")
            values.append(value)
    names = ("input", "output", "cache_write", "cache_read", "tokens", "micro_usd")
    group = ", ".join(keys)
    query = f"SELECT {group}, {', '.join(f'sum({n})' for n in names)} FROM spend"
    query += f" WHERE {' AND '.join(wanted)} GROUP BY {group} ORDER BY {group}"
    found = ledger.state.read(lambda db: db.execute(query, values).fetchall())
    return [dict(zip((*keys, *names), row, strict=True)) for row in found if any(row[len(keys) :])]
