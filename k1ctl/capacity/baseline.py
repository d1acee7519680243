"""Watch a command, or a process that runs already, and tell what it took: peak, CPU, and whether it leaks.

The command gets a session of its own and is not limited in any way; it goes on when the one who watches is killed.
"""

from __future__ import annotations

import os
import select
import time

from k1ctl import groups
from k1ctl.capacity import leak, processes
from k1ctl.capacity.sampler import FINE, Sampler
from k1ctl.errors import NotExecutableError, NotFoundError, UsageError
from k1ctl.masking import masked_words
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_SHOW = 1.0  # s between two changes of the live line
_LONGEST = 3600.0  # s; poll takes no endless float
_AGAIN = 1.0  # s between two KILLs
_KILLS = 5  # then who is left is left: it hangs in the kernel
COMMAND, INTERRUPT, TERMINATE, DURATION = "command", "interrupt", "terminate", "duration"


class Measured:
    """What was seen of a tree from ``at`` (seconds since 1970) on, for ``wall_seconds``.

    ``exit_code``: the command's, 128+N for signal N; None for a process that was only watched. ``ended_by``: command,
    interrupt, terminate, duration. ``cpu_seconds`` {user, system} by ``cpu_source``: wait4 (exact, for all that were
    waited for) or samples. ``largest``: bytes of the largest process by wait4, 0 when not known. ``left``: processes of
    the tree that live on.
    """

    def __init__(self, sampler: Sampler, argv: Sequence[str] = (), pid: int = 0) -> None:
        self.sampler, self.argv, self.pid = sampler, list(argv), pid
        self.at, self.began, self.wall_seconds = time.time(), time.monotonic(), 0.0
        self.exit_code: int | None = None
        self.ended_by = COMMAND
        self.cpu_seconds, self.cpu_source = {"user": 0.0, "system": 0.0}, "samples"
        self.cpu_before = 0.0  # what a process that runs already had used
        self.largest = self.left = 0

    @property
    def cpu_total(self) -> float:
        """CPU seconds, the larger of what wait4 and the samples tell: either misses who the other sees."""
        sampled = max(0.0, self.sampler.cpu - self.cpu_before)
        return max(sum(self.cpu_seconds.values()), sampled)

    def memory(self) -> dict[str, Any]:
        """The peak with its bound (`Sampler.memory`)."""
        return self.sampler.memory(self.largest)

    def document(self) -> dict[str, Any]:
        """The figures as JSON, the samples left out."""
        wall = max(self.wall_seconds, 1e-9)
        total, exact = self.cpu_total, self.cpu_source == "wait4"
        seen = min(1.0, self.sampler.watch.seen_cpu / total) if total > 0.1 and exact else None
        return {
            "argv": masked_words(self.argv),
            "pid": self.pid,
            "exit_code": self.exit_code,
            "ended_by": self.ended_by,
            "wall_seconds": round(self.wall_seconds, 3),
            "processes_left": self.left,
            "memory": self.memory(),
            "cpu": {
                "seconds": round(total, 3),
                "cores_mean": round(total / wall, 3),
                "source": self.cpu_source,
                **{f"{k}_seconds": round(v, 3) if exact else None for k, v in self.cpu_seconds.items()},
                "of_processes_seen_percent": None if seen is None else round(100 * seen, 1),
            },
            "leak": leak.verdict(self.sampler.least(), seconds=self.wall_seconds).document(),
            "sampling": self.sampler.sampling(),
        }


class _Loop:
    """Looks, sleeps, and acts on signals until it is over."""

    measured: Measured
    sampler: Sampler

    def __init__(self, duration: float, grace: float, show: Callable[[Sampler], None] | None) -> None:
        self.duration, self.grace, self.show = duration, grace, show
        self.deadline: float | None = None
        self.kill_at: float | None = None
        self.kills = 0
        self.told: list[int] = []
        self.child = 0  # our command; 0: a process that is only watched

    def __enter__(self) -> _Loop:
        self.read, self.write = os.pipe()
        for fd in (self.read, self.write):
            os.set_blocking(fd, False)
        self.before = {
            number: signals.getsignal(number)
            for number in (signals.SIGINT, signals.SIGTERM, signals.SIGHUP, signals.SIGCHLD)
        }
        for number, handler in self.before.items():
            if number == signals.SIGCHLD:
                signals.signal(number, lambda *_: None)
            elif handler != signals.SIG_IGN:
                signals.signal(number, lambda number, _: self.told.append(number))
        self.wakeup = signals.set_wakeup_fd(self.write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc: object) -> None:
        signals.set_wakeup_fd(self.wakeup)
        for number, handler in self.before.items():
            signals.signal(number, handler if handler is not None else signals.SIG_DFL)
        os.close(self.read)
        os.close(self.write)

    def run(self, measured: Measured, child: int = 0, each: Callable[[Measured], None] | None = None) -> None:
        """Sample until the command has ended, nobody lives, or we are told to stop watching."""
        self.measured, self.sampler, self.child = measured, measured.sampler, child
        self.deadline = measured.began + self.duration if self.duration else None
        next_look = next_show = 0.0
        while not self._over():
            now = time.monotonic()
            if now >= next_look:
                pause = self.sampler.look()
                if pause is None and not child:
                    break
                next_look = now + (pause or self.sampler.interval)
            if each is not None:
                each(measured)
            if self.show is not None and now >= next_show:
                self.show(self.sampler)
                next_show = now + _SHOW
            self._sleep(next_look if self.kill_at is None else min(next_look, now + FINE))
            if self._told_to_end():
                break
        measured.wall_seconds = measured.wall_seconds or time.monotonic() - measured.began

    def _over(self) -> bool:
        """Whether the command has ended, and all that came of it where it was told to end."""
        if not self.child:
            return False
        ended = self._ended()
        if self.kills >= _KILLS:
            self.measured.exit_code = self.measured.exit_code if ended else 128 + signals.SIGKILL
            return True
        return ended and (self.kill_at is None or not self.sampler.watch.look().pids)

    def _ended(self) -> bool:
        measured = self.measured
        if measured.exit_code is not None:
            return True
        done, status, usage = os.wait4(self.child, os.WNOHANG)
        if not done:
            return False
        code = os.waitstatus_to_exitcode(status)
        measured.wall_seconds = time.monotonic() - measured.began
        measured.exit_code = code if code >= 0 else 128 - code
        measured.cpu_seconds = {"user": usage.ru_utime, "system": usage.ru_stime}
        measured.cpu_source = "wait4"
        measured.largest = processes.resident(usage.ru_maxrss)
        return True

    def _sleep(self, until: float) -> None:
        limits = [t for t in (until, self.deadline, self.kill_at) if t is not None]
        poll = select.poll()
        poll.register(self.read, select.POLLIN)
        if poll.poll(min(max(0.0, min(limits) - time.monotonic()), _LONGEST) * 1000):
            try:
                os.read(self.read, 512)
            except BlockingIOError:
                pass

    def _told_to_end(self) -> bool:
        """Act on signals and deadlines; whether watching ends now, which is so for a process that is not ours."""
        now = time.monotonic()
        while self.told:
            number = self.told.pop(0)
            first = self.measured.ended_by == COMMAND
            if first:
                self.measured.ended_by = INTERRUPT if number == signals.SIGINT else TERMINATE
            if not self.child:
                return True
            if number == signals.SIGINT and first:
                groups.send(self.child, signals.SIGINT)
            else:
                self._stop(signals.SIGTERM, signals.SIGCONT)
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            if self.measured.ended_by == COMMAND:
                self.measured.ended_by = DURATION
            if not self.child:
                return True
            self._stop(signals.SIGTERM, signals.SIGCONT)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at, self.kills = now + _AGAIN, self.kills + 1
            self._stop(signals.SIGKILL)
        return False

    def _stop(self, *numbers: int) -> None:
        """Signal all that came of the command; once it was waited for its number may be another's."""
        if self.kill_at is None:  # who tells twice waits no longer
            self.kill_at = time.monotonic() + self.grace
        here = self.measured.exit_code is None
        for session in {*self.sampler.watch.sessions, *([self.child] if here else [])}:
            groups.send_to_session(session, *numbers, group=self.child if here else 0)


def command(
    argv: Sequence[str],
    *,
    interval: float = 1.0,
    duration: float = 0.0,
    grace: float = 10.0,
    cwd: str | None = None,
    stdout: int | None = None,
    show: Callable[[Sampler], None] | None = None,
    each: Callable[[Measured], None] | None = None,
) -> Measured:
    """Run a command in a session of its own and watch it to its end; it has our streams, the inherited ones as well.

    ``interval`` seconds between two looks; ``duration`` seconds after which it is told to end (0: never), with
    ``grace`` seconds from TERM to KILL; ``stdout``: a descriptor for its output instead of ours. ^C, TERM and HUP are
    passed on to it, and what was seen is returned. ``show`` is called about every second, ``each`` after each look
    and at each signal. Call it in the main thread. Raises NotFoundError, NotExecutableError.
    """
    import subprocess

    with _Loop(duration, grace, show) as loop:
        began = time.monotonic()
        try:
            # what we were given is the command's: make's job server, <(...), the place in a line that it keeps
            child = subprocess.Popen([*argv], cwd=cwd, stdout=stdout, start_new_session=True, close_fds=False)
        except FileNotFoundError as exc:
            hint = "nothing was run or recorded; a program is found by PATH, a function or an alias of a shell is not"
            raise NotFoundError(f"{argv[0]} is not there: {exc.strerror}", hint=hint) from exc
        except OSError as exc:
            raise NotExecutableError(f"{argv[0]} cannot be executed: {exc.strerror}") from exc
        measured = Measured(Sampler(session=child.pid, interval=interval), argv, child.pid)
        measured.began = began
        loop.run(measured, child.pid, each)
    child.returncode = measured.exit_code  # it was waited for here
    measured.left = len(measured.sampler.watch.look().pids)
    return measured


def process(
    pid: int, *, interval: float = 1.0, duration: float = 0.0, show: Callable[[Sampler], None] | None = None
) -> Measured:
    """Watch a process that runs already, and what descends from it, until it is gone, ``duration`` seconds are over
    (0: no end), or ^C; nothing is done to it. Raises UsageError when there is none."""
    if pid <= 0 or processes.started(pid) is None:
        raise UsageError(f"no process {pid} runs", hint="ps -e shows those that do")
    measured = Measured(Sampler(root=pid, interval=interval), (), pid)
    measured.cpu_before = _used(pid)
    with _Loop(duration, 0.0, show) as loop:
        loop.run(measured)
    measured.left = len(measured.sampler.watch.look().pids)
    return measured


def _used(pid: int) -> float:
    """CPU seconds that the tree had used before it was watched."""
    first = processes.Watch(root=pid)
    tree = first.look()
    return tree.cpu + tree.waited


def unfinished(measured: Measured) -> str:
    """Why the figures are not those of a whole run; "" when they are."""
    if measured.ended_by in (INTERRUPT, TERMINATE) and measured.exit_code is not None:
        return "it was stopped before its end"
    if measured.exit_code and measured.ended_by == COMMAND:
        return f"it ended with exit code {measured.exit_code}"
    return ""
