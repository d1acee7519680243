"""Standing in line for a promise: a ticket of the queue engine in the host's folder; its slots are the gate's room."""

from __future__ import annotations

import os
import time

from k1ctl import events
from k1ctl.capacity import gate
from k1ctl.capacity import limits as sizes
from k1ctl.capacity.promises import Held, Promise, join
from k1ctl.errors import BusyError, ConfigError
from k1ctl.process import nested
from k1ctl.queue import names
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.capacity.need import Need
    from k1ctl.capacity.room import Room
    from k1ctl.config import Config
    from k1ctl.errors import K1ctlError
    from k1ctl.workspace import Workspace

LOOK = 1.0  # s between two looks of the first in line
_RARELY = 10  # times that at most


class Asking:
    """One who asks for what ``room`` is about; ``what``, ``run`` and ``class_`` are what others see of it.

    The rest as in `gate.promise`.
    """

    def __init__(
        self, workspace: Workspace, config: Config, room: Room, *, what: str, run: str, class_: str, key: str
    ) -> None:
        self.workspace, self.config, self.room, self.what, self.key = workspace, config, room, what, key
        self.run = run or f"{os.getpid()}-{os.urandom(4).hex()}"
        self.class_ = class_
        self.around: str | None = None  # marks of the promises around us
        self.wait: float | None = 0.0
        self.reduce, self.interrupt = False, -1
        self.tell: Callable[[str], None] | None = None
        self.stopped: Callable[[], bool] = _never
        self.began = time.monotonic()

    def promise(self) -> Held:
        """As `gate.promise`."""
        os.makedirs(self.room.place, 0o700, exist_ok=True)
        have, joined = nested.join(self.room.place, self.around)
        try:
            if joined:
                join(self.room.place, self.around or "")
            return self._beside(have, joined)
        except BaseException:
            for fd in joined:
                os.close(fd)
            raise

    def _beside(self, have: dict[str, int], joined: list[int]) -> Held:
        """The promise beside what the one around us has already."""
        room = self.room
        units = {r: n - have.get(r, 0) for r, n in room.units.items() if n > have.get(r, 0)}
        if room.soft:
            units = {r: n for r, n in units.items() if r not in have}
        if not room.units and not have:
            self._until(lambda decision: decision.go)
        if not units:
            covered = Held(Promise("", room.need, units={}, what=self.what, run=self.run), joined=joined)
            covered.enlarge = lambda need: self._stay_within(have, need)
            return covered
        asked = room.need
        if have:  # who holds one promise and waits for another waits for others who do the same
            self.wait, self.reduce = 0.0, False
            room.take(sizes.part(asked, units))
        if self.reduce:
            decision = self._until(lambda d: d.go or d.reduced is not None or d.hopeless)
            if decision.hopeless:
                raise gate.never_fits(self.what, decision)
            room.take(decision.reduced or room.need)
            asked, units = room.need, room.units
        elif any(count > room.limits.most(resource) for resource, count in room.units.items()):
            raise gate.never_fits(self.what, room.decision())
        ticket = self._ticket(units)
        try:
            self._stand(ticket)
        except BaseException as exc:
            ticket.close()
            if room.soft and isinstance(exc, ConfigError) and exc.code == "never-fits":
                room.cut()
                return self._beside(have, joined)
            raise
        return self._held(ticket, asked, units, joined)

    # in line

    def _ticket(self, units: dict[str, int]) -> Ticket:
        config, room = self.config, self.room
        line = Line(room.place, park_seconds=config.get("queue", "park"))
        facts = {
            "run": self.run,
            "kind": room.kind,
            "what": self.what,
            "class": self.class_,
            "workspace": self.workspace.name,
            "root": self.workspace.root,
            "need": room.need.document(),
            "asked_at": time.time(),
        }
        before = signals.set_wakeup_fd(-1)
        try:
            return Ticket(
                line,
                units,
                room.slots,
                priority=names.PRIORITIES[room.priority],
                key=self.key,
                facts=facts,
                stall=config.get("queue", "stall"),
                ageing=config.get("queue", "ageing"),
                max_length=config.get("queue", "max_length"),
                elastic=room.slots_for,
            )
        finally:
            self.woken_by = before

    def _stand(self, ticket: Ticket) -> None:
        try:
            self.room.refresh()  # so that little is looked up with the mutex held
            if not ticket.enqueue():
                self._wait(ticket)
        finally:
            signals.set_wakeup_fd(self.woken_by)
        leader = os.getsid(0)
        ticket.tell(granted=time.time(), **({"session": leader} if leader == os.getpid() else {}))
        self._note("granted", promise=str(ticket.seq), wait_seconds=round(time.monotonic() - self.began, 3))

    def _wait(self, ticket: Ticket) -> None:
        told = False
        while True:
            decision, left = self.room.decision(own=ticket.file), self._left()
            if decision.never:  # the limit shrank: nobody behind us would ever be let in
                ticket.leave()
                raise gate.never_fits(self.what, decision)
            if left <= 0 or self.stopped():
                break
            told = told or self._note_waiting(decision)
            self._say(decision)
            how = ticket.wait(left, self.interrupt, self._before_a_look)
            if how == "granted":
                return
            if how == "interrupted":
                break
        ticket.leave()
        raise self._given_up(decision)

    def _before_a_look(self) -> bool:
        """Whether to give up; else what the look needs is read now, and not while all others stand still for it."""
        if self.stopped():
            return True
        self.room.refresh()
        return False

    def _left(self) -> float:
        """Seconds until the next look; 0 or less when the wait is over.

        The first looks often, since memory that others give back wakes nobody; who is further behind is woken by those
        ahead, and a hundred who look each second would keep a core busy.
        """
        pause = LOOK * min(_RARELY, (1 + self.room.ahead) ** 2)
        return pause if self.wait is None else min(pause, self.began + self.wait - time.monotonic())

    def _say(self, decision: gate.Decision) -> None:
        if self.tell is not None:
            self.tell(decision.text or "others wait for it already")

    def _given_up(self, decision: gate.Decision) -> K1ctlError:
        if self._left() > 0 or self.stopped():
            return BusyError(f"left the line for {self.what}: {decision.text}", code="left")
        self._note("refused", reasons=gate.numbers(decision), expected_seconds=decision.expected_seconds)
        return gate.no_capacity(self.what, decision, self.wait or 0.0)

    def _until(self, good: Callable[[gate.Decision], bool]) -> gate.Decision:
        """Wait, in no line, until a look at the host is ``good``; that look."""
        told = False
        while not good(decision := self.room.decision()):
            left = self._left()
            if left > 0:
                told = told or self._note_waiting(decision)
                self._say(decision)
            if left <= 0 or self._heard(left) or self.stopped():
                raise self._given_up(decision)
        return decision

    def _heard(self, seconds: float) -> bool:
        """Sleep, until a signal comes or ``interrupt`` can be read; whether that is so."""
        import select

        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signals.set_wakeup_fd(write, warn_on_full_buffer=False)
        try:
            heard = [read] if self.interrupt < 0 else [read, self.interrupt]
            return self.interrupt in select.select(heard, [], [], seconds)[0]
        finally:
            signals.set_wakeup_fd(before)
            os.close(read)
            os.close(write)

    # what was granted

    def _held(self, ticket: Ticket, need: Need, units: dict[str, int], joined: list[int]) -> Held:
        now = time.time()
        promise = Promise(
            str(ticket.seq),
            need,
            units=units,
            what=self.what,
            class_=self.class_,
            kind=self.room.kind,
            workspace=self.workspace.name,
            root=self.workspace.root,
            run=self.run,
            pid=os.getpid(),
            since=now,
        )
        held = Held(promise, ticket, mark=nested.mark(ticket.seq, self.run, ticket.line.folder), joined=joined)
        held.enlarge = lambda need: self._grow(held, need)
        return held

    def _grow(self, held: Held, need: Need) -> None:
        from k1ctl.capacity.room import Room

        ticket = held.ticket
        if ticket is None:
            return
        room, mine = self.room, held.promise
        larger = Room(room.config, need, kind=room.kind, priority=room.priority, path=room.path)
        with ticket.line:
            larger.leave_out = mine.id
            decision = larger.decision()
            if decision.go:
                ticket.change(larger.units)
        if not decision.go:
            raise gate.no_capacity(self.what, decision)
        mine.need, mine.units = need, larger.units
        ticket.tell(need=need.document())

    def _stay_within(self, have: dict[str, int], need: Need) -> None:
        """A promise that another one covers grows up to that one's amount."""
        more = {r: n for r, n in sizes.units(need, self.room.limits.here).items() if n > have.get(r, 0)}
        if more and not self.room.soft:
            wanted = ", ".join(
                f"{sizes.called(r)}: {sizes.amount(r, n)} of {sizes.amount(r, have.get(r, 0))}" for r, n in more.items()
            )
            raise BusyError(
                f"{self.what} runs within a promise, which is smaller ({wanted})",
                hint="name more in the outer call's --need",
                code="no-capacity",
                reasons=[],
                expected_seconds=None,
            )

    def _note_waiting(self, decision: gate.Decision) -> bool:
        self._note("waiting", reasons=gate.numbers(decision), expected_seconds=decision.expected_seconds)
        return True

    def _note(self, verb: str, **fields: Any) -> None:
        events.emit(
            self.workspace, f"capacity.{verb}", run=self.run, kind=self.room.kind, need=str(self.room.need), **fields
        )


def _never() -> bool:
    return False
