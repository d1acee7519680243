"""Which hold a message was used under, and what a transcript tells of it that is not booked yet.

Transcripts are the truth of what was used. A message is of the newest hold for its worktree (`Places.means`), for its
model or any, that was there when it came. An open hold is settled by its messages. One that somebody else settled, with
a number or an estimate, has told of them already: what was booked under it explains them, and only what exceeds that is
booked. One whose owner lives is the owner's to settle, as work under way would lose the rest of it with its first
message: what it holds explains them meanwhile. So under a hold is booked the larger of what was settled and what
transcripts tell.

What exceeds counts for day, hour and model of the message, and for agent, task and pool of the hold. All of what was
told stands under the messages' models, also where it was held for another, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.budget import prices, rows, settling
from k1ctl.budget.days import hour_of
from k1ctl.budget.holds import OPEN, SETTLED, Hold, HoldNotFoundError
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.tokens import Usage
from k1ctl.state import State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeVar

    from k1ctl.budget.holds import Clock, Settled
    from k1ctl.budget.sync_places import Places
    from k1ctl.budget.sync_store import Row

    T = TypeVar("T")
    _Candidate = tuple[float, str, str, float]  # since, id, model, until
    Change = tuple[Row, tuple[int, ...]]  # a message, and what came on: (messages, four classes, micro-dollars)

SYNCED = "synced"  # a hold that a sync has settled
_AT_ONCE = 500  # agents and worktrees in one question
# Until when messages are of a hold. One that somebody settled: until then, as work may outlast the deadline. What comes
# after the deadline of any other is nobody's: it would count for the task of a hold that was over.
_UNTIL = (
    "CASE state WHEN 'open' THEN since + ttl WHEN 'settled' THEN CASE WHEN EXISTS(SELECT 1 FROM usage_holds told"
    f" WHERE told.id = holds.id AND told.state = '{SYNCED}') THEN MIN(ended, since + ttl) ELSE ended END"
    " ELSE MIN(ended, since + ttl) END"
)
_CANDIDATES = (
    f"SELECT agent, worktree, since, id, model, {_UNTIL} FROM holds"
    " WHERE since <= ? AND CASE state WHEN 'open' THEN since + ttl ELSE ended END >= ?"
)
_KEPT = "SELECT input, output, cache_write, cache_read, tokens, micro_usd, state FROM usage_holds WHERE id = ?"
_MODELS = (
    "SELECT model, input, output, cache_write, cache_read, micro_usd, booked, booked_micro_usd FROM usage_models"
    " WHERE hold = ?"
)
_PUT_MODEL = f"INSERT OR REPLACE INTO usage_models VALUES({','.join('?' * 9)})"


class _Transaction(State):
    """The state within a transaction that is under way."""

    def within(self, db: sqlite3.Connection) -> _Transaction:
        self.running = db
        return self

    def write(self, step: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        return step(self.running)

    def read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        return step(self.running)


class Within(Ledger):
    """A ledger whose every call is part of one transaction, so that all of them are kept or none is."""

    quiet = False

    @classmethod
    def of(cls, ledger: Ledger, db: sqlite3.Connection, *, quiet: bool) -> Within:
        """``ledger`` within the transaction of ``db``; ``quiet``: it is going to be undone, and tells no events."""
        within = cls.__new__(cls)
        vars(within).update(vars(ledger))
        within.state = _Transaction(ledger.workspace).within(db)
        within.quiet = quiet
        return within

    def tell(self, event: str, **facts: Any) -> None:
        if not self.quiet:
            super().tell(event, **facts)


def assign(db: sqlite3.Connection, messages: Sequence[Row], places: Places) -> None:
    """Set ``hold`` of new messages: once and for all, so that what they grow by is of the same one."""
    if not messages:
        return
    by_place: dict[tuple[str, str], list[Row]] = {}
    for row in messages:
        by_place.setdefault((row.agent, row.worktree), []).append(row)
    times, sought = [row.at for row in messages], {word for place in by_place for word in place}
    words: tuple[float | str, ...]
    query, words = _CANDIDATES, (max(times), min(times))
    if len(sought) <= _AT_ONCE:
        marks = ",".join("?" * len(sought))
        query, words = f"{query} AND (agent IN ({marks}) OR worktree IN ({marks}))", (*words, *sought, *sought)
    holds: dict[str, list[_Candidate]] = {}
    for agent, worktree, *candidate in db.execute(query, words):
        holds.setdefault(places.means(agent, worktree), []).append(tuple(candidate))
    holds.pop("", None)
    for (agent, worktree), those in by_place.items():
        if found := holds.get(agent, []) + holds.get(worktree, []):
            _assign(sorted(those, key=lambda row: row.at), sorted(found))


def _assign(messages: Iterable[Row], holds: Sequence[_Candidate]) -> None:
    """Those of one workspace; both in order of time."""
    there: list[_Candidate] = []
    begun = 0
    for row in messages:
        while begun < len(holds) and holds[begun][0] <= row.at:
            there.append(holds[begun])
            begun += 1
        there = [hold for hold in there if hold[3] >= row.at]
        row.hold = next((id for _, id, model, _ in reversed(there) if _for(model, row.model)), "")


def _for(wanted: str, model: str) -> bool:
    """Whether a hold for the model ``wanted`` ("" any) is for ``model``, by any of its names."""
    return not wanted or bool({name.lower() for name in prices.names(wanted)} & set(prices.names(model)))


class Told:
    """What transcripts told of ``hold``: ``classes``, counted ``tokens`` and ``micro_usd`` in all; ``state`` as the
    last sync left it ("" none); ``models``: the same by model (four classes, micro-dollars; tokens and micro-dollars
    that stand under it in the ledger); ``changes`` are those of this call. Of them ``explained`` tokens were booked or
    held before; ``exceeded``: (tokens, micro-dollars) that were booked now; ``settled``: what a settle by them came to.
    """

    __slots__ = (
        "changes", "classes", "exceeded", "explained", "hold", "micro_usd", "models", "settled", "state", "tokens"
    )  # fmt: skip

    def __init__(self, db: sqlite3.Connection, hold: Hold) -> None:
        kept: tuple[Any, ...] = db.execute(_KEPT, (hold.id,)).fetchone() or (0, 0, 0, 0, 0, 0, "")
        self.hold, self.classes = hold, list(kept[:4])
        self.tokens: int = kept[4]
        self.micro_usd: int = kept[5]
        self.state: str = kept[6]
        self.models: dict[str, list[int]] = {row[0]: [*row[1:]] for row in db.execute(_MODELS, (hold.id,))}
        self.changes: list[Change] = []
        self.explained, self.exceeded = 0, (0, 0)
        self.settled: Settled | None = None

    def take(self, ledger: Ledger, db: sqlite3.Connection, clock: Clock) -> None:
        """Book what is not booked yet, and remember what was told."""
        hold = self.hold
        lives = hold.state == OPEN and hold.owner != 0 and not hold.gone(clock)
        if hold.state == OPEN and hold.of_run and not lives:
            settling.told_by_command(ledger, db, hold, clock[0])
        if hold.state == SETTLED or lives:
            held = (hold.tokens, hold.micro_usd) if lives else (0, 0)
            self.state = OPEN if lives else self.state if self.state == SYNCED else SETTLED
            self._exceed(ledger, db, held, clock[0])
        else:
            for row, added in self.changes:
                self._add(ledger, row.model, added)
            self.tokens = ledger.limits.counted(Usage(*self.classes))
            self.settled = ledger.settle(hold.id, Usage(*self.classes), micro_usd=self.micro_usd)
            self.hold, self.state = self.settled.hold, SYNCED
        if not lives:
            self._place(ledger, db, clock[0])
        db.executemany(_PUT_MODEL, [(self.hold.id, model, *numbers) for model, numbers in self.models.items()])
        kept = (self.hold.id, *self.classes, self.tokens, self.micro_usd, self.state)
        db.execute(f"INSERT OR REPLACE INTO usage_holds VALUES({','.join('?' * 8)})", kept)

    def _add(self, ledger: Ledger, model: str, added: tuple[int, ...]) -> int:
        """Add a change; the counted tokens that it adds."""
        numbers = self.models.setdefault(model, [0] * 7)
        numbers[:5] = [a + b for a, b in zip(numbers[:5], added[1:], strict=True)]
        before = ledger.limits.counted(Usage(*self.classes))
        self.classes = [a + b for a, b in zip(self.classes, added[1:5], strict=True)]
        tokens = ledger.limits.counted(Usage(*self.classes)) - before
        self.tokens, self.micro_usd = self.tokens + tokens, self.micro_usd + added[5]
        return tokens

    def _exceed(self, ledger: Ledger, db: sqlite3.Connection, held: tuple[int, int], wall: float) -> None:
        """Book what is more than was booked and is ``held``: first of what was told while it was open, then message by
        message, added up by hour and model."""
        hold = self.hold
        parts: dict[tuple[str, int, str], list[Any]] = {}
        cover = [hold.booked + held[0], hold.booked_micro_usd + held[1]]
        for step, (place, usage, tokens) in enumerate(self._steps(ledger)):
            due = [max(0, self.tokens - cover[0]), max(0, self.micro_usd - cover[1])]
            cover = [cover[0] + due[0], cover[1] + due[1]]
            self.explained += tokens - due[0] if step else 0
            if any(due):
                sums = parts.setdefault(place, [Usage(), 0, 0])
                sums[0] += usage.part(due[0], tokens) if due[0] else Usage()
                sums[1:] = [sums[1] + due[0], sums[2] + due[1]]
            if step:
                numbers = self.models[place[2]]
                numbers[5:] = [numbers[5] + due[0], numbers[6] + due[1]]
        for place, (usage, tokens, micro_usd) in parts.items():
            settling.exceed(ledger, db, hold, place, usage, (tokens, micro_usd), wall)
            self.exceeded = (self.exceeded[0] + tokens, self.exceeded[1] + micro_usd)
        more = self.exceeded[0] or (self.exceeded[1] and hold.micro_usd)  # money of a hold without a price is no news
        if more and any(hold.overrun):
            settling.tell(ledger, hold)
        elif more and self.state == SETTLED:
            settling.tell(ledger, hold, "budget.exceeded")

    def _place(self, ledger: Ledger, db: sqlite3.Connection, wall: float) -> None:
        """What stands under the hold's model, or none, and was told, goes under the messages' models."""
        parts = []
        for model, numbers in self.models.items():
            usage = Usage(*numbers[:4])
            tokens = ledger.limits.counted(usage)
            more = (max(0, tokens - numbers[5]), max(0, numbers[4] - numbers[6]))
            numbers[5:] = [max(tokens, numbers[5]), max(numbers[4:7:2])]
            if any(more) and model != self.hold.model:
                parts.append((model, usage.part(more[0], tokens) if more[0] else Usage(), *more))
        if parts:
            settling.place(db, self.hold, parts, wall)

    def _steps(self, ledger: Ledger) -> Iterator[tuple[tuple[str, int, str], Usage, int]]:
        """(place, usage, counted tokens) of what was told before, and of each change, once it is added."""
        hold = self.hold
        yield (hold.day, hold.hour, hold.model), Usage(*self.classes), self.tokens
        for row, added in sorted(self.changes, key=lambda change: change[0].at):
            yield (row.day, hour_of(row.at), row.model), Usage(*added[1:5]), self._add(ledger, row.model, added)

    def document(self) -> dict[str, Any]:
        """The hold with what was used under it, as JSON; ``too_much_tokens`` were settled, and not used as yet."""
        hold = self.hold
        return {
            "hold": hold.document(),
            "used_tokens": self.tokens,
            "used_micro_usd": self.micro_usd,
            "booked_tokens": hold.booked,
            "booked_micro_usd": hold.booked_micro_usd,
            "explained_tokens": self.explained,
            "exceeded_tokens": self.exceeded[0],
            "exceeded_micro_usd": self.exceeded[1],
            "too_much_tokens": max(0, hold.booked - self.tokens) if hold.state == SETTLED else 0,
        }


def told(db: sqlite3.Connection, changed: Iterable[Change]) -> tuple[list[Told], list[Change]]:
    """(each hold with its changes, what was used under none); all that were open when last seen are among them."""
    found = {id: Told(db, rows.found(db, id)) for id in _open(db)}
    alone: list[Change] = []
    for row, added in changed:
        if row.hold and row.hold not in found:
            try:
                found[row.hold] = Told(db, rows.found(db, row.hold))
            except HoldNotFoundError:
                row.hold = ""
        if row.hold:
            found[row.hold].changes.append((row, added))
        else:
            alone.append((row, added))
    return list(found.values()), alone


def waiting(db: sqlite3.Connection, clock: Clock) -> bool:
    """Whether a hold has ended since a sync was told of it, so that there is something to book without any message."""
    those = [rows.found(db, id) for id in _open(db)]
    return any(hold.state != OPEN or not hold.owner or hold.gone(clock) for hold in those)


def _open(db: sqlite3.Connection) -> list[str]:
    return [id for (id,) in db.execute("SELECT id FROM usage_holds WHERE state = 'open'")]
