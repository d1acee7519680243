"""What a transcript tells settles the hold that it was used under: that agent's, open then, for that model or any.

One with a living owner is the owner's to settle: work under way would lose the rest of its hold with its first message.
One past its deadline is nobody's: what came later would count for the day of the hold, and not for its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.budget import prices
from k1ctl.budget.holds import COLUMNS, Hold
from k1ctl.budget.ledger import Ledger
from k1ctl.state import State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from k1ctl.budget.holds import Clock
    from k1ctl.budget.sync_store import Row

    T = TypeVar("T")
    Changed = Sequence[tuple[Row, tuple[int, ...]]]


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


def match(db: sqlite3.Connection, changed: Changed, clock: Clock) -> tuple[list[tuple[Hold, Changed]], Changed]:
    """(each open hold with what was used under it, what was used under none).

    Of several that an agent has open, a message is of the newest that was there when it came.
    """
    if not changed:
        return [], changed
    agents = {row.agent for row, _ in changed}
    times = [row.at for row, _ in changed]
    query = (
        f"SELECT {COLUMNS} FROM holds WHERE state = 'open' AND since <= ? AND since + ttl >= ? ORDER BY since DESC, id"
    )
    open_holds: dict[str, list[Hold]] = {}
    for found in db.execute(query, (max(times), min(times))):
        hold = Hold(found)
        if hold.agent in agents and not (hold.owner and not hold.gone(clock)):
            open_holds.setdefault(hold.agent, []).append(hold)
    if not open_holds:
        return [], changed
    under: dict[str, tuple[Hold, list[tuple[Row, tuple[int, ...]]]]] = {}
    alone = []
    for row, added in changed:
        holds = open_holds.get(row.agent, ())
        of = next((h for h in holds if h.since <= row.at <= h.until and _for(h.model, row.model)), None)
        if of is None:
            alone.append((row, added))
        else:
            under.setdefault(of.id, (of, []))[1].append((row, added))
    return list(under.values()), alone


def settle(ledger: Ledger, hold: Hold, changed: Changed) -> dict[str, Any]:
    """Settle ``hold`` with what was used under it; as JSON."""
    from k1ctl.budget.tokens import Usage

    sums = [sum(values) for values in zip(*(added for _, added in changed), strict=True)]
    return ledger.settle(hold.id, Usage(*sums[1:5]), micro_usd=sums[5]).document()


def _for(wanted: str, model: str) -> bool:
    """Whether a hold for the model ``wanted`` ("" any) is for ``model``, by any of its names."""
    return not wanted or bool({name.lower() for name in prices.names(wanted)} & set(prices.names(model)))
