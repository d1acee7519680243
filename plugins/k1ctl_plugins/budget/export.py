"""``k1ctl budget export``: the record, or the spend, for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.state import State

_AT_ONCE = 5000  # entries
_CLASSES = "input, output, cache_write, cache_read, tokens, micro_usd"
_WHAT = {
    "record": f"seq, at, what, id, day, hour, agent, task, pool, model, {_CLASSES}, note",
    "spend": f"day, hour, agent, task, pool, model, {_CLASSES}",
}


@click.command(short_help="Print the record or the spend as JSON lines or CSV.")
@click.option(
    "--what", type=click.Choice(tuple(_WHAT)), default="record", show_default=True, help="Every change, or sums."
)
@click.option("--format", "form", type=click.Choice(("jsonl", "csv")), default="jsonl", show_default=True, help="How.")
@click.option("--since", metavar="DAY", default="", help="From this day on, as 2026-11-21.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@pass_context
def export(context: Context, what: str, form: str, since: str, as_json: bool) -> None:
    """Print the append-only record (every reserve, settle, release, loss, booking, excess and move to
    the model that was used, in order) or the spend.

    Times are RFC 3339, money is in micro-dollars.

    \b
    Example:
      k1ctl budget export > record.jsonl
      k1ctl budget export --what spend --format csv --since 2026-11-01
    """
    from k1ctl.budget.ledger import Ledger
    from k1ctl.errors import UsageError
    from k1ctl.output import emit_json, flush

    if since:
        from datetime import date

        try:
            since = date.fromisoformat(since).isoformat()
        except ValueError:
            raise UsageError(f"--since {since}: no day", hint="as in --since 2026-11-21") from None
    names = _WHAT[what].split(", ")
    ledger, lines = Ledger(context.workspace, context.config), _Lines(names, form)
    found: list[dict[str, Any]] = []
    if form == "csv" and not as_json:
        put(",".join(lines.heads))
    for row in _rows(ledger.state, what, since):
        if as_json:
            found.append(lines.named(row))
        else:
            put(lines.line(row))
    if as_json:
        emit_json({"ok": True, what: found})
    else:
        try:
            flush()
        except BrokenPipeError:
            return


def _rows(state: State, what: str, since: str) -> Iterator[tuple[Any, ...]]:
    """The rows as they are now. Whoever reads them slowly, or stops, keeps no transaction open: the log of the books
    would grow for as long. Of the record, which only grows, it is a part at a time."""
    if not state.exists:
        return
    query = f"SELECT {_WHAT[what]} FROM {what} WHERE day >= ?"
    if what != "record":
        yield from state.read(lambda db: db.execute(query, (since,)).fetchall())
        return
    (most,) = state.read(lambda db: db.execute("SELECT IFNULL(MAX(seq), 0) FROM record").fetchone())
    query += f" AND seq > ? AND seq <= ? ORDER BY seq LIMIT {_AT_ONCE}"
    last = 0
    while rows := state.read(lambda db, words=(since, last, most): db.execute(query, words).fetchall()):  # type: ignore[misc]
        yield from rows
        last = rows[-1][0]


class _Lines:
    def __init__(self, names: list[str], form: str) -> None:
        self.names, self.form = names, form
        self.heads = ["hour_utc" if n == "hour" else n for n in names]

    def named(self, row: tuple[Any, ...]) -> dict[str, Any]:
        from k1ctl.units import rfc3339

        found = dict(zip(self.heads, row, strict=True))
        if "at" in found:
            found["at"] = rfc3339(found["at"])
        found["hour_utc"] = rfc3339(found["hour_utc"] * 3600)
        return found

    def line(self, row: tuple[Any, ...]) -> str:
        found = self.named(row)
        if self.form == "csv":
            return ",".join(_quoted(value) for value in found.values())
        from k1ctl.jsontext import dumps

        return dumps(found)


def _quoted(value: object) -> str:
    """As RFC 4180 has it; a text that a spreadsheet would take for a formula begins with a quote."""
    text = str(value)
    if isinstance(value, str) and text[:1] in ("=", "+", "-", "@"):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text
