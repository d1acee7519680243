"""The rows of the ledger in SQL: what each change writes within its transaction."""

from __future__ import annotations

from k1ctl.budget.holds import COLUMNS, OPEN, Hold, unknown
from k1ctl.budget.limits import Figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from typing import Any

    from k1ctl.budget.limits import Key
    from k1ctl.budget.tokens import Usage

_OPEN = f"SELECT {COLUMNS} FROM open_holds WHERE id = ?"
_ENDED = f"SELECT {COLUMNS} FROM ended_holds WHERE id = ?"
_PUT = f"INSERT INTO open_holds VALUES({', '.join('?' * 23)})"
_CHANGE = "UPDATE open_holds SET owner = ?, ttl = ?, booked = ?, booked_micro_usd = ? WHERE id = ?"
_END = f"INSERT OR REPLACE INTO ended_holds VALUES({', '.join('?' * 23)})"
_ADD = (
    "INSERT INTO counters VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET spent = spent + excluded.spent,"
    " held = held + excluded.held, spent_micro_usd = spent_micro_usd + excluded.spent_micro_usd,"
    " held_micro_usd = held_micro_usd + excluded.held_micro_usd"
)
_FIGURES = "SELECT spent, spent_micro_usd, held, held_micro_usd FROM counters WHERE scope = ? AND name = ?"
_USED = "SELECT scope, name, spent + held, spent_micro_usd + held_micro_usd FROM counters WHERE scope = ? AND name = ?"
# neither IN nor RETURNING: SQLite makes a temporary table for them, which takes as long as all else
_USED_OF = [" UNION ALL ".join([_USED] * n) for n in range(6)]  # a spending falls on five counters at most
_RECORD = (
    "INSERT INTO record(at, what, id, day, hour, agent, task, pool, model, input, output, cache_write, cache_read,"
    f" tokens, micro_usd, note) VALUES({', '.join('?' * 16)})"
)
_SPENT = " UNION ALL ".join(
    f"SELECT * FROM {table} WHERE day = ? AND hour = ? AND agent = ? AND task = ? AND pool = ? AND model = ?"
    for table in ("folded_spend", "fresh_spend")
)
_SPENT = (
    "SELECT IFNULL(SUM(input), 0), IFNULL(SUM(output), 0), IFNULL(SUM(cache_write), 0), IFNULL(SUM(cache_read), 0),"
    f" IFNULL(SUM(tokens), 0), IFNULL(SUM(micro_usd), 0) FROM ({_SPENT})"
)
_NAME = (
    "INSERT INTO usage_workspaces VALUES(?, ?) ON CONFLICT DO UPDATE SET name = excluded.name"
    " WHERE name != excluded.name"
)
_MARK = "INSERT OR IGNORE INTO marks VALUES(?, ?, ?, ?, ?)"
_FOLD = 512  # entries of the record, after which what they spent is folded
_FOLDS = (
    "INSERT INTO folded_spend SELECT day, hour, agent, task, pool, model, SUM(input), SUM(output), SUM(cache_write),"
    " SUM(cache_read), SUM(tokens), SUM(micro_usd) FROM fresh_spend WHERE TRUE"
    " GROUP BY day, hour, agent, task, pool, model ON CONFLICT DO UPDATE SET input = input + excluded.input,"
    " output = output + excluded.output, cache_write = cache_write + excluded.cache_write,"
    " cache_read = cache_read + excluded.cache_read, tokens = tokens + excluded.tokens,"
    " micro_usd = micro_usd + excluded.micro_usd",
    "UPDATE folded SET seq = (SELECT MAX(seq) FROM record)",
)


def known(db: sqlite3.Connection, id: str) -> tuple[Any, ...] | None:
    """The row of the hold with this id, in whatever state; None where there is none."""
    row: tuple[Any, ...] | None = db.execute(_OPEN, (id,)).fetchone() or db.execute(_ENDED, (id,)).fetchone()
    return row


def found(db: sqlite3.Connection, id: str) -> Hold:
    """The hold with this id. Raises HoldNotFoundError."""
    row = known(db, id)
    if row is None:
        raise unknown(id)
    return Hold(row)


def opened(db: sqlite3.Connection) -> list[Hold]:
    """The open holds, in the order they were made."""
    query = f"SELECT {COLUMNS} FROM open_holds ORDER BY since, id"
    return [Hold(row) for row in db.execute(query)]


def put(db: sqlite3.Connection, hold: Hold) -> None:
    """Write down a new hold."""
    db.execute(_PUT, hold.row)


def name(db: sqlite3.Connection, worktree: str, name: str) -> None:
    """Remember what the workspace of a worktree is called, where that is not its folder's name."""
    db.execute(_NAME, (worktree, name))


def spent(db: sqlite3.Connection, hold: Hold) -> list[int]:
    """(Four classes, tokens, micro-dollars) that were spent where a hold is booked."""
    place = (hold.day, hold.hour, hold.agent, hold.task, hold.pool, hold.model)
    return list(db.execute(_SPENT, (*place, *place)).fetchone())


def add(db: sqlite3.Connection, keys: Sequence[Key], spent: tuple[int, int], held: tuple[int, int]) -> None:
    """Add to these counters."""
    amounts = (spent[0], held[0], spent[1], held[1])
    db.executemany(_ADD, [(*key, *amounts) for key in keys])


def figures(db: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, Figures]:
    """What these counters have."""
    found = {key: db.execute(_FIGURES, key).fetchone() or (0, 0, 0, 0) for key in keys}
    return {key: Figures(row[:2], row[2:]) for key, row in found.items()}


def used(db: sqlite3.Connection, keys: Sequence[Key]) -> list[tuple[str, str, int, int]]:
    """(scope, name, counted tokens, micro-dollars), spent and held, of the counters that one spending falls on."""
    found = db.execute(_USED_OF[len(keys)], [word for key in keys for word in key]).fetchall()
    if len(found) == len(keys):
        return found
    there = {(row[0], row[1]) for row in found}
    return found + [(*key, 0, 0) for key in keys if key not in there]


def mark(db: sqlite3.Connection, key: Key, most: int, percent: int, at: float) -> bool:
    """Remember that so much of the limit ``most`` of a counter was passed; whether that is new."""
    return db.execute(_MARK, (*key, most, percent, at)).rowcount > 0


def change(db: sqlite3.Connection, hold: Hold) -> None:
    """Write down what can change in a hold."""
    if hold.state == OPEN:
        db.execute(_CHANGE, (hold.owner, hold.ttl, hold.booked, hold.booked_micro_usd, hold.id))
    else:
        db.execute("DELETE FROM open_holds WHERE id = ?", (hold.id,))
        db.execute(_END, hold.row)


def record(
    db: sqlite3.Connection, at: float, what: str, hold: Hold, usage: Usage, tokens: int, micro_usd: int, note: str = ""
) -> None:
    """Add an entry to the record."""
    enter(db, at, what, hold, hold.model, (*usage.classes, tokens, micro_usd), note)


def enter(
    db: sqlite3.Connection, at: float, what: str, hold: Hold, model: str, numbers: Sequence[int], note: str = ""
) -> None:
    """`record` for a ``model`` of its own; ``numbers``: four classes, tokens, micro-dollars, which may be negative."""
    named = (hold.id, hold.day, hold.hour, hold.agent, hold.task, hold.pool, model)
    entry = db.execute(_RECORD, (at, what, *named, *numbers, note))
    if not entry.lastrowid or entry.lastrowid % _FOLD == 0:
        for statement in _FOLDS:
            db.execute(statement)
