"""The proof of the books: the append-only record is replayed, and every sum and hold has to come out as it stands."""

from __future__ import annotations

from k1ctl.budget.holds import COLUMNS, LOST, OPEN, RELEASED, SETTLED
from k1ctl.budget.limits import keys_of, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any

    from k1ctl.budget.limits import Key
    from k1ctl.state import State

_RECORD = (
    "SELECT seq, what, id, day, hour, agent, task, pool, model, input, output, cache_write, cache_read, tokens,"
    " micro_usd FROM record ORDER BY seq"
)
_ENDS = {"settle": SETTLED, "release": RELEASED, "lost": LOST}
_MOST = 50  # differences that are told


class Proof:
    """``entries`` of the record replayed, ``holds``, ``counters``, ``spends`` (rows of it) and ``messages`` compared;
    the ``differences``, in sentences, at most `_MOST` of the ``wrong`` ones."""

    def __init__(self) -> None:
        self.entries = self.holds = self.counters = self.spends = self.messages = self.wrong = 0
        self.tokens = self.micro_usd = 0
        self.differences: list[str] = []

    def differ(self, text: str) -> None:
        """Note what is wrong."""
        self.wrong += 1
        if len(self.differences) < _MOST:
            self.differences.append(text)

    def document(self) -> dict[str, Any]:
        """The proof as JSON."""
        return {
            "ok": not self.wrong,
            "entries": self.entries,
            "holds": self.holds,
            "counters": self.counters,
            "spend_rows": self.spends,
            "messages": self.messages,
            "spent_tokens": self.tokens,
            "spent_micro_usd": self.micro_usd,
            "wrong": self.wrong,
            "differences": self.differences,
        }


class _Replay:
    """What the record comes to: counters (spent, held, and both in micro-dollars), spend by place, holds."""

    def __init__(self, proof: Proof) -> None:
        self.proof = proof
        self.counters: dict[Key, list[int]] = {}
        self.spend: dict[tuple[Any, ...], list[int]] = {}
        self.holds: dict[str, list[Any]] = {}  # state, tokens, micro_usd held, booked, booked_micro_usd, place, classes
        self.moved: dict[tuple[Any, ...], list[int]] = {}  # from model to model, of each hold
        self.messages: dict[str, list[Any]] = {}  # place, classes, micro_usd
        self.alone: dict[
            tuple[str, str], list[int]
        ] = {}  # booked under no hold, by agent and model: classes, micro_usd

    def entry(self, row: tuple[Any, ...]) -> None:
        """One line of the record."""
        seq, what, id, place, usage, tokens, cost = row[0], row[1], row[2], row[3:9], row[9:13], row[13], row[14]
        hold = self.holds.get(id)
        if what == "reserve":
            if hold is not None:
                self.proof.differ(f"entry {seq}: {id} is reserved a second time")
            self.holds[id] = [OPEN, tokens, cost, 0, 0, place, usage]
            self.add(place, held=(tokens, cost))
        elif what == "book":
            self.spent(place, usage, tokens, cost)
            if id:
                told = self.messages.setdefault(id, [place, 0, 0, 0, 0, 0])
                told[1:] = [a + b for a, b in zip(told[1:], (*usage, cost), strict=True)]
            else:
                alone = self.alone.setdefault((place[2], place[5]), [0] * 5)
                alone[:] = [a + b for a, b in zip(alone, (*usage, cost), strict=True)]
        elif what == "exceed" and hold is not None:
            self.spent(place, usage, tokens, cost)
            hold[3:5] = [hold[3] + tokens, hold[4] + cost]
        elif what == "model" and hold is not None:
            self.spent(place, usage, tokens, cost)
            moved = self.moved.setdefault((id, place[:5]), [0] * 6)
            moved[:] = [a + b for a, b in zip(moved, (*usage, tokens, cost), strict=True)]
        elif hold is None:
            self.proof.differ(f"entry {seq}: {what} of {id}, which was never reserved")
        elif what in _ENDS:
            if hold[0] == SETTLED or (what != "settle" and hold[0] != OPEN):
                self.proof.differ(f"entry {seq}: {what} of {id}, which was {hold[0]}")
            if hold[0] == OPEN:
                self.add(place, held=(-hold[1], -hold[2]))
            hold[0] = _ENDS[what]
            if what == "settle":
                hold[3:5] = [hold[3] + tokens, hold[4] + cost]
                self.spent(place, usage, tokens, cost)
        elif what != "extend":
            self.proof.differ(f"entry {seq}: {what!r} is nothing that happens")

    def spent(self, place: tuple[Any, ...], usage: tuple[int, ...], tokens: int, cost: int) -> None:
        row = self.spend.setdefault(place, [0] * 6)
        for i, n in enumerate((*usage, tokens, cost)):
            row[i] += n
        self.add(place, spent=(tokens, cost))
        self.proof.tokens += tokens
        self.proof.micro_usd += cost

    def add(self, place: tuple[Any, ...], spent: tuple[int, int] = (0, 0), held: tuple[int, int] = (0, 0)) -> None:
        day, hour, agent, task, pool, _ = place
        for key in keys_of(day, hour, agent, task, pool):
            row = self.counters.setdefault(key, [0] * 4)
            for i, n in enumerate((spent[0], held[0], spent[1], held[1])):
                row[i] += n


def verify(state: State) -> Proof:
    """Replay the record and compare all of it, on one view of the file. Changes nothing. Raises ConfigError."""
    proof = Proof()
    if state.exists:
        state.read(lambda db: _verify(db, proof))
    return proof


def _verify(db: sqlite3.Connection, proof: Proof) -> None:
    for (text,) in db.execute("PRAGMA integrity_check"):
        if text != "ok":
            proof.differ(f"the file itself: {text}")
    replay = _Replay(proof)
    last = 0
    for row in db.execute(_RECORD):
        if row[0] != last + 1:
            proof.differ(f"entries {last + 1} to {row[0] - 1} of the record are gone")
        last = row[0]
        replay.entry(row)
        proof.entries += 1
    _compare_counters(db, replay, proof)
    _compare_spend(db, replay, proof)
    _compare_holds(db, replay, proof)
    _compare_messages(db, replay, proof)
    _compare_transcripts(db, replay, proof)


def _compare_counters(db: sqlite3.Connection, replay: _Replay, proof: Proof) -> None:
    query = "SELECT scope, name, spent, held, spent_micro_usd, held_micro_usd FROM counters"
    there = {(row[0], row[1]): list(row[2:]) for row in db.execute(query)}
    proof.counters = len(there)
    for key in sorted({*there, *replay.counters}):
        has, sums = there.get(key, [0] * 4), replay.counters.get(key, [0] * 4)
        if has != sums:
            proof.differ(f"{named(key)}: (spent, held, both in micro-dollars) is {has}, the record comes to {sums}")
        if min(has) < 0:
            proof.differ(f"{named(key)}: {has} is less than nothing")


def _compare_spend(db: sqlite3.Connection, replay: _Replay, proof: Proof) -> None:
    for (id, _), moved in replay.moved.items():
        if any(moved):
            proof.differ(f"hold {id}: {moved} is more under its models than was taken from one to the other")
    there = {tuple(row[:6]): list(row[6:]) for row in db.execute("SELECT * FROM spend")}
    proof.spends = len(there)
    for place in sorted({*there, *replay.spend}):
        has, sums = there.get(place), replay.spend.get(place)
        if has != sums:
            proof.differ(f"spend of {' '.join(map(str, place))} is {has}, the record comes to {sums}")


def _compare_holds(db: sqlite3.Connection, replay: _Replay, proof: Proof) -> None:
    names = COLUMNS.split(", ")
    picked = [names.index(n) for n in ("state", "tokens", "micro_usd", "booked", "booked_micro_usd")]
    there: dict[str, list[Any]] = {}
    for table, ended in (("open_holds", False), ("ended_holds", True)):
        for row in db.execute(f"SELECT {COLUMNS} FROM {table}"):
            if row[0] in there or (row[1] != OPEN) != ended:
                proof.differ(f"hold {row[0]} is in {table} as {row[1]}{' and in open_holds' * (row[0] in there)}")
            there[row[0]] = [*(row[i] for i in picked), row[2:8], row[8:12]]
    proof.holds = len(there)
    for id in sorted({*there, *replay.holds}):
        if there.get(id) != replay.holds.get(id):
            proof.differ(f"hold {id} is {there.get(id)}, the record comes to {replay.holds.get(id)}")


def _compare_messages(db: sqlite3.Connection, replay: _Replay, proof: Proof) -> None:
    named, classes = "day, hour, agent, task, pool, model", "input, output, cache_write, cache_read"
    query = f"SELECT id, {named}, {classes}, micro_usd FROM messages"
    there = {row[0]: [row[1:7], *row[7:]] for row in db.execute(query)}
    proof.messages = len(there)
    for id in sorted({*there, *replay.messages}):
        if there.get(id) != replay.messages.get(id):
            proof.differ(f"message {id} is {there.get(id)}, the record comes to {replay.messages.get(id)}")


def _compare_transcripts(db: sqlite3.Connection, replay: _Replay, proof: Proof) -> None:
    """What transcripts told of each hold is the sum of its messages, and is booked once the hold has ended."""
    sums = "SUM(input), SUM(output), SUM(cache_write), SUM(cache_read), SUM(micro_usd)"
    query = f"SELECT hold, {sums} FROM usage_messages WHERE hold != '' GROUP BY hold"
    told = {row[0]: row[1:] for row in db.execute(query)}
    kept = {row[0]: row[1:] for row in db.execute("SELECT * FROM usage_holds")}
    for id in sorted({*told, *kept}):
        row = kept.get(id, (0,) * 7)
        if told.get(id, (0,) * 5) != (*row[:4], row[5]):
            proof.differ(f"transcripts of hold {id}: {row} is kept, its messages come to {told.get(id)}")
        hold = replay.holds.get(id, [""] * 6)
        if row[6] != OPEN and (hold[0] != SETTLED or hold[3] < row[4] or hold[4] < row[5]):
            proof.differ(f"transcripts of hold {id} tell {row[4:6]}, and booked is {hold[3:5]}")
    messages, models = (
        {row[:2]: row[2:] for row in db.execute(f"SELECT hold, model, {sums} FROM {t} WHERE hold != '' GROUP BY 1, 2")}
        for t in ("usage_messages", "usage_models")
    )
    for key in sorted({*messages, *models}):
        has, sum_ = models.get(key), messages.get(key)
        if has != sum_:
            proof.differ(f"transcripts of hold {key[0]} by {key[1]}: {has} is kept, its messages come to {sum_}")
    _compare_days(db, replay, proof)


def _compare_days(db: sqlite3.Connection, replay: _Replay, proof: Proof) -> None:
    """The sums by day are those of the messages, and what came under no hold is booked."""
    sums = "SUM(input), SUM(output), SUM(cache_write), SUM(cache_read), SUM(micro_usd)"
    messages, days = (
        {row[:3]: row[3:] for row in db.execute(f"SELECT day, agent, model, {sums} FROM {t} GROUP BY 1, 2, 3")}
        for t in ("usage_messages", "usage_days")
    )
    nothing = (0,) * 5
    for key in sorted({*messages, *days}):
        has, sum_ = days.get(key, nothing), messages.get(key, nothing)
        if has != sum_:
            proof.differ(f"transcripts of {' '.join(key)}: {has} is kept, the messages come to {sum_}")
    query = f"SELECT agent, model, {sums} FROM usage_messages WHERE hold = '' GROUP BY 1, 2"
    for agent, model, *told in db.execute(query):
        booked = replay.alone.get((agent, model), [*nothing])
        if any(a < b for a, b in zip(booked, told, strict=True)):
            proof.differ(f"transcripts of {agent} by {model} tell {told} under no hold, and booked is {booked}")
