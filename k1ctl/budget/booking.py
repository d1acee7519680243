"""Booking what was used without a hold: as agents' own transcripts tell it, each message once."""

from __future__ import annotations

from k1ctl.budget.holds import check_name
from k1ctl.budget.tokens import Usage
from k1ctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any

    from k1ctl.budget.ledger import Ledger

_MESSAGE = "SELECT day, hour, agent, task, pool, model, input, output, cache_write, cache_read, micro_usd FROM messages"
_PUT = f"INSERT OR REPLACE INTO messages VALUES({', '.join('?' * 13)})"


class Booking:
    """``used`` at the instant ``at`` (None: now) by ``agent``; ``message_id`` tells repeated reports of one message,
    "" is never repeated; ``micro_usd`` what it cost (None: by the price of ``model``). Raises UsageError."""

    __slots__ = ("agent", "at", "message_id", "micro_usd", "model", "pool", "task", "used")

    def __init__(
        self,
        used: Usage,
        agent: str,
        task: str = "",
        pool: str = "",
        model: str = "",
        message_id: str = "",
        at: float | None = None,
        micro_usd: int | None = None,
    ) -> None:
        for what, name in (("agent", agent), ("task", task), ("pool", pool), ("model", model), ("id", message_id)):
            check_name(what, name)
        if not agent:
            raise UsageError("whose budget is it?", hint="name the agent")
        self.used, self.agent, self.task, self.pool, self.model = used, agent, task, pool, model
        self.message_id, self.at, self.micro_usd = message_id, at, micro_usd


def book(ledger: Ledger, db: sqlite3.Connection, booking: Booking, wall: float) -> int:
    """Book it within a transaction of the ledger; the counted tokens that it added.

    Reported before, it adds what each class has grown by, where and when it was booked first: streamed messages are
    reported block by block, with output that grows.
    """
    from k1ctl.budget import holds

    used = booking.used
    place: tuple[Any, ...]
    day, hour = ledger.limits.place(wall if booking.at is None else booking.at)
    place, before, paid = (day, hour, booking.agent, booking.task, booking.pool, booking.model), Usage(), 0
    row = None
    if booking.message_id:
        row = db.execute(f"{_MESSAGE} WHERE id = ?", (booking.message_id,)).fetchone()
    if row is not None:
        place, before, paid = tuple(row[:6]), Usage(*row[6:10]), row[10]
        used = before.larger(used)
    tokens = ledger.limits.counted(used) - ledger.limits.counted(before)
    whole = ledger.price(booking.model, used, booking.micro_usd)
    cost = max(0, whole - paid)
    if used == before and not cost:
        return 0
    hold = holds.Hold(
        (booking.message_id, holds.SETTLED, *place, 0, 0, 0, 0, 0, 0, 0, 0, wall, 0.0, 0.0, 0, 0, 0.0, "")
    )
    ledger.add(db, hold, used - before, tokens, cost, wall, "again" if row is not None else "")
    if booking.message_id:
        counted = ledger.limits.counted(used)
        db.execute(_PUT, (booking.message_id, *place, *used.classes, counted, paid + cost))
    return tokens
