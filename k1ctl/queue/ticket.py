"""One client's ticket: stand in line, be let in, give the lease back.

The algorithm, its reasons and its measurements are in docs/queue.md. In short: a ticket is alive while its file is
flocked; nobody grants, who is woken looks for himself under the mutex; waiting is a helper thread blocked in
flock(SHARED) on the ticket ahead, so a release, a crash or a kill -9 wakes exactly the right one.
"""

from __future__ import annotations

import os
import select
import time
from _thread import start_new_thread

from k1ctl.errors import BusyError
from k1ctl.files import flock
from k1ctl.queue import names
from k1ctl.queue.line import EX, SH, UN, Line, read_facts, write_facts
from k1ctl.queue.order import eligible, fits, risen
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.queue.line import Waiting
    from k1ctl.queue.names import Name

NET = 60.0  # s between two looks that nothing asked for
AFTER_YOU = 0.002  # s in which who is let in starts its command undisturbed by what we have still to write down
NEAR_NET = 1.0  # s, for those near the head, who must notice a stopped one before them
_CLEANING = 10.0  # s in which a step is begun anew because the folder is cleaned away


class Ticket:
    """A place in the line for ``needs`` {resource: slots}.

    ``slots(resource)`` tells how many a resource has; ``facts`` is what others see about the owner; ``key`` lets a
    later client take the place over when this one dies; ``ageing``: after so many seconds in line it rises by one
    priority, and again (0: never). Use: `enqueue`, `wait`, then `release` (or `leave`, or `hand_to`).
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
    ) -> None:
        self.line, self.needs, self.slots, self.priority = line, needs, slots, priority
        self.key, self.facts, self.stall, self.max_length = key, facts or {}, stall, max_length
        self.fd, self.seq, self.pid, self.file, self.resumed = -1, 0, os.getpid(), "", False
        self.ageing, self.rank = ageing, priority  # its priority now: it ages, and others bump it
        self.since = time.monotonic()  # when it came to its priority; the host's clock, the same in each process
        self.watch: list[Name] = []
        self.net = NET
        self._stalled: tuple[tuple[int, ...], float] | None = None
        self._watched: set[int] = set()
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        for number in (signals.SIGUSR1, signals.SIGCHLD):
            signals.signal(number, lambda *_: None)
        signals.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)

    def enqueue(self) -> bool:
        """Take a number, or take over the place of this key's dead waiter; True when let in at once.

        Raises UsageError when more slots are asked for than there are, BusyError when the line is full.
        """
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
        self._wake_first(waiting, paused, after=self.file)  # those we came in ahead of have to watch us now
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
            mine = [n for n in waiting if resource in n.needs]
            if len(mine) < self.max_length:
                continue
            mine = [n for n in mine if self.line.alive(n)]  # the dead are put away only when somebody looks
            if len(mine) >= self.max_length:
                from k1ctl.queue.history import line_full

                claimed = sum(n.needs[resource] for n in mine)
                raise line_full(self.line.folder, resource, len(mine), claimed, self.slots(resource))

    def wait(self, seconds: float | None, interrupt: int = -1) -> str:
        """Wait to be let in: ``granted``, ``timeout`` after ``seconds``, or ``interrupted`` when the descriptor
        ``interrupt`` has something to read. Raises BusyError when somebody cancels the ticket.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.wake_read, select.POLLIN)
        if interrupt >= 0:
            poll.register(interrupt, select.POLLIN | select.POLLHUP)
        while True:
            if self._watch_ahead():
                now = time.monotonic()
                left = self.net if deadline is None else min(self.net, deadline - now)
                if self.ageing and self.rank > names.AGED:
                    left = min(left, self.since + self.ageing - now)
                events = poll.poll(max(left, 0) * 1000)
                if any(fd == interrupt for fd, _ in events):
                    return "interrupted"
                try:
                    os.read(self.wake_read, 512)
                except BlockingIOError:
                    pass
            if self._with_mutex(self._look):
                return "granted"
            if deadline is not None and time.monotonic() >= deadline:
                return "timeout"

    def _watch_ahead(self) -> bool:
        """A thread for each ticket to watch; False when one of them is gone already, so look again at once."""
        complete = True
        for name in self.watch:
            if name.seq in self._watched:
                continue
            for file in (name.file, name.with_state("r")):  # it may have been let in since
                try:
                    fd = os.open(self.line.tickets + file, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    continue
                self._watched.add(name.seq)
                try:
                    start_new_thread(self._until_given_up, (name.seq, fd))
                except RuntimeError:  # no more threads on this host: look now and then instead
                    self._watched.discard(name.seq)
                    os.close(fd)
                    self.net = NEAR_NET
                break
            else:
                complete = False
        return complete

    def _until_given_up(self, seq: int, fd: int) -> None:
        try:
            flock(fd, SH, "")
        finally:
            os.close(fd)
            self._watched.discard(seq)
            try:
                os.write(self.wake_write, b"d")
            except OSError:
                pass

    # with the mutex held

    def _look(self) -> bool:
        """May this ticket run now? If not, ``watch`` and ``net`` say what to wait for."""
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
        self.watch, self.net = [], NET
        if not paused.isdisjoint(needs):
            return False
        free, holders = self._free(running)
        ahead, left = self._ahead(mine, waiting, paused, free)
        if fits(needs, left) or self._passed_over(ahead, free, running):
            return self._let_in(waiting, paused)
        self._set_watch(ahead, holders)
        if len(needs) > 1 or self._stalled is not None:
            self._wake_eligible()  # we were woken for others too, or see room that those ahead do not know of
        return False

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
            self._wake_first(waiting, paused, after=place)
        return next(n for n in waiting if n.seq == self.seq), waiting

    def _set_watch(self, ahead: list[Name], holders: list[Name]) -> None:
        """For each resource the last living ticket ahead of us, or who holds it when we are the first in its line.

        So whoever goes, somebody in each of his lines notices.
        """
        watch: dict[int, Name] = {}
        for resource in self.needs:
            line = [n for n in ahead if resource in n.needs]
            while line and not self.line.alive(line[-1]):
                line.pop()
            for name in line[-1:] or [h for h in holders if resource in h.needs]:
                watch[name.seq] = name
        self.watch = [n for n in watch.values() if n.seq not in self.line.survivors]
        behind = max(1, len(ahead) - max(self.slots(r) for r in self.needs) + 1)
        self.net = min(NET, NEAR_NET * behind**2) if ahead else NET  # several stopped ones ahead delay us by seconds
        if self._stalled is not None or len(self.watch) < len(watch):
            self.net = NEAR_NET  # the kernel does not tell when a group that holds no lock ends

    def _free(self, running: list[Name]) -> tuple[dict[str, int], list[Name]]:
        """({resource: free slots}, the leases on them). Only where room is short is liveness tested."""
        free, holders = {}, {}
        for resource, need in self.needs.items():
            mine = [n for n in running if resource in n.needs]
            slots = self.slots(resource)
            if slots - sum(n.needs[resource] for n in mine) < need:
                mine = [n for n in mine if self.line.alive(n)]
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
        for name in ahead:
            if all(self.slots(r) - sum(n.needs.get(r, 0) for n in running) >= k for r, k in name.needs.items()):
                idle.append(name.seq)
                continue
            for resource in name.needs:
                if resource in left:
                    left[resource] -= name.needs[resource]
        if not fits(self.needs, left):
            self._stalled = None
            return False
        now = time.monotonic()
        if self._stalled is None or self._stalled[0] != tuple(idle):
            self._stalled = (tuple(idle), now)
        return now - self._stalled[1] >= self.stall

    def _let_in(self, waiting: Waiting, paused: set[str]) -> bool:
        before, after = self.file, "r" + self.file[1:]
        os.rename(self.line.tickets + before, self.line.tickets + after)
        self.file = after
        if waiting.several():
            self._wake_eligible()
        elif any(self.slots(r) > 1 for r in self.needs):
            self._wake_first(waiting, paused, after=before)
        return True

    def _wake_first(self, waiting: Waiting, paused: set[str], after: str = "") -> None:
        """Wake the first living waiter (behind the name ``after``) for each of our resources."""
        first = [self.line.first_waiting(r, waiting, paused, after) for r in self.needs]
        for name in {n.seq: n for n in first if n is not None}.values():
            self.line.look_again(name)

    def _wake_eligible(self) -> None:
        """Wake everyone else who has room now. Where some want several resources, it need not be the first."""
        running, waiting, _, paused = self.line.scan()
        living = [n for n in running if self.line.alive(n)]
        for name in eligible(waiting, living, paused, self.slots):
            if name.seq != self.seq and self.line.alive(name):
                self.line.look_again(name)

    def _gone(self) -> bool:
        facts = read_facts(self.fd)
        if facts.get("cancelled"):
            raise BusyError(f"ticket {self.seq} was cancelled by {facts['cancelled']}", code="queue-cancelled")
        if self.fd >= 0:  # the folder was cleaned away: take a new place; numbers begin anew
            os.close(self.fd)
            self.fd = -1
        self._watched = set()
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
        if waiting.several():
            self._wake_eligible()
        else:
            self._wake_first(waiting, paused)
        return any(not self.needs.keys().isdisjoint(n.needs) for n in waiting)

    def leave(self) -> None:
        """Stop waiting: with a key the place stays parked, else it is given up."""
        self._with_mutex(self._leave)

    def _leave(self) -> bool:
        name = self._find(self.line.scan()[1])
        if name is not None:
            self.line.put_away(name)
        flock(self.fd, UN, "")
        return True
