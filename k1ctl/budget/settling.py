"""What a settle books, what transcripts tell beyond one, and what a run is booked at that nobody settled.

Under a hold is booked the larger of what was settled and what transcripts told (`k1ctl.budget.sync_holds`): who comes
second adds what is missing. ``booked`` of a hold is all that was booked under it, also while it is open.
"""

from __future__ import annotations

from k1ctl.budget import money, rows
from k1ctl.budget.holds import OPEN, SETTLED, Hold, Settled
from k1ctl.budget.limits import keys_of
from k1ctl.budget.tokens import NOTHING, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from k1ctl.budget.ledger import Ledger

    Part = tuple[str, Usage, int, int]

OWNER_GONE = "owner gone"  # in the note of a settle that nobody made: the run's owner is gone


def settle(
    ledger: Ledger,
    db: sqlite3.Connection,
    hold: Hold,
    used: int | Usage | None,
    micro_usd: int | None,
    wall: float,
    why: str = "",
) -> Settled:
    """Settle ``hold`` within a transaction: book ``used`` (None: what it held), less what was booked under it before.

    ``why`` goes into the record's note. Raises UsageError.
    """
    if hold.state == SETTLED:
        return Settled(hold, again=True)
    late, before = hold.state != OPEN, (hold.booked, hold.booked_micro_usd)
    usage = hold.usage if used is None else used if isinstance(used, Usage) else NOTHING
    hold.booked = hold.tokens if used is None else ledger.limits.counted(used)
    cost = money.as_held(hold, used) if micro_usd is None else micro_usd
    hold.booked_micro_usd = ledger.price(hold.model, used or 0, cost)
    hold.state, hold.ended = SETTLED, wall
    spent = (hold.booked, hold.booked_micro_usd)
    if before != (0, 0):
        spent = (max(0, spent[0] - before[0]), max(0, spent[1] - before[1]))
        usage = usage.part(spent[0], hold.booked)
        hold.booked, hold.booked_micro_usd = before[0] + spent[0], before[1] + spent[1]
    keys = keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool)
    back = (0, 0) if late else (-hold.tokens, -hold.micro_usd)
    ledger.count(db, keys, wall, spent=spent, held=back, critical=True)
    rows.change(db, hold)
    note = " ".join(["late"] * late + ["overrun"] * any(hold.overrun) + [why] * bool(why))
    rows.record(db, wall, "settle", hold, usage, *spent, note)
    return Settled(hold, late=late)


def owed(ledger: Ledger, db: sqlite3.Connection, hold: Hold, wall: float) -> None:
    """Settle the hold of a run, which is over, and whose k1ctl was killed: with what its command told, else with the
    estimate. Nobody knows that it spent nothing."""
    if not told_by_command(ledger, db, hold, wall):
        settle(ledger, db, hold, None, None, wall, OWNER_GONE)


def told_by_command(ledger: Ledger, db: sqlite3.Connection, hold: Hold, wall: float) -> bool:
    """Settle the hold of such a run within a transaction with what its command told; False: it told nothing."""
    from k1ctl.budget import told

    try:
        found = told.read(told.path_of(ledger.workspace, hold.id))
    except ValueError:
        found = None
    if found is not None:
        settle(ledger, db, hold, *found, wall, OWNER_GONE)
    return found is not None


def forget(ledger: Ledger, hold: Hold) -> None:
    """After the transaction: what the command of a run told is booked."""
    from k1ctl.budget import told

    if hold.of_run and hold.state == SETTLED:
        told.remove(told.path_of(ledger.workspace, hold.id))


def exceed(
    ledger: Ledger,
    db: sqlite3.Connection,
    hold: Hold,
    place: tuple[str, int, str],
    usage: Usage,
    spent: tuple[int, int],
    wall: float,
) -> None:
    """Book ``spent`` (tokens, micro-dollars) more under ``hold`` within a transaction, open or settled, in ``place``:
    (day, hour, model) of what was used; agent, task and pool are the hold's."""
    day, hour, model = place
    there = Hold(hold.row)
    there.day, there.hour, there.model = day, hour, model
    hold.booked, hold.booked_micro_usd = hold.booked + spent[0], hold.booked_micro_usd + spent[1]
    ledger.count(db, keys_of(day, hour, hold.agent, hold.task, hold.pool), wall, spent=spent, critical=True)
    rows.change(db, hold)
    note = "overrun" if any(hold.overrun) else ""
    rows.record(db, wall, "exceed", there, usage, *spent, note)


def place(db: sqlite3.Connection, hold: Hold, parts: Sequence[Part], wall: float) -> None:
    """What is booked under ``hold`` stands under the models that it was used by, within a transaction: ``parts`` are
    (model, usage, tokens, micro-dollars). The sums stay; classes are known as far as they were settled by class."""
    left = rows.spent(db, hold)
    moved = []
    for model, usage, *amounts in parts:
        numbers = [max(0, min(most, n)) for most, n in zip(left, (*usage.classes, *amounts), strict=True)]
        left = [most - n for most, n in zip(left, numbers, strict=True)]
        if any(numbers):
            moved.append((model, numbers))
    if moved:
        rows.enter(db, wall, "model", hold, hold.model, [-sum(n) for n in zip(*(n for _, n in moved), strict=True)])
    for model, numbers in moved:
        rows.enter(db, wall, "model", hold, model, numbers)


def tell(ledger: Ledger, hold: Hold, event: str = "budget.overrun") -> None:
    """The event that more was booked under ``hold`` than it held (or, of another name, than was settled)."""
    words = {"id": hold.id, "agent": hold.agent, "task": hold.task, "held_tokens": hold.tokens}
    money = {"held_micro_usd": hold.micro_usd, "booked_micro_usd": hold.booked_micro_usd}
    ledger.tell(event, **words, booked_tokens=hold.booked, **money)
