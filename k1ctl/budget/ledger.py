"""The ledger: reserve before it is spent, settle what was spent, and never hand out more than there is.

Spend and holds are kept apart, each counter with both. A reserve adds to all counters it falls on (day, agent and day,
task, pool and day, hour) in one transaction and is undone when one of them would pass its limit, so no two can both get
the last tokens. Only who is about to be refused looks whether others' holds still hold. What was spent is booked in
full, whatever was held: an overrun is flagged and leaves less, or nothing, for the next. Its day is the reserve's.
"""

from __future__ import annotations

import os

from k1ctl.budget import holds, money, rows, settling
from k1ctl.budget.holds import LOST, OPEN, RELEASED, RUN_TTL, Hold, Settled
from k1ctl.budget.limits import Figures, Limits, Reason, Refused, amount, exhausted, keys_of, shown
from k1ctl.budget.tokens import NOTHING, Usage
from k1ctl.errors import UsageError
from k1ctl.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from k1ctl.budget.holds import Clock
    from k1ctl.budget.limits import Key
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

TTL = 600.0  # s


class Ledger:
    """The ledger of a root. ``durable``: what is settled and booked survives a loss of power when the call returns;
    a reserve survives any kill, and after a loss of power nobody is left whom it was for.

    ``clock`` tells both clocks, for tests.
    """

    def __init__(self, workspace: Workspace, config: Config, *, durable: bool = True) -> None:
        self.workspace, self.limits, self.durable = workspace, Limits(config), durable
        self.state = State(workspace)
        self._worktree = holds.made_in(workspace)
        self._named = workspace.name != os.path.basename(self._worktree)  # by Conductor
        self.clock: Callable[[], Clock] = holds.clock

    def reserve(
        self,
        need: int | Usage,
        *,
        agent: str,
        task: str = "",
        pool: str = "",
        model: str = "",
        ttl: float = TTL,
        owner: int = 0,
        id: str = "",
        critical: bool = False,
        micro_usd: int | None = None,
        now: float | None = None,
        quiet: bool = False,
    ) -> Hold:
        """Hold ``need`` tokens (counted ones, or by class) for ``ttl`` seconds, as long as process ``owner`` lives.

        ``id`` makes a repeated call find the same hold; ``critical`` may use the reserve pool; ``micro_usd`` is what it
        will cost (default: by the price of ``model``); ``quiet``: a refusal is no event. Raises BusyError
        (budget-exhausted), UsageError, HoldEndedError (the id's hold has ended), ConfigError.
        """
        wall, monotonic = self._now(now)
        hold = self._asked(need, agent, task, pool, model, critical, micro_usd, wall)
        hold.id, hold.owner, hold.ttl, hold.since_monotonic = id or hold.id, owner, float(ttl), monotonic
        self._check(hold)
        keys = keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool)

        def step(db: sqlite3.Connection) -> Hold:
            row = rows.known(db, hold.id) if id else None
            if row is not None:
                return holds.same(Hold(row, again=True), hold, (wall, monotonic))
            self.count(db, keys, wall, held=(hold.tokens, hold.micro_usd), critical=critical, refuse=True)
            rows.put(db, hold)
            if self._named and self._worktree:
                rows.name(db, self._worktree, self.workspace.name)
            rows.record(db, wall, "reserve", hold, hold.usage, hold.tokens, hold.micro_usd)
            return hold

        try:
            return self.state.write(step)
        except Refused:
            self.reclaim(now)
        try:  # also where others took them back meanwhile
            return self.state.write(step)
        except Refused as exc:
            raise self._exhausted(hold, exc.reasons, (wall, monotonic), quiet) from None

    def settle(
        self, id: str, used: int | Usage | None, *, micro_usd: int | None = None, now: float | None = None
    ) -> Settled:
        """Book what was really used under a hold, once; None: what it held. Any further call changes nothing.

        A hold that was lost or given back is settled late: what was spent was spent. Raises HoldNotFoundError,
        UsageError, ConfigError.
        """
        wall, _ = self._now(now)

        def step(db: sqlite3.Connection) -> Settled:
            return settling.settle(self, db, rows.found(db, id), used, micro_usd, wall)

        holds.check_used(used, micro_usd)
        settled = self.state.write(step, durable=self.durable)
        if settled.again and self.durable:
            self.state.fold()  # the first one's sync may have failed
        if any(settled.hold.overrun) and not settled.again:
            settling.tell(self, settled.hold)
        return settled

    def release(self, id: str, *, now: float | None = None) -> Hold:
        """Give a hold back unspent; one that has ended stays as it is. Raises HoldNotFoundError, ConfigError."""
        wall, _ = self._now(now)

        def step(db: sqlite3.Connection) -> Hold:
            hold = rows.found(db, id)
            if hold.state != OPEN:
                hold.again = True
                return hold
            self._end(db, hold, RELEASED, "release", wall)
            return hold

        return self.state.write(step)

    def extend(self, id: str, ttl: float, *, orphan: bool = False, now: float | None = None) -> Hold:
        """Keep an open hold for at least ``ttl`` seconds from now; ``orphan``: for so long, and without its owner.
        Raises HoldNotFoundError, HoldEndedError."""
        clock = self._now(now)
        holds.check_ttl(ttl)

        def step(db: sqlite3.Connection) -> Hold:
            hold = rows.found(db, id)
            if hold.state != OPEN:
                raise holds.ended(hold)
            age = hold.age(clock)
            until = (age if age < float("inf") else 0.0) + ttl
            if hold.owner and not hold.of_run:
                until = min(until, RUN_TTL - 1.0)
            hold.ttl, hold.owner = (until, 0) if orphan else (max(hold.ttl, until), hold.owner)
            rows.change(db, hold)
            rows.record(db, clock[0], "extend", hold, NOTHING, 0, 0, f"{hold.ttl:.3f}")
            return hold

        return self.state.write(step)

    def book(
        self,
        used: Usage,
        *,
        agent: str,
        task: str = "",
        pool: str = "",
        model: str = "",
        message_id: str = "",
        at: float | None = None,
        micro_usd: int | None = None,
    ) -> int:
        """Book what was used without a hold, on the day of ``at``; the counted tokens that it added. See `book_all`."""
        from k1ctl.budget.booking import Booking

        return self.book_all([Booking(used, agent, task, pool, model, message_id, at, micro_usd)])[0]

    def book_all(
        self, bookings: Iterable[Any], *, also: Callable[[sqlite3.Connection], None] | None = None
    ) -> list[int]:
        """Book many (`k1ctl.budget.booking.Booking`) in one transaction; the counted tokens that each added.

        A message that was booked before adds what its classes have grown by. ``also`` is run in the same transaction.
        Raises UsageError, ConfigError.
        """
        from k1ctl.budget.booking import book

        wall, _ = self._now(None)

        def step(db: sqlite3.Connection) -> list[int]:
            added = [book(self, db, each, wall) for each in bookings]
            if also is not None:
                also(db)
            return added

        return self.state.write(step, durable=self.durable)

    def reclaim(self, now: float | None = None) -> list[Hold]:
        """End the holds that are past their deadline or whose owner is gone; which they were. Those of runs that nobody
        settled are booked. Raises ConfigError."""
        clock = self._now(now)
        seen = [(each, why) for each in self.holds() if (why := each.gone(clock))]  # looked at without the lock
        gone = {each.id: why for each, why in seen}
        if not gone:
            return []

        def step(db: sqlite3.Connection) -> list[Hold]:
            ended = []
            for was, why in seen:
                hold = rows.found(db, was.id)
                if hold.state == OPEN and (hold.owner == was.owner if why == "owner" else hold.age(clock) >= hold.ttl):
                    if hold.of_run:
                        settling.owed(self, db, hold, clock[0])
                    else:
                        self._end(db, hold, LOST, "lost", clock[0], why)
                    ended.append(hold)
            return ended

        lost = self.state.write(step, durable=self.durable and any(why == "owner" for why in gone.values()))
        for hold in lost:
            words = {"id": hold.id, "agent": hold.agent, "tokens": hold.tokens, "booked_tokens": hold.booked}
            self.tell("budget.lost", **words, why=gone[hold.id])
            if any(hold.overrun):
                settling.tell(self, hold)
            settling.forget(self, hold)
        return lost

    def holds(self) -> list[Hold]:
        """The open holds, in the order they were made, those that are gone among them."""
        if not self.state.exists:
            return []
        return self.state.read(rows.opened)

    def hold(self, id: str) -> Hold:
        """The hold with this id, in whatever state. Raises HoldNotFoundError."""
        if not self.state.exists:
            raise holds.unknown(id)
        return self.state.read(lambda db: rows.found(db, id))

    def figures(self, keys: Sequence[Key], now: float | None = None) -> dict[Key, Figures]:
        """What these counters have, holds that are gone left out. Changes nothing."""
        if not self.state.exists:
            return {key: Figures() for key in keys}
        clock = self._now(now)
        opened, found = self.state.read(lambda db: (rows.opened(db), rows.figures(db, keys)))
        for hold in (each for each in opened if not each.of_run and each.gone(clock)):
            for key in keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool):
                if key in found:
                    held = found[key].held
                    found[key].held = (max(0, held[0] - hold.tokens), max(0, held[1] - hold.micro_usd))
        return found

    def ask(
        self,
        need: int | Usage,
        *,
        agent: str,
        task: str = "",
        pool: str = "",
        model: str = "",
        critical: bool = False,
        micro_usd: int | None = None,
        now: float | None = None,
    ) -> list[Reason]:
        """Why a reserve would be refused now; [] where it would not. Changes nothing. Raises UsageError."""
        clock = self._now(now)
        hold = self._asked(need, agent, task, pool, model, critical, micro_usd, clock[0])
        hold.ttl = TTL
        self._check(hold)
        keys = keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool)
        reasons = []
        for key, figures in self.figures(keys, now).items():
            reasons += self._reasons(key, figures, (hold.tokens, hold.micro_usd), critical)
        return self._timed(reasons, clock) if reasons else []

    def _now(self, now: float | None) -> Clock:
        wall, monotonic = self.clock()
        return (wall if now is None else now), monotonic

    def _asked(
        self,
        need: int | Usage,
        agent: str,
        task: str,
        pool: str,
        model: str,
        critical: bool,
        micro_usd: int | None,
        wall: float,
    ) -> Hold:
        """The hold that is asked for."""
        holds.check_used(need, micro_usd)
        self.limits.check_pool(pool)
        usage, tokens = (need if isinstance(need, Usage) else NOTHING), self.limits.counted(need)
        day, hour = self.limits.place(wall)
        cost = self.price(model, need, micro_usd)
        named = (holds.new_id(wall), OPEN, day, hour, agent, task, pool, model)
        return Hold((*named, *usage.classes, tokens, cost, int(critical), 0, wall, 0.0, 0.0, 0, 0, 0.0, self._worktree))

    def _check(self, hold: Hold) -> None:
        for what, name in (("agent", hold.agent), ("task", hold.task), ("pool", hold.pool), ("model", hold.model)):
            holds.check_name(what, name)
        holds.check_name("id", hold.id)
        if not hold.agent:
            raise UsageError("whose budget is it?", hint="name the agent: --agent A")
        if not hold.tokens:
            raise UsageError("nothing is asked for", hint="a number of tokens, as 50k")
        if hold.ttl != RUN_TTL or not hold.owner:
            holds.check_ttl(hold.ttl)

    def price(self, model: str, used: int | Usage, micro_usd: int | None = None) -> int:
        """Micro-dollars of ``used``, or those that were given. Raises UsageError where money is limited, and these are
        not known, ConfigError."""
        if micro_usd is not None:
            return micro_usd
        return money.cost(model, used, self.limits.prices, limited=bool(self.limits.micro_usd))

    def add(
        self, db: sqlite3.Connection, hold: Hold, usage: Usage, tokens: int, micro_usd: int, wall: float, note: str = ""
    ) -> None:
        """Within a transaction: book what nobody held, where ``hold`` says."""
        keys = keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool)
        self.count(db, keys, wall, spent=(tokens, micro_usd), critical=True)
        rows.record(db, wall, "book", hold, usage, tokens, micro_usd, note)

    def count(
        self,
        db: sqlite3.Connection,
        keys: Sequence[Key],
        wall: float,
        *,
        spent: tuple[int, int] = (0, 0),
        held: tuple[int, int] = (0, 0),
        critical: bool = False,
        refuse: bool = False,
    ) -> None:
        """Add to all counters; with ``refuse`` raise `Refused` where one would pass its limit."""
        added = (spent[0] + held[0], spent[1] + held[1])
        if self.limits and (added[0] > 0 or added[1] > 0):  # who takes less than was held passes nothing
            near = self.limits.near
            close = [row[:2] for row in rows.used(db, keys) if near(row[0], row[2] + added[0], row[3] + added[1])]
            if close:
                self._look(db, close, wall, added, critical, refuse)
        rows.add(db, keys, spent, held)

    def _look(
        self,
        db: sqlite3.Connection,
        keys: Sequence[Key],
        wall: float,
        added: tuple[int, int],
        critical: bool,
        refuse: bool,
    ) -> None:
        """Refuse, or tell of soft limits, where ``added`` brings counters near a limit."""
        before = rows.figures(db, keys)
        if refuse and (reasons := [r for key in keys for r in self._reasons(key, before[key], added, critical)]):
            raise Refused(reasons)
        for key in keys:
            self._mark(db, key, before[key], added, wall)

    def _reasons(self, key: Key, before: Figures, need: tuple[int, int], critical: bool) -> list[Reason]:
        """Why ``need`` more than ``before`` is too much."""
        found = []
        for unit, most in enumerate(self.limits.most(key, critical=critical)):
            if most is not None and need[unit] and before.used(unit) + need[unit] > most:
                reserved = self.limits.reserve if key[0] == "day" and unit == 0 and not critical else 0
                found.append(Reason(key, unit, need[unit], most, before, reserved))
        return found

    def _mark(self, db: sqlite3.Connection, key: Key, before: Figures, added: tuple[int, int], wall: float) -> None:
        """Tell of the soft limits that are passed, once for each limit. Told before the commit: better twice."""
        for unit, most in enumerate(self.limits.most(key, critical=True)):
            used = before.used(unit) + added[unit]
            if not most or added[unit] <= 0:
                continue
            for percent in (p for p in self.limits.soft if used * 100 >= p * most):
                if rows.mark(db, (f"{key[0]}{'_usd' * unit}", key[1]), most, percent, wall):
                    facts = {"scope": key[0], "name": shown(key), "percent": percent, "used": used, "limit": most}
                    self.tell("budget.soft", **facts, unit=("tokens", "micro_usd")[unit])

    def _end(self, db: sqlite3.Connection, hold: Hold, state: str, what: str, wall: float, why: str = "") -> None:
        """An open hold holds no longer."""
        hold.state, hold.ended = state, wall
        keys = keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool)
        self.count(db, keys, wall, held=(-hold.tokens, -hold.micro_usd), critical=True)
        rows.change(db, hold)
        rows.record(db, wall, what, hold, NOTHING, 0, 0, why)

    def _timed(self, reasons: list[Reason], clock: Clock) -> list[Reason]:
        from k1ctl.budget.waiting import expect

        expect(reasons, [hold for hold in self.holds() if not hold.gone(clock)], clock, self.limits.zone)
        return reasons

    def _exhausted(self, hold: Hold, reasons: list[Reason], clock: Clock, quiet: bool) -> Exception:
        error = exhausted(f"{amount(0, hold.tokens)} of {hold.agent}", self._timed(reasons, clock))
        if quiet:
            return error
        facts = {"agent": hold.agent, "task": hold.task, "pool": hold.pool, "tokens": hold.tokens}
        short = [{k: v for k, v in r.document().items() if k != "text"} for r in reasons]
        self.tell("budget.refused", **facts, reasons=short, expected_seconds=error.details["expected_seconds"])
        return error

    def tell(self, event: str, **facts: Any) -> None:
        from k1ctl import events

        events.emit(self.workspace, event, **facts)
