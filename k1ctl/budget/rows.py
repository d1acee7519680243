"""The rows of the ledger in SQL: what each change writes within its transaction."""

from __future__ import annotations

from k1ctl.budget.holds import COLUMNS, Hold, unknown
from k1ctl.budget.limits import Figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from typing import Any

    from k1ctl.budget.limits import Key
    from k1ctl.budget.tokens import Usage

HOLD = f"SELECT {COLUMNS} FROM holds WHERE id = ?"
PUT = f"INSERT INTO holds VALUES({', '.join('?' * 22)})"
CHANGE = "UPDATE holds SET state = ?, owner = ?, ttl = ?, booked = ?, booked_micro_usd = ?, ended = ? WHERE id = ?"
_COUNT = (
    " ON CONFLICT DO UPDATE SET spent = spent + excluded.spent,"
    " held = held + excluded.held, spent_micro_usd = spent_micro_usd + excluded.spent_micro_usd,"
    " held_micro_usd = held_micro_usd + excluded.held_micro_usd"
    " RETURNING scope, name, spent, held, spent_micro_usd, held_micro_usd"
)
_COUNTS = [f"INSERT INTO counters VALUES{', '.join(['(?, ?, ?, ?, ?, ?)'] * n)}{_COUNT}" for n in range(6)]
_RECORD = (
    "INSERT INTO record(at, what, id, day, hour, agent, task, pool, model, input, output, cache_write, cache_read,"
    f" tokens, micro_usd, note) VALUES({', '.join('?' * 16)})"
)
_SPEND = (
    f"INSERT INTO spend VALUES({', '.join('?' * 12)}) ON CONFLICT DO UPDATE SET input = input + excluded.input,"
    " output = output + excluded.output, cache_write = cache_write + excluded.cache_write,"
    " cache_read = cache_read + excluded.cache_read, tokens = tokens + excluded.tokens,"
    " micro_usd = micro_usd + excluded.micro_usd"
)


def found(db: sqlite3.Connection, id: str) -> Hold:
    """The hold with this id. Raises HoldNotFoundError."""
    row = db.execute(HOLD, (id,)).fetchone()
    if row is None:
        raise unknown(id)
    return Hold(row)


def opened(db: sqlite3.Connection) -> list[Hold]:
    """The open holds, in the order they were made."""
    query = f"SELECT {COLUMNS} FROM holds WHERE state = 'open' ORDER BY since, id"
    return [Hold(row) for row in db.execute(query)]


def count(
    db: sqlite3.Connection, keys: Sequence[Key], spent: tuple[int, int], held: tuple[int, int]
) -> list[tuple[Any, ...]]:
    """Add to these counters, in one statement; (scope, name, spent, held, both in micro-dollars) of each after it."""
    values = [value for key in keys for value in (*key, spent[0], held[0], spent[1], held[1])]
    return db.execute(_COUNTS[len(keys)], values).fetchall()


def figures(db: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, Figures]:
    """What these counters have."""
    query = "SELECT spent, spent_micro_usd, held, held_micro_usd FROM counters WHERE scope = ? AND name = ?"
    found = {key: db.execute(query, key).fetchone() or (0, 0, 0, 0) for key in keys}
    return {key: Figures(row[:2], row[2:]) for key, row in found.items()}


def change(db: sqlite3.Connection, hold: Hold) -> None:
    """Write down what can change in a hold."""
    changed = (hold.state, hold.owner, hold.ttl, hold.booked, hold.booked_micro_usd, hold.ended)
    db.execute(CHANGE, (*changed, hold.id))


def record(
    db: sqlite3.Connection, at: float, what: str, hold: Hold, usage: Usage, tokens: int, micro_usd: int, note: str = ""
) -> None:
    """Add an entry to the record."""
    named = (hold.id, hold.day, hold.hour, hold.agent, hold.task, hold.pool, hold.model)
    db.execute(_RECORD, (at, what, *named, *usage.classes, tokens, micro_usd, note))


def spend(db: sqlite3.Connection, hold: Hold, usage: Usage, tokens: int, micro_usd: int) -> None:
    """Add to the spend of a hold's place."""
    named = (hold.day, hold.hour, hold.agent, hold.task, hold.pool, hold.model)
    db.execute(_SPEND, (*named, *usage.classes, tokens, micro_usd))
