"""What `budget sync` keeps in ops/state.db: how far each transcript was read, every message once, sums by day.

Messages, sums and positions change in one transaction, so that a kill between them books nothing twice and loses
nothing: what was read but not kept is read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.budget.transcripts import Position

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from typing import Any

    from k1ctl.budget.sync_places import Place
    from k1ctl.budget.transcripts import Message

_COLUMNS = (
    "id, request, side, at, day, agent, model, input, output, cache_write, cache_read, write_1h, fast, micro_usd, hold"
)
_AT_ONCE = 500  # ids in one question
_NOTHING = (0, 0, 0, 0)


class Row:
    """A message as it is kept; ``hold``: the one it was used under, "" none; ``worktree`` it was used in ("" not kept);
    ``was``: (request, four classes, micro-dollars) as the database has it, None if new."""

    __slots__ = (
        "agent", "at", "classes", "day", "fast", "hold", "id", "model", "request", "side", "was", "worktree",
        "write_1h",
    )  # fmt: skip

    def __init__(self, message: Message, place: Place, day: str) -> None:
        self.id, self.request, self.side, self.at = message.id, message.request, message.side, message.at
        self.model, (self.agent, self.worktree), self.day = message.model, place, day
        self.classes: tuple[int, int, int, int] = message[6:10]
        self.write_1h, self.fast, self.hold = message.write_1h, message.fast, ""
        self.was: tuple[str, tuple[int, int, int, int], int] | None = None

    @classmethod
    def kept(cls, found: tuple[Any, ...]) -> Row:
        row = cls.__new__(cls)
        row.id, row.request, row.side, row.at, row.day, row.agent, row.model = found[:7]
        row.classes, row.write_1h, row.fast, row.hold = found[7:11], found[11], bool(found[12]), found[14]
        row.was = (row.request, row.classes, found[13])
        return row

    def take(self, classes: tuple[int, int, int, int], write_1h: int, fast: bool) -> None:
        """Of each class the larger number."""
        mine = self.classes
        if classes != mine:
            a, b, c, d = classes
            self.classes = (max(mine[0], a), max(mine[1], b), max(mine[2], c), max(mine[3], d))
            self.write_1h = max(self.write_1h, write_1h)
        self.fast = self.fast or fast


class Batch:
    """Messages of several files, each merged into the one that it is a copy of."""

    def __init__(self, place: Callable[[str], Place], day: Callable[[float], str]) -> None:
        self.place, self.day = place, day
        self.rows: dict[str, list[Row]] = {}

    def add(self, reader: str, messages: Iterable[Message]) -> None:
        """Merge ``messages``, whose ids are those of ``reader`` alone."""
        for message in messages:
            self.merge(message._replace(id=f"{reader}:{message.id}"))

    def merge(self, message: Message) -> None:
        """Take one message in."""
        rows = self.rows.get(message.id)
        if rows is None:
            self.rows[message.id] = [self._row(message)]
            return
        for row in rows:  # by far the most: the next record of the same answer
            if row.request == message.request and row.side == message.side:
                row.take(message[6:10], message.write_1h, message.fast)
                return
        self._into(rows, self._row(message))

    def _row(self, message: Message) -> Row:
        return Row(message, self.place(message.folder), self.day(message.at))

    @staticmethod
    def _into(rows: list[Row], row: Row) -> None:
        """A copy has the same id and request. One beside the conversation may have another request, and counts only
        where no other of its id does."""
        beside = next((other for other in rows if other.side), None)
        same = next((other for other in rows if other.request == row.request), None)
        if row.side:
            if beside is not None:
                beside.take(row.classes, row.write_1h, row.fast)
        elif same is None and beside is None:
            rows.append(row)
        else:
            into = same if same is not None and not same.side else beside or same
            assert into is not None
            into.take(row.classes, row.write_1h, row.fast)
            into.side, into.request = False, row.request

    def join(self, db: sqlite3.Connection) -> None:
        """Merge what is here into what the database has."""
        fresh = self.rows
        self.rows = {}
        ids = list(fresh)
        for i in range(0, len(ids), _AT_ONCE):
            some = ids[i : i + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for found in db.execute(f"SELECT {_COLUMNS} FROM usage_messages WHERE id IN ({marks})", some):
                self.rows.setdefault(found[0], []).append(Row.kept(found))
        for key, rows in fresh.items():
            if key not in self.rows:
                self.rows[key] = rows
                continue
            for row in rows:
                self._into(self.rows[key], row)


def positions(db: sqlite3.Connection) -> dict[str, Position]:
    """How far each transcript was read."""
    rows = db.execute("SELECT path, inode, size, changed, offset, probe, memory FROM usage_files")
    return {row[0]: Position(*row[1:]) for row in rows}


def keep_positions(db: sqlite3.Connection, found: Iterable[tuple[str, str, Position]]) -> None:
    """Remember (reader, path, position) of files."""
    db.executemany(
        "INSERT OR REPLACE INTO usage_files(reader, path, inode, size, changed, offset, probe, memory)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        [(reader, path, *position) for reader, path, position in found],
    )


def keep(
    db: sqlite3.Connection, batch: Batch, cost: Callable[[Row], int], assign: Callable[[list[Row]], None]
) -> list[tuple[Row, tuple[int, ...]]]:
    """Merge ``batch`` into the database; each row that changed with what came on: (messages, four classes,
    micro-dollars). ``assign`` sets the hold of the new ones."""
    batch.join(db)
    assign([row for rows in batch.rows.values() for row in rows if row.was is None])
    changed: list[tuple[Row, tuple[int, ...]]] = []
    gone: list[tuple[str, str]] = []
    written = []
    for rows in batch.rows.values():
        for row in rows:
            request, classes, paid = row.was or ("", _NOTHING, 0)
            if row.was is not None and request == row.request and classes == row.classes:
                continue
            delta = [now - then for now, then in zip(row.classes, classes, strict=True)]
            micro_usd = max(paid, cost(row)) if any(delta) else paid  # what is kept is what is booked
            if row.was is not None and request != row.request:
                gone.append((row.id, request))
            named = (row.id, row.request, row.side, row.at, row.day, row.agent, row.model)
            written.append((*named, *row.classes, row.write_1h, row.fast, micro_usd, row.hold))
            if any(delta):
                changed.append((row, (row.was is None, *delta, micro_usd - paid)))
    db.executemany("DELETE FROM usage_messages WHERE id = ? AND request = ?", gone)
    db.executemany(
        f"INSERT OR REPLACE INTO usage_messages({_COLUMNS}) VALUES({','.join('?' * 15)})",
        written,
    )
    return changed


def keep_days(db: sqlite3.Connection, sums: dict[tuple[str, str, str], list[int]]) -> None:
    """Add to the sums of (day, agent, model): messages, four classes, micro-dollars."""
    db.executemany(
        "INSERT INTO usage_days VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(day, agent, model) DO UPDATE SET"
        " messages = messages + excluded.messages, input = input + excluded.input, output = output + excluded.output,"
        " cache_write = cache_write + excluded.cache_write, cache_read = cache_read + excluded.cache_read,"
        " micro_usd = micro_usd + excluded.micro_usd",
        [(*key, *values) for key, values in sums.items()],
    )


def days(db: sqlite3.Connection, since: str = "") -> list[dict[str, Any]]:
    """The sums from the day ``since`` on, in order of day, workspace and model."""
    names = ("day", "workspace", "model", "messages", "input", "output", "cache_write", "cache_read", "micro_usd")
    rows = db.execute("SELECT * FROM usage_days WHERE day >= ? ORDER BY day, agent, model", (since,))
    return [dict(zip(names, row, strict=True)) for row in rows]
