"""The tables of ``ops/state.db``, as numbered steps: a file of any earlier number is brought to the last one.

A step that was released is never changed; what comes later is a further step. ``PRAGMA user_version`` has the number
of the last one that a file went through, ``PRAGMA application_id`` tells k1ctl's file from any other.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

APPLICATION = 0x4B316C64  # "K1ld"

_HOLD = """
    id TEXT PRIMARY KEY, state TEXT NOT NULL, day TEXT NOT NULL, hour INTEGER NOT NULL,
    agent TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL, model TEXT NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
    tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL, critical INTEGER NOT NULL,
    owner INTEGER NOT NULL, since REAL NOT NULL, since_monotonic REAL NOT NULL, ttl REAL NOT NULL,
    booked INTEGER NOT NULL, booked_micro_usd INTEGER NOT NULL, ended REAL NOT NULL, worktree TEXT NOT NULL"""
_PLACE = "day, hour, agent, task, pool, model"
_SUMS = ("input", "output", "cache_write", "cache_read", "tokens", "micro_usd")

_LEDGER = (
    # a hold is counted under `counters` while it is open, and in no other state; open ones are few and looked up often
    f"CREATE TABLE open_holds({_HOLD}) WITHOUT ROWID",
    f"CREATE TABLE ended_holds({_HOLD}) WITHOUT ROWID",
    "CREATE VIEW holds AS SELECT * FROM open_holds UNION ALL SELECT * FROM ended_holds",
    """CREATE TABLE counters(
        scope TEXT NOT NULL, name TEXT NOT NULL,
        spent INTEGER NOT NULL, held INTEGER NOT NULL,
        spent_micro_usd INTEGER NOT NULL, held_micro_usd INTEGER NOT NULL,
        PRIMARY KEY(scope, name)) WITHOUT ROWID""",
    """CREATE TABLE messages(
        id TEXT PRIMARY KEY, day TEXT NOT NULL, hour INTEGER NOT NULL, agent TEXT NOT NULL, task TEXT NOT NULL,
        pool TEXT NOT NULL, model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE record(
        seq INTEGER PRIMARY KEY, at REAL NOT NULL, what TEXT NOT NULL, id TEXT NOT NULL,
        day TEXT NOT NULL, hour INTEGER NOT NULL, agent TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL,
        model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL, note TEXT NOT NULL)""",
    # what was spent by place: folded up to an entry of the record, and the entries after it
    """CREATE TABLE folded_spend(
        day TEXT NOT NULL, hour INTEGER NOT NULL, agent TEXT NOT NULL, task TEXT NOT NULL, pool TEXT NOT NULL,
        model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL,
        PRIMARY KEY(day, hour, agent, task, pool, model)) WITHOUT ROWID""",
    "CREATE TABLE folded(seq INTEGER NOT NULL)",
    "INSERT INTO folded VALUES(0)",
    f"""CREATE VIEW fresh_spend AS SELECT {_PLACE}, {", ".join(_SUMS)} FROM record
        WHERE seq > (SELECT seq FROM folded) AND what IN ('settle', 'book', 'exceed', 'model')""",
    f"""CREATE VIEW spend AS SELECT {_PLACE}, {", ".join(f"SUM({n}) AS {n}" for n in _SUMS)}
        FROM (SELECT * FROM folded_spend UNION ALL SELECT * FROM fresh_spend) GROUP BY {_PLACE}""",
    """CREATE TABLE marks(
        scope TEXT NOT NULL, name TEXT NOT NULL, most INTEGER NOT NULL, percent INTEGER NOT NULL, at REAL NOT NULL,
        PRIMARY KEY(scope, name, most, percent)) WITHOUT ROWID""",
    "CREATE TRIGGER record_is_kept BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'the record is kept'); END",
    "CREATE TRIGGER record_is_final BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'the record is final'); END",
)

_USAGE = (  # what transcripts told: how far each was read, every message once, sums by day
    """CREATE TABLE usage_files(
        path TEXT PRIMARY KEY, reader TEXT NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
        changed INTEGER NOT NULL, offset INTEGER NOT NULL, probe TEXT NOT NULL, memory TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE usage_messages(
        id TEXT NOT NULL, request TEXT NOT NULL, side INTEGER NOT NULL, at REAL NOT NULL, day TEXT NOT NULL,
        agent TEXT NOT NULL, model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        write_1h INTEGER NOT NULL, fast INTEGER NOT NULL, micro_usd INTEGER NOT NULL, hold TEXT NOT NULL,
        PRIMARY KEY(id, request)) WITHOUT ROWID""",
    # what messages told of a hold, and its state as the last sync left it
    """CREATE TABLE usage_holds(
        id TEXT PRIMARY KEY,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        tokens INTEGER NOT NULL, micro_usd INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX usage_holds_open ON usage_holds(id) WHERE state = 'open'",
    # the same by model, and what of it stands under that model
    """CREATE TABLE usage_models(
        hold TEXT NOT NULL, model TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        micro_usd INTEGER NOT NULL, booked INTEGER NOT NULL, booked_micro_usd INTEGER NOT NULL,
        PRIMARY KEY(hold, model)) WITHOUT ROWID""",
    """CREATE TABLE usage_days(
        day TEXT NOT NULL, agent TEXT NOT NULL, model TEXT NOT NULL, messages INTEGER NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cache_write INTEGER NOT NULL, cache_read INTEGER NOT NULL,
        micro_usd INTEGER NOT NULL,
        PRIMARY KEY(day, agent, model)) WITHOUT ROWID""",
    # worktrees whose workspace is not called as their folder
    "CREATE TABLE usage_workspaces(worktree TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID",
)

STEPS: tuple[tuple[str, ...], ...] = (_LEDGER, _USAGE)
"""Step N (from 1) brings a file of N - 1 to N; each statement by itself, all of them in one transaction."""


def different(db: sqlite3.Connection) -> str:
    """The first table, view, index or trigger of a file that is not as the steps it went through made it; "" none."""
    import sqlite3

    query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name"
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for step in STEPS[: db.execute("PRAGMA user_version").fetchone()[0]]:
            for statement in step:
                fresh.execute(statement)
        there, ours = dict(db.execute(query)), dict(fresh.execute(query))
    finally:
        fresh.close()
    return next((name for name, sql in ours.items() if there.get(name) != sql), "")
