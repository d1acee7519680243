"""A lease that a script holds by a descriptor of its own: stand in line for it, hand it over, guard its device.

The claim waits in a process and session of its own, like a run's supervisor. Let in, it renames the script's file,
which the script's descriptor has locked, over its own ticket: the lease changes hands in one step, and from then on the
kernel ends it with the script's last copy of that descriptor. For a configured device the claim stays: it holds the
host-wide guard until the script's lock is gone.
"""

from __future__ import annotations

import os
import time

from k1ctl.errors import BusyError, UsageError
from k1ctl.files import flock, open_locked, same_file
from k1ctl.process import guards, nested
from k1ctl.process.attempt import Ending
from k1ctl.process.client import Client, fail, known, let_go
from k1ctl.process.frontend import FrontEnd, SupervisorLostError
from k1ctl.process.giveway import marks
from k1ctl.process.launch import Outcome
from k1ctl.process.spec import RunSpec
from k1ctl.process.view import View
from k1ctl.queue import history, names, offer
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.line import SH, UN, Line, write_facts
from k1ctl.queue.ticket import Ticket
from k1ctl.signals import signals
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.queue.offer import Offer
    from k1ctl.workspace import Workspace

    Holder = tuple[int, str]  # process id, and what others are told it is

_ANOTHER = 2.0  # s in which a claim whose call was killed is gone
_TAKE_OVERS = 5  # claims killed in line before we stop replacing them


def acquire(
    workspace: Workspace, config: Config, fd: int, wait: float | None, view: View, *, holder: Holder | None = None
) -> tuple[Outcome, Offer]:
    """Stand in line for the ticket behind the caller's descriptor ``fd``; return once it is a lease, or not let in.

    ``holder``: the process that has the descriptor, and what it is (default: the script that called us). A second call
    for the same lease is no error; one whose guard was lost gets it back. Raises K1ctlError, OSError.
    """
    holder = holder or (os.getppid(), "script")
    folder = queue_folder(workspace, config)
    for _ in range(_TAKE_OVERS):
        found = offer.behind(folder, fd)
        offer.lock(fd)
        if found.held:  # another descriptor's until now, perhaps: what is put away meanwhile is no lease
            with Line(folder):
                found = offer.behind(folder, fd)
        spec = _spec(found, wait)
        _check_nesting(folder, spec)
        if found.held and not guards.missing(config, spec, str(found.facts().get("lease", ""))):
            return Outcome(Ending(0, "k1ctl", "granted", "granted"), "", ""), found
        front = _start(workspace, config, spec, fd, found, view, holder)
        try:
            ending = front.watch()
        except SupervisorLostError:
            continue
        finally:
            for each in (front.status, front.control, front.mark):
                os.close(each)
        return Outcome(ending, "", ""), found if ending.exit_code else offer.behind(folder, fd)
    return Outcome(Ending(76, "k1ctl", "supervisor-lost", "the claim was killed again and again"), "", ""), found


def _spec(found: Offer, wait: float | None) -> RunSpec:
    name = found.name
    facts, priority = found.facts(), names.priority_name(name.priority)
    label = str(facts.get("label") or "")
    spec = RunSpec("script", [], name.needs, wait=wait, priority=priority, key=name.key, label=label)
    spec.device = str(facts.get("device") or "")  # where the group has but one
    return spec


def _check_nesting(folder: str, spec: RunSpec) -> None:
    """A script under a run holds what the run holds already, and waits for the rest only in the order of names."""
    if nested.LEASES not in os.environ:
        return
    have, held = nested.join(folder, os.environ[nested.LEASES])
    for each in held:
        os.close(each)
    wanted = nested.settled(spec.resources, have)
    if nested.still_needed(wanted, have) != wanted:
        raise UsageError(
            f"the run around this script holds {' '.join(sorted(have))} already",
            hint="use it without a ticket",
            code="already-held",
        )


class _Front(FrontEnd):
    """The front end of a claim, which stays when all is said where it keeps the guard of a device."""

    def _reap(self) -> None:
        if not any(resource.startswith("device:") for resource in self.spec.resources):
            super()._reap()


def _start(
    workspace: Workspace, config: Config, spec: RunSpec, fd: int, found: Offer, view: View, holder: Holder
) -> FrontEnd:
    status_read, status_write = os.pipe()
    control_read, control_write = os.pipe()
    mark_read, mark_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(control_write)
        _claim(workspace, config, spec, (status_write, control_read, mark_write), fd, found, holder)
    for each in (status_write, control_read, mark_write):
        os.close(each)
    return _Front(workspace, config, spec, view, status_read, control_write, mark_read, pid)


def _claim(
    workspace: Workspace,
    config: Config,
    spec: RunSpec,
    pipes: tuple[int, int, int],
    fd: int,
    found: Offer,
    holder: Holder,
) -> None:
    """Be the claim, in a freshly forked process; never returns."""
    code = 70
    try:
        os.setsid()
        for number in (signals.SIGHUP, signals.SIGINT):
            signals.signal(number, signals.SIG_IGN)
        around = marks()
        let_go({*pipes, fd}, streams=(0, 1, 2))
        claim = Claim(workspace, config, spec, pipes, fd, found, holder)
        claim.facts.update(around)
        code = claim.main()
    except BaseException as exc:
        code = fail(exc, pipes[0])
    finally:
        os._exit(code)


class Claim(Client):
    """One claim for the descriptor ``fd``, whose file is ``found``; ``holder`` is the process that holds it."""

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        spec: RunSpec,
        pipes: tuple[int, int, int],
        fd: int,
        found: Offer,
        holder: Holder,
    ) -> None:
        super().__init__(workspace, config, spec, pipes)
        self.fd, self.offer = fd, found
        self.run_id = f"script-{os.urandom(6).hex()}"  # what the guards are held for
        self.facts: dict[str, Any] = {
            "kind": "script",
            "lease": self.run_id,
            "workspace": workspace.name,
            "command": f"{holder[1]} (pid {holder[0]})",
            "label": spec.label,
            "owner": holder[0],
            "holder": holder[1],
            "queued_at": rfc3339(),
        }
        if spec.device:
            self.facts["device"] = spec.device
        self.file = -1  # the script's file, opened by us: its lock is the script's, not ours
        self.handed = False

    def main(self) -> int:
        """To the hand-over, and for a device to the end of the lease; returns the exit code of the call."""
        try:
            ending = self._claim()
        except Exception as exc:
            error = known(exc)
            ending = Ending(error.exit_code, "k1ctl", error.code, error.message, hint=error.hint)
            ending.error = error.document()["error"]
            if self.ticket is not None and "granted" in self.times and not self.handed:
                self.ticket.release()
        kept = ending.exit_code == 0 and bool(self.guards)
        if kept:
            signals.signal(signals.SIGTERM, signals.SIG_IGN)  # the guard goes with the lease, not before
        self.tell(
            "ended", exit_code=ending.exit_code, by=ending.by, code=ending.code, message=ending.message,
            hint=ending.hint, error=ending.error,
        )  # fmt: skip
        if kept:
            self._keep()
        return ending.exit_code

    def _claim(self) -> Ending:
        """One claim at a time: a second one would wait in line for its own script."""
        folder = queue_folder(self.workspace, self.config)
        path = offer.claim_lock(folder, self.fd)
        deadline = time.monotonic() + _ANOTHER
        while (alone := open_locked(path, blocking=False)) is None:
            if time.monotonic() > deadline:
                hint = "one call at a time; it may be waiting in line"
                raise BusyError("another call acquires this ticket", hint=hint, code="ticket-taken")
            time.sleep(0.01)
        try:
            self.offer = offer.behind(folder, self.fd)  # the claim before us may have been killed when it was let in
            if not self.offer.held:
                return self._stand()
            if guards.missing(self.config, self.spec, str(self.offer.facts().get("lease", ""))):
                return self._hold_again()
            return Ending(0, "k1ctl", "granted", "granted")
        finally:
            if not self.handed and not self.offer.held:
                flock(self.fd, UN, "")  # offered again
            try:
                os.unlink(path)
            except FileNotFoundError:  # cleaned away
                pass
            os.close(alone)

    def _stand(self) -> Ending:
        ending = self.stand_in_line(self.facts)
        if ending is not None:
            return ending
        ending = self._guard()
        if ending is not None:
            assert self.ticket is not None
            self.ticket.release()
            return ending
        self._hand_over()
        waited = round(self.times["granted"] - self.times["enqueued"], 6)
        assert self.ticket is not None
        self.note("queue.granted", ticket=self.ticket.seq, resources=self.spec.resources, wait_seconds=waited)
        return Ending(0, "k1ctl", "granted", "granted")

    def chosen(self) -> None:
        """Who looks at the lease, or acquires it again, finds the device in it."""
        self.facts["device"] = self.spec.device
        super().chosen()

    def _guard(self) -> Ending | None:
        ending = guards.take(self)
        self.facts["guards"] = sorted(self.guards)
        return ending

    def _hand_over(self) -> None:
        """The script's file takes our ticket's name: who looks sees a lease before and behind it, never none or two."""
        ticket = self.ticket
        assert ticket is not None
        self._rename(ticket, ticket.facts)
        os.close(ticket.fd)  # who watched us looks again, and watches the script

    def _rename(self, ticket: Ticket, facts: dict[str, Any]) -> None:
        """Give the script's file the name of ``ticket``, and ``facts`` and ours to read."""
        path = self.offer.path
        with ticket.line as line:
            try:
                self.file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                if not same_file(self.fd, path):
                    raise FileNotFoundError(path)
                offer.lock(self.fd)
                self.facts = {**facts, **self.facts, "granted_at": rfc3339(), "started": time.time()}
                write_facts(self.file, self.facts)
                os.rename(path, line.tickets + ticket.file)
            except FileNotFoundError as exc:
                raise offer.gone(self.fd) from exc
        self.handed = True

    def _hold_again(self) -> Ending:
        """The lease is the script's already, but the claim that kept its guard was killed: keep it from now on."""
        facts = self.offer.facts()
        ending = self._guard()
        if ending is not None:
            return ending
        folder = queue_folder(self.workspace, self.config)
        line = Line(folder, park_seconds=self.config.get("queue", "park"), note=self.note)
        name = self.offer.name
        ticket = Ticket(line, name.needs, self.slots, facts=facts)
        ticket.seq, ticket.file = name.seq, names.build("r", name.priority, name.seq, os.getpid(), name.key, name.needs)
        self._rename(ticket, facts)
        self.ticket = ticket
        self.times["granted"] = time.monotonic()
        return Ending(0, "k1ctl", "granted", "granted")

    def _keep(self) -> None:
        """Hold the guards until the script's descriptor is closed everywhere, then put the ticket away."""
        ticket = self.ticket
        assert ticket is not None
        os.chdir("/")
        os.close(self.fd)  # our copy would keep the lease for ever
        for each in (self.status, self.control, self.mark):
            os.close(each)
        flock(self.file, SH, "")  # returns when the script's lock is gone, whatever ended it
        held = time.monotonic() - self.times["granted"]
        for path, fd in self.guards.items():
            flock(fd, UN, path)
        ticket.fd = self.file
        ticket.release()
        for resource in ticket.needs:
            history.add(ticket.line.folder, resource, held)
        self.note("queue.released", ticket=ticket.seq, resources=ticket.needs, held_seconds=round(held, 6))
