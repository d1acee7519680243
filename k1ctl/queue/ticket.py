"""One client's ticket: stand in line, be let in, give the lease back.

The algorithm, its reasons and its measurements are in docs/queue.md. In short: a ticket is alive while its file is
flocked; nobody grants, who is woken looks for himself under the mutex; waiting is watching the ticket ahead, so a
release, a crash or a kill -9 wakes exactly the right one.
"""

from __future__ import annotations

import os
import time

from k1ctl.errors import BusyError
from k1ctl.files import flock
from k1ctl.queue import names, watch
from k1ctl.queue.line import EX, UN, Line, read_facts, write_facts
from k1ctl.queue.order import Room, claims, eligible, fits, related, risen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any

    from k1ctl.queue.line import Waiting
    from k1ctl.queue.names import Name

AFTER_YOU = 0.002  # s in which who is let in starts its command undisturbed by what we have still to write down
_CLEANING = 10.0  # s in which a step is begun anew because the folder is cleaned away


class Ticket:
    """A place in the line for ``needs`` {resource: slots}, one of which may be a choice (device:k1~k2).

    Let in, ``needs`` names what it got, and ``chosen`` which one of a choice that is ("" without one).
    ``slots(resource)`` tells how many a resource has; ``facts`` is what others see about the owner; ``key`` lets a
    later client take the place over when this one dies; ``ageing``: after so many seconds in line it rises by one
    priority, and again (0: never). ``elastic(resource, need)``: where the number of slots changes by itself, how many
    there are for one of that need; to ask for more waits. Use: `enqueue`, `wait`, then `release` (`leave`, `hand_to`).
    """

    def __init__(
        self,
        line: Line,
        needs: dict[str, int],
        slots: Callable[[str], int],
        *,
        priority: int = names.PRIORITIES["normal"],
        key: str = "",
        facts: dict[str, Any] | None = None,
        stall: float = 1.0,
        ageing: float = 0.0,
        max_length: int = 500,
        elastic: Callable[[str, int], int] | None = None,
    ) -> None:
        self.elastic = elastic
        self.line, self.needs, self.slots, self.priority = line, needs, slots, priority
        self.key, self.facts, self.stall, self.max_length = key, facts or {}, stall, max_length
        self.fd, self.seq, self.pid, self.file, self.resumed = -1, 0, os.getpid(), "", False
        self.ageing, self.rank = ageing, priority  # its priority now: it ages, and others bump it
        self.since = time.monotonic()  # when it came to its priority; the host's clock, the same in each process
        self.lines: Collection[str] = names.lines(needs)
        self.chosen = ""
        self._stalled: tuple[tuple[int, ...], float] | None = None
        self._watch = watch.Watch(line.tickets)
        self.wake_read, self.wake_write = self._watch.wake_read, self._watch.wake_write

    def enqueue(self) -> bool:
        """Take a number, or take over the place of this key's dead waiter; True when let in at once.

        Raises UsageError when more slots are asked for than there are, BusyError when the line is full.
        """
        if not self.elastic:
            names.check_slots(self.needs, self.slots)
        return self._with_mutex(lambda: self._look() if self.seq else self._enter())

    def _with_mutex(self, step: Callable[[], bool]) -> bool:
        """Do ``step`` with the mutex held, and again when somebody cleaned the folder away in the middle of it."""
        deadline = time.monotonic() + _CLEANING
        while True:
            try:
                with self.line:
                    return step()
            except FileNotFoundError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.0005)

    def _enter(self) -> bool:
        old = self.line.take_over(self.key) if self.key else None
        self.resumed = old is not None
        if old is not None:
            self._resume(*old)
        else:
            self._check_length()
            self._take_number()
        self.facts.update(ticket=self.seq, asked=self.priority, since=self.since)
        write_facts(self.fd, self.facts)
        if self._look():
            return True
        _, waiting, _, paused = self.line.scan()
        self.line.wake_first(
            self.lines, waiting, paused, after=self.file
        )  # those we came in ahead of have to watch us now
        return False

    def _resume(self, old: Name, fd: int) -> None:
        """Go on where a dead waiter stood: his number, and what he gained by waiting if we ask for the same."""
        self.seq, self.fd = old.seq, fd
        left = read_facts(fd)
        since = left.get("since")
        if left.get("asked") == self.priority:
            self.rank = old.priority
            if isinstance(since, int | float) and since <= self.since:  # else the host was started anew
                self.since = since
        self.file = names.build("w", self.rank, self.seq, self.pid, self.key, self.needs)
        os.rename(self.line.tickets + old.file, self.line.tickets + self.file)

    def _take_number(self) -> None:
        self.seq = self.line.next_number()
        self.file = names.build("w", self.rank, self.seq, self.pid, self.key, self.needs)
        path = self.line.tickets + self.file
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        flock(self.fd, EX, path)  # blocking: a listing may be testing the new file's lock at this very moment

    def _check_length(self) -> None:
        waiting = self.line.scan()[1]
        for resource in self.needs:
            ours = set(names.alternatives(resource))
            mine = [n for n in waiting if not ours.isdisjoint(n.lines)]
            if len(mine) < self.max_length:
                continue
            mine = [n for n in mine if self.line.alive(n)]  # the dead are put away only when somebody looks
            if len(mine) >= self.max_length:
                from k1ctl.queue.history import line_full

                claimed = sum(n.needs.get(resource, 1) for n in mine)
                raise line_full(self.line.folder, resource, len(mine), claimed, sum(map(self.slots, ours)))

    def wait(self, seconds: float | None, interrupt: int = -1, stopped: Callable[[], bool] | None = None) -> str:
        """Wait to be let in: ``granted``, ``timeout`` after ``seconds``, or ``interrupted`` when the descriptor
        ``interrupt`` has something to read, or ``stopped`` is true at a look or a signal. Raises BusyError when
        somebody cancels the ticket.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        self._watch.listen(interrupt)
        while True:
            ages = self.since + self.ageing if self.ageing and self.rank > names.AGED else None
            if self._watch.pause(min((t for t in (deadline, ages) if t is not None), default=None), interrupt):
                return "interrupted"
            if stopped is not None and stopped():
                return "interrupted"
            if self._with_mutex(self._look):
                return "granted"
            if deadline is not None and time.monotonic() >= deadline:
                return "timeout"

    # with the mutex held

    def _look(self) -> bool:
        """May this ticket run now? If not, what to wait for is set."""
        line, needs = self.line, self.needs
        line.survivors = set()
        running, waiting, _, paused = line.scan()
        mine = self._find(waiting)
        if mine is None:
            return self._gone()
        if self.ageing or mine.priority != self.rank:
            risen = self._age(mine, waiting, paused)
            if risen is not None:
                mine, waiting = risen
        self.file = mine.file
        self._watch.nothing()
        if mine.held_back(paused):
            return False
        if any(not set(n.lines).isdisjoint(mine.lines) for n in waiting.choices()):
            return self._look_ahead(mine, running, waiting, paused)
        free, holders = self._free(running)
        ahead, left = self._ahead(mine, waiting, paused, free)
        if fits(needs, left) or self._passed_over(ahead, free, running):
            return self._let_in(waiting, paused)
        self._set_watch(needs, ahead, holders)
        if len(needs) > 1 or self._stalled is not None:
            self.line.wake_eligible(
                self.slots, self.seq
            )  # we were woken for others too, or see room that those ahead do not know of
        return False

    def _look_ahead(self, mine: Name, running: list[Name], waiting: Waiting, paused: set[str]) -> bool:
        """`_look` where somebody in a line of ours has a choice: what each gets depends on what those ahead take."""
        line = self.line
        free = line.room(running, self.slots)
        found = eligible(waiting, Room(free.__getitem__), paused, line.alive)
        wants = next((w for n, w in found if n.file == mine.file), None)
        ahead = related(mine, (n for n in waiting.ahead_of(mine.file) if not n.held_back(paused)))
        if wants is None:
            wants = self._left_over(mine, ahead, free, paused)
        if wants is not None:
            return self._let_in(waiting, paused, wants)
        lines = [r for r in mine.lines if r not in paused]
        self._set_watch(lines, ahead, [n for n in running if not n.needs.keys().isdisjoint(lines) and line.alive(n)])
        for name, _ in found:  # we were woken for others too
            line.look_again(name)
        return False

    def _left_over(self, mine: Name, ahead: list[Name], free: Room, paused: set[str]) -> dict[str, int] | None:
        """What is ours where those ahead leave room unused, as in `_passed_over`."""
        idle = []
        for name in ahead:
            if fits(claims(name, free, paused), free) and self.line.alive(name):
                idle.append(name.seq)
        found = eligible([*ahead, mine], Room(free.__getitem__), paused, self.line.alive, passed=idle) if idle else []
        wants = next((w for n, w in found if n.file == mine.file), None)
        return wants if self._ignored(idle, wants is not None) else None

    def _find(self, waiting: Waiting) -> Name | None:
        """Our own ticket; with a folder that was cleaned away numbers begin anew, and ours may be another's by now."""
        return next((n for n in waiting if n.seq == self.seq and n.pid == self.pid), None)

    def _age(self, mine: Name, waiting: Waiting, paused: set[str]) -> tuple[Name, Waiting] | None:
        """Rise by one priority for each `ageing` seconds; (our name, the line) when that moved us.

        Who waits does it himself: a dead or stopped one does not age, and nobody reads the time of a hundred others.
        """
        now = time.monotonic()
        if names.class_of(mine.priority) != names.class_of(self.rank):  # somebody gave us another one
            self.since = now
            self.tell(since=now)
        self.rank, self.since = risen(mine.priority, self.since, self.ageing, now)
        if self.rank == mine.priority:
            return None
        after = mine.with_priority(self.rank)
        os.rename(self.line.tickets + mine.file, self.line.tickets + after)
        self.tell(since=self.since)
        self.line.note("queue.aged", ticket=self.seq, priority=names.priority_name(self.rank))
        waiting = self.line.scan()[1]
        for place in (after, mine.file):  # who is behind our new place has to watch us now, who was behind us another
            self.line.wake_first(self.lines, waiting, paused, after=place)
        return next(n for n in waiting if n.seq == self.seq), waiting

    def _set_watch(self, lines: Collection[str], ahead: list[Name], holders: list[Name]) -> None:
        """For each of our lines the last living ticket ahead of us, or who holds it when we are the first in its line.

        So whoever goes, somebody in each of his lines notices.
        """
        near: dict[int, Name] = {}
        place: dict[str, int] = {}
        for resource in lines:
            line = [n for n in ahead if resource in n.lines]
            place[resource] = max(1, len(line) + 1 - (0 if self.elastic else self.slots(resource)))
            while line and not self.line.alive(line[-1]):
                line.pop()
            for name in line[-1:] or [h for h in holders if resource in h.needs]:
                near[name.seq] = name
        watching, net = self._watch, watch.NET
        watching.tickets = [n for n in near.values() if n.seq not in self.line.survivors]
        behind = max(min(place[r] for r in names.alternatives(need) if r in place) for need in self.needs)
        watching.net = min(net, watch.NEAR_NET * behind**2) if ahead else net  # stopped ones ahead delay us by seconds
        if self._stalled is not None or len(watching.tickets) < len(near):
            watching.net = watch.NEAR_NET  # the kernel does not tell when a group that holds no lock ends

    def _free(self, running: list[Name]) -> tuple[dict[str, int], list[Name]]:
        """({resource: free slots}, the leases on them). Only where room is short is liveness tested."""
        free, holders = {}, {}
        for resource, need in self.needs.items():
            mine = [n for n in running if resource in n.needs]
            slots = self.slots(resource)
            if slots - sum(n.needs[resource] for n in mine) < need:
                mine = [n for n in mine if self.line.alive(n)]
                slots = self.slots(resource)  # who died meanwhile may have left what it had to one without a ticket
            free[resource] = slots - sum(n.needs[resource] for n in mine)
            holders.update({n.seq: n for n in mine})
        return free, list(holders.values())

    def _ahead(
        self, mine: Name, waiting: Waiting, paused: set[str], free: dict[str, int]
    ) -> tuple[list[Name], dict[str, int]]:
        """The earlier tickets that claim what we need, and what they leave of it."""
        left, ahead = dict(free), []
        for name in waiting:
            if name.file == mine.file:
                break
            shared = [r for r in name.needs if r in self.needs]
            if not shared or not paused.isdisjoint(name.needs):
                continue
            if fits(self.needs, left) and not self.line.alive(name):
                continue
            ahead.append(name)
            for resource in shared:
                left[resource] -= name.needs[resource]
        return ahead, left

    def _passed_over(self, ahead: list[Name], free: dict[str, int], running: list[Name]) -> bool:
        """Room that those ahead leave unused for ``stall`` seconds (stopped, swapped out) goes to us; they stay."""
        if not fits(self.needs, free):
            self._stalled = None
            return False
        left, idle = dict(free), []
        there = self.elastic or (lambda r, _: self.slots(r))
        for name in ahead:
            if all(there(r, k) - sum(n.needs.get(r, 0) for n in running) >= k for r, k in name.needs.items()):
                idle.append(name.seq)
                continue
            for resource in name.needs:
                if resource in left:
                    left[resource] -= name.needs[resource]
        return self._ignored(idle, fits(self.needs, left))

    def _ignored(self, idle: Sequence[int], room: bool) -> bool:
        """Whether the tickets ``idle`` have left room for us unused for long enough."""
        if not room:
            self._stalled = None
            return False
        now = time.monotonic()
        if self._stalled is None or self._stalled[0] != tuple(idle):
            self._stalled = (tuple(idle), now)
        return now - self._stalled[1] >= self.stall

    def _let_in(self, waiting: Waiting, paused: set[str], wants: dict[str, int] | None = None) -> bool:
        """``wants``: what we get, where there was a choice in line, ours or another's."""
        before, lines, after = self.file, self.lines, "r" + self.file[1:]
        if wants is not None and wants.keys() != self.needs.keys():
            after = names.build("r", int(before[1:3]), self.seq, self.pid, self.key, wants)
        os.rename(self.line.tickets + before, self.line.tickets + after)
        self.file = after
        if wants is not None and wants.keys() != self.needs.keys():
            self.chosen = next(iter(wants.keys() - self.needs.keys()))
            self.needs = self.lines = wants
        if waiting.entangled():
            self.line.wake_eligible(self.slots, self.seq)
        if self.chosen or any(self.slots(r) > 1 for r in self.needs):
            self.line.wake_first(lines, waiting, paused, after=before)  # who watched us has to watch another one now
        return True

    def _gone(self) -> bool:
        facts = read_facts(self.fd)
        if facts.get("cancelled"):
            raise BusyError(f"ticket {self.seq} was cancelled by {facts['cancelled']}", code="queue-cancelled")
        if self.fd >= 0:  # the folder was cleaned away: take a new place; numbers begin anew
            os.close(self.fd)
            self.fd = -1
        self._watch.anew()
        self._take_number()
        self.facts["ticket"] = self.seq
        write_facts(self.fd, self.facts)
        return self._look()

    # the ends

    def tell(self, **facts: Any) -> None:
        """Add to what others see about the owner."""
        self.facts.update(facts)
        write_facts(self.fd, self.facts)

    def release(self) -> None:
        """Give the lease back and wake the next. The lock is undone explicitly: a daemon left behind shares it."""
        try:
            waiting = self._with_mutex(self._release)
        finally:
            flock(self.fd, UN, "")  # also where ops/ cannot be written any more
        if waiting:
            time.sleep(AFTER_YOU)

    def _release(self) -> bool:
        """Whether somebody waits for what we had."""
        flock(self.fd, UN, "")  # first: killed behind this line we leave a dead ticket, not a lock without a ticket
        try:
            os.unlink(self.line.tickets + self.file)
        except FileNotFoundError:
            pass
        _, waiting, _, paused = self.line.scan()
        if waiting.entangled():
            self.line.wake_eligible(self.slots, self.seq)
        else:
            self.line.wake_first(self.needs, waiting, paused)
        return any(not self.needs.keys().isdisjoint(n.lines) for n in waiting)

    def change(self, needs: dict[str, int]) -> None:
        """Have the lease be one for ``needs``; with the mutex held, by who knows that there is room. Raises OSError."""
        after = names.build("r", int(self.file[1:3]), self.seq, self.pid, self.key, needs)
        os.rename(self.line.tickets + self.file, self.line.tickets + after)
        self.file, self.needs, self.lines = after, needs, names.lines(needs)

    def close(self) -> None:
        """Close our descriptors; after `release` or `leave`, by who goes on to do something else."""
        self._watch.close()
        self.line.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def leave(self) -> None:
        """Stop waiting: with a key the place stays parked, else it is given up."""
        self._with_mutex(self._leave)

    def _leave(self) -> bool:
        name = self._find(self.line.scan()[1])
        if name is not None:
            self.line.put_away(name)
        flock(self.fd, UN, "")
        return True
