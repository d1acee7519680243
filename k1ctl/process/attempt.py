"""One attempt of a run: start the command in a group of its own, watch it, stop it when its rules say so."""

from __future__ import annotations

import os
import select
import time

from k1ctl import groups
from k1ctl.errors import K1ctlError
from k1ctl.process import nested
from k1ctl.signals import FOR_COMMANDS, signals
from k1ctl.units import format_duration, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.process.limiting import Limiting
    from k1ctl.process.supervisor import Caller, Supervisor

_LINGER_NOTICE = 0.2  # s after which a group that outlives its command is worth telling of
_BOOKS_AFTER = 0.005  # s after its start that a command is recorded: who hands over and who starts keep the cores busy
_LONGEST = 3600.0  # s; poll takes no endless float
_INNER = 0.05  # s between two looks whether a run within this one has ended
_LIMITED = 1.0  # s between two looks whether a limited command is still watched
ANY_SIGNAL = 128  # in ``retry_on``: a command that a signal killed is worth another attempt


class Ending:
    """How a run or an attempt ended.

    ``exit_code``; ``by``: whose it is, ``command`` or ``k1ctl``; ``code``, ``message``, ``hint`` why; ``result`` and
    ``error`` what goes into the record; ``interrupted``: ^C was passed on to the command, which may exit as it likes.
    """

    __slots__ = ("by", "code", "error", "exit_code", "hint", "interrupted", "message", "result")

    def __init__(
        self,
        exit_code: int,
        by: str,
        code: str,
        message: str,
        *,
        hint: str = "",
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        self.exit_code, self.by, self.code, self.message = exit_code, by, code, message
        self.hint, self.result, self.error, self.interrupted = hint, result, error, False

    def as_error(self, **details: Any) -> K1ctlError:
        """The ending as the error that it is for a caller who gets no status passed through."""
        told = self.error or {}
        more = {k: v for k, v in told.items() if k not in ("code", "message", "hint", "exit_code")}
        error = K1ctlError(self.message, hint=told.get("hint") or self.hint, code=self.code, **{**more, **details})
        error.exit_code = self.exit_code
        return error


_REASONS = {
    "timed-out": (124, "ran past its limit of {limit}"),
    "caller-gone": (143, "stopped: its caller is gone"),
    "caller-terminated": (143, "stopped: its caller was told to end"),
    "cancelled": (143, "stopped: the run was cancelled"),
}


class Attempt:
    """The command's life from its start until its process group is empty."""

    def __init__(self, supervisor: Supervisor, caller: Caller, number: int) -> None:
        self.supervisor, self.caller, self.number = supervisor, caller, number
        self.spec, self.times = supervisor.spec, supervisor.times
        self.reason = ""  # why we stop it, once we do
        self.interrupts = 0
        self.group = 0
        self.kill_at: float | None = None
        self.deadline: float | None = None
        self.peak = 0
        self.saved = False
        self.limiting: Limiting | None = None
        self.wake = self._wake_pipe()[0]
        self.poll = select.poll()
        self.poll.register(self.wake, select.POLLIN)
        if caller.here:
            self.poll.register(caller.fd, select.POLLIN | select.POLLHUP)

    def _wake_pipe(self) -> tuple[int, int]:
        """The pipe that signals write to; a run without a ticket has none yet."""
        ticket = self.supervisor.ticket
        if ticket is not None:
            return ticket.wake_read, ticket.wake_write
        if self.supervisor.wake is None:
            read, write = os.pipe()
            os.set_blocking(read, False)
            os.set_blocking(write, False)
            signals.signal(signals.SIGCHLD, lambda *_: None)
            signals.set_wakeup_fd(write, warn_on_full_buffer=False)
            self.supervisor.wake = (read, write)
        return self.supervisor.wake

    def run(self) -> Ending:
        """Start the command and wait until nobody of its group is left."""
        sup, spec = self.supervisor, self.spec
        sup.mark_start()
        try:
            pid = self._spawn()
        except OSError as exc:
            found = not isinstance(exc, FileNotFoundError)
            code, text = (126, "cannot be executed") if found else (127, "is not there")
            why = f"{spec.argv[0]} {text}: {exc.strerror}"
            return Ending(code, "k1ctl", "not-executable" if found else "tool-missing", why)
        started = time.monotonic()
        if hasattr(os, "sched_yield"):
            os.sched_yield()  # the command has only left our memory and waits for our core: it goes first
        self.group = pid
        sup.times.setdefault("started", started)
        if sup.ticket is not None:
            granted = {"granted_at": rfc3339()} if self.number == 1 else {}
            sup.ticket.tell(group=pid, **granted, **groups.stamp())
        if sup.promise is not None:
            sup.promise.tell(group=pid, **groups.stamp())
        sup.tell("running", pid=pid, attempt=self.number)
        self.deadline = None if spec.timeout is None else started + spec.timeout
        status, usage = self._until_exit(pid)
        sup.times["ended"] = time.monotonic()
        self._save_start(pid)
        ending = self._ending(os.waitstatus_to_exitcode(status))
        ending.interrupted = self.interrupts > 0
        self._until_empty(ending)
        if self.limiting is not None:
            ending = self.limiting.over(ending, os.waitstatus_to_exitcode(status), _resident(usage))
        self._save_end(ending, usage, sup.times["ended"] - started)
        return ending

    def _spawn(self) -> int:
        sup = self.supervisor
        actions = [(os.POSIX_SPAWN_DUP2, sup.log, 1), (os.POSIX_SPAWN_DUP2, sup.error_log, 2)]
        if sup.ticket is not None:  # a command that outlives us keeps the place
            os.set_inheritable(sup.ticket.fd, True)
        if sup.promise is not None and sup.promise.fd >= 0:
            os.set_inheritable(sup.promise.fd, True)
        if self.spec.limits is not None:
            from k1ctl.process.limiting import Limiting

            self.limiting = Limiting(self, self.spec.limits)
            return self.limiting.spawn(actions)
        argv = self.spec.argv
        return os.posix_spawnp(
            argv[0], argv, sup.environment(), file_actions=actions, setpgroup=0, setsigdef=FOR_COMMANDS
        )

    def _save_start(self, pid: int) -> None:
        if self.saved:
            return
        self.saved = True
        sup = self.supervisor
        facts = {"state": "running", "pid": pid, "group": pid, "attempt": self.number}
        if self.number == 1:
            facts["granted_at"] = facts["started_at"] = rfc3339()
            if sup.ticket is not None:
                facts["ticket"] = sup.ticket.seq
                waited = round(sup.times["granted"] - sup.times["enqueued"], 6)
                sup.note("queue.granted", ticket=sup.ticket.seq, resources=self.spec.resources, wait_seconds=waited)
        try:
            sup.run.save(**facts)
        except OSError:
            pass  # the record catches up at the end; the command runs

    def _until_exit(self, pid: int) -> tuple[int, Any]:
        save_at = time.monotonic() + _BOOKS_AFTER
        every = self.supervisor.config.get("process", "sample") or float("inf")
        next_sample = save_at + every
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                return status, usage
            now = time.monotonic()
            if now >= save_at:
                self._save_start(pid)
                save_at = float("inf")
            if now >= next_sample:
                from k1ctl.process.sampling import command_memory

                self.peak = max(self.peak, command_memory(self.group))
                next_sample = now + every
            self._step(min(save_at, next_sample, now + (_LONGEST if self.limiting is None else _LIMITED)) - now)

    def _step(self, seconds: float) -> None:
        """Wait for a signal, a word of the caller or a deadline, and act on it."""
        deadline = None if self.limiting is not None and self.limiting.suspended else self.deadline
        limits = [t - time.monotonic() for t in (deadline, self.kill_at) if t is not None]
        for fd, _ in self.poll.poll(max(0.0, min([seconds, *limits])) * 1000):
            if fd == self.wake:
                try:
                    os.read(self.wake, 512)
                except BlockingIOError:
                    pass
            else:
                self._hear()
        now, still = time.monotonic(), False
        if self.limiting is not None:
            self.limiting.look()
            still = self.limiting.suspended
        if self.supervisor.cancelled:
            self.stop("cancelled")
        if self.deadline is not None and now >= self.deadline and not still:
            self.deadline = None
            self.stop("timed-out")
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = now + 1.0
            groups.send_to_session(os.getpid(), signals.SIGKILL, group=self.group)

    def _hear(self) -> None:
        word = self.caller.read()
        if not self.caller.here:
            self.poll.unregister(self.caller.fd)
            if word == "gone":
                self.supervisor.note("run.caller_gone", on_caller_exit=self.spec.on_caller_exit)
        if self.spec.on_caller_exit == "keep" or word == "bye":
            return
        if word == "interrupt":
            self.interrupts += 1
            if self.interrupts == 1:
                groups.send(self.group, signals.SIGINT)
                if self.limiting is not None:  # what stands still for the host's sake would hear it in minutes
                    groups.send_to_session(os.getpid(), signals.SIGCONT, group=self.group)
                return
        self.stop("caller-gone" if word == "gone" else "caller-terminated")

    def stop(self, reason: str) -> None:
        """TERM to all that the command started and that did not leave our session; KILL after the grace period."""
        if not self.group:  # between two attempts
            self.supervisor.cancelled = True
            return
        if self.reason:
            return
        self.reason = reason
        self.kill_at = time.monotonic() + self.supervisor.config.get("process", "grace")
        # a stopped process gets TERM only when it goes on
        groups.send_to_session(os.getpid(), signals.SIGTERM, signals.SIGCONT, group=self.group)
        self.supervisor.tell("stopping", reason=reason)

    def _ending(self, status: int) -> Ending:
        if self.reason:
            code, text = _REASONS[self.reason]
            return Ending(code, "k1ctl", self.reason, text.format(limit=format_duration(self.spec.timeout or 0)))
        if status < 0:
            return Ending(128 - status, "command", "killed-by-signal", f"killed by signal {-status}")
        if status:
            return Ending(status, "command", "command-failed", f"exit code {status}")
        return Ending(0, "command", "done", "done")

    def _until_empty(self, ending: Ending) -> None:
        """Hold on until the group is empty: what still works keeps what it holds."""
        nap, since, told = 0.0005, time.monotonic(), False
        while groups.exists(self.group) or self._strays():
            waited = time.monotonic() - since
            if waited > _LINGER_NOTICE and not self._strays():
                left = groups.members(self.group)
                if not left:
                    return  # zombies that nobody reaps
                if not told:
                    told = True
                    self._lingering(ending, left)
            nap = min(nap * 2, 0.5)
            self._step(nap)

    def _strays(self) -> bool:
        """Whether a command that we stop has left living processes in other groups of our session."""
        return bool(self.reason) and bool(groups.groups_in(os.getpid()))

    def _lingering(self, ending: Ending, left: list[int]) -> None:
        sup = self.supervisor
        if not self.reason:
            sup.note("run.lingering", processes=len(left), group=self.group)
        if not self.reason and sup.after is None and not self.worth_another(ending):
            facts = {"exit_code": ending.exit_code, "by": ending.by, "code": ending.code, "message": ending.message}
            try:
                sup.run.save(state="lingering", processes=left[:20], **facts)
            except OSError:
                pass
            sup.write_result(facts)
            sup.tell("lingering", processes=len(left), **facts)

    def _save_end(self, ending: Ending, usage: Any, seconds: float) -> None:
        row = {
            "attempt": self.number,
            "exit_code": ending.exit_code,
            "code": ending.code,
            "run_seconds": round(seconds, 6),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 6),
            "max_rss_bytes": _resident(usage),
            "peak_tree_bytes": self.peak or None,
        }
        self.supervisor.run.record.setdefault("attempts", []).append(row)

    def worth_another(self, ending: Ending) -> bool:
        """Whether the rules allow one more attempt after this ending."""
        spec = self.spec
        if self.number >= spec.attempts or ending.exit_code == 0 or self.interrupts or self.supervisor.cancelled:
            return False
        if (self.reason and self.reason != "timed-out") or ending.code in ("tool-missing", "not-executable"):
            return False
        if spec.retry_on is None:
            return True
        killed = ending.code == "killed-by-signal" and ANY_SIGNAL in spec.retry_on
        return killed or ending.exit_code in spec.retry_on

    def pause(self, seconds: float) -> bool:
        """Wait before the next attempt; False when the caller's end or a cancellation makes it needless.

        A run within this one that goes on, as a flash does, is waited for: it has what we hold, and so would the next.
        """
        until = time.monotonic() + seconds
        self.deadline = self.kill_at = None
        self.group = 0
        if self._within():
            self.supervisor.tell("warning", message="a run within this one goes on; the next attempt waits for it")
        while (left := until - time.monotonic()) > 0 or self._within():
            self._step(max(left, _INNER))
            if self.supervisor.cancelled or self.interrupts:
                return False
            if not self.caller.here and self.spec.on_caller_exit == "stop":
                return False
        return True

    def _within(self) -> bool:
        ticket = self.supervisor.ticket
        return ticket is not None and nested.within(ticket.line.folder, self.supervisor.run.id)


def _resident(usage: Any) -> int:
    """The most bytes that one process had (getrusage(2); macOS counts bytes, others KiB)."""
    return int(usage.ru_maxrss) * (1 if os.uname().sysname == "Darwin" else 1024)
