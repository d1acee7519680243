"""Standing in line for what a spec names: what the supervisor of a run and the claim of a script have in common."""

from __future__ import annotations

import gc
import os
import sys
import time

from k1ctl import events
from k1ctl.errors import K1ctlError
from k1ctl.jsontext import dumps
from k1ctl.process.attempt import Ending
from k1ctl.process.spec import DEFAULT_DEVICE, DEVICE, PROMISE
from k1ctl.queue import names
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.process.spec import RunSpec
    from k1ctl.workspace import Workspace


class Client:
    """One that stands in line, in a process of its own, watched by a front end.

    ``pipes``: ``status`` out to the front end, ``control`` in from it (-1: nobody is listened to), and ``mark``, which
    it reads only when we are gone. ``run_id`` is what events and guards name.
    """

    def __init__(self, workspace: Workspace, config: Config, spec: RunSpec, pipes: tuple[int, int, int]) -> None:
        self.workspace, self.config, self.spec = workspace, config, spec
        self.status, self.control, self.mark = pipes
        self.run_id = ""
        self.ticket: Ticket | None = None
        self.standing: Ticket | None = None  # the same, from before it has a number
        self.times: dict[str, float] = {}  # CLOCK_MONOTONIC, seconds
        self.cancelled = False
        self.guards: dict[str, int] = {}  # lock file of a device: descriptor
        self.configured = _stamp(config.path)
        os.set_blocking(self.status, False)  # a stopped front end must not stop us
        gc.freeze()  # else a collection walks all that was imported: 1.6 ms, now and then with the queue's mutex held

    def tell(self, state: str, **facts: Any) -> None:
        """Send one line to the front end; one that is gone or does not read is no reason to stop."""
        try:
            os.write(self.status, (dumps({"state": state, **facts}) + "\n").encode())
        except OSError:
            pass

    def note(self, event: str, **fields: Any) -> None:
        """Record an event of ours."""
        events.emit(self.workspace, event, run=self.run_id, **fields)

    def stand_in_line(self, facts: dict[str, Any]) -> Ending | None:
        """None once every resource is ours; ``facts`` is what others see about us. Raises K1ctlError."""
        config, spec = self.config, self.spec
        if PROMISE in os.environ:
            from k1ctl.process.giveway import marks

            facts = {**facts, **marks()}
        line = Line(queue_folder(self.workspace, config), park_seconds=config.get("queue", "park"), note=self.note)
        ticket = Ticket(
            line,
            spec.resources,
            self.slots,
            priority=names.PRIORITIES[spec.priority],
            key=spec.key,
            facts=facts,
            stall=config.get("queue", "stall"),
            ageing=config.get("queue", "ageing"),
            max_length=config.get("queue", "max_length"),
        )
        self.standing = ticket
        granted = ticket.enqueue()
        self.times.setdefault("enqueued", time.monotonic())
        self.ticket = ticket
        self.in_line(ticket, granted)
        if not granted:
            how = ticket.wait(self.left(), self.control)
            if how != "granted":
                return self._left_line(how, ticket)
        self.times["granted"] = time.monotonic()
        if ticket.chosen:
            spec.resources, spec.device = ticket.needs, ticket.chosen.partition(":")[2]
            self.chosen()
        return None

    def left(self) -> float | None:
        """Seconds that it may still wait, in line or behind it; None: as long as it takes."""
        limit, since = self.spec.wait, self.times.get("enqueued")
        return limit if limit is None or since is None else max(0.0, limit - (time.monotonic() - since))

    def chosen(self) -> None:
        """It is settled which device ours is: ``spec.device``."""
        self.tell("chosen", device=self.spec.device)

    def in_line(self, ticket: Ticket, granted: bool) -> None:
        """The ticket has its place; ``granted``: it was let in at once."""
        if not granted:
            self.tell("waiting", ticket=ticket.seq, resumed=ticket.resumed)
            self.note("queue.enqueued", ticket=ticket.seq, resources=self.spec.resources, resumed=ticket.resumed)

    def _left_line(self, how: str, ticket: Ticket) -> Ending:
        from k1ctl.process.view import describe_standing, readable
        from k1ctl.queue.view import standing

        stood = standing(ticket.line.folder, ticket.seq, self.config.slots) if how == "timeout" else None
        ticket.leave()
        self.ticket = None
        kept = f"; the place is kept for {format_duration(self.config.get('queue', 'park'))}" if self.spec.key else ""
        wanted = ", ".join(readable(r) for r in self.spec.resources)
        if how == "timeout":
            waited = format_duration(self.spec.wait or 0)
            why = f" ({describe_standing(stood)})" if stood else ""
            message = f"waited {waited} for {wanted}{why}{kept}"
            ends = "tells what is paused, and by whom" if stood and stood.paused else "shows who holds it"
            return Ending(75, "k1ctl", "queue-timeout", message, hint=f"k1ctl queue list {ends}")
        word = os.read(self.control, 1)
        code = {b"I": 130, b"T": 143}.get(word, 129)
        return Ending(code, "k1ctl", "caller-gone", f"the caller left while waiting for {wanted}{kept}")

    def slots(self, resource: str) -> int:
        """The resource's slots as the configuration says now: all who wait must agree on them."""
        stamp = _stamp(self.config.path)
        if stamp != self.configured:
            from k1ctl.config import load

            try:
                self.config = load(self.workspace)
            except (K1ctlError, OSError):
                pass  # somebody is in the middle of editing it
            self.configured = stamp
        return self.config.slots(resource)


def let_go(keep: set[int], *, streams: tuple[int, ...]) -> None:
    """Leave behind what is the caller's: the runs around it, its ``streams``, and its descriptors but ``keep``."""
    from k1ctl.device.guard import GUARDS
    from k1ctl.process.nested import LEASES

    device = os.environ.pop(DEVICE, None)
    if device is not None and os.environ.get(DEFAULT_DEVICE) == device:
        del os.environ[DEFAULT_DEVICE]
    for name in (LEASES, GUARDS, PROMISE):
        os.environ.pop(name, None)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in streams:
        os.dup2(null, fd)
    for fd in open_descriptors():
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass


def open_descriptors() -> list[int]:
    """Our descriptors beyond standard input, output and error; some may be closed again."""
    try:
        return [fd for fd in map(int, os.listdir("/dev/fd")) if fd > 2]
    except OSError:  # a system without /dev/fd, or without /proc behind it
        return list(range(3, 64))


def known(exc: BaseException) -> K1ctlError:
    """``exc`` as an error of k1ctl."""
    from k1ctl.failure import known_error

    return known_error(exc, sys.argv[1:])


def fail(exc: BaseException, status: int) -> int:
    """Hand a failure from before the run had a record over to the front end, which prints it."""
    error = known(exc)
    line = dumps({"state": "failed", "error": error.document()["error"]}) + "\n"
    try:
        os.write(status, line.encode())
    except OSError:
        pass
    return error.exit_code


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
