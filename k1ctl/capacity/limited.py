"""Start a command that may use so much memory and CPU and no more, and learn how it ended.

Whoever starts it may die: the command stays limited (`leash`, `watchdog`).
"""

from __future__ import annotations

import os
import time

from k1ctl import groups
from k1ctl.capacity import oom
from k1ctl.capacity.leash import Leash, Limits, spawn
from k1ctl.capacity.processes import resident
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_GRACE = 5.0  # s between TERM and KILL
_NAP = 0.02  # s, the longest between two looks at a command


class Ended:
    """How a limited command ended.

    ``exit_code`` (None when a signal ended it) and ``signal`` (0: none); ``wall_seconds``; ``cpu_seconds`` of it and of
    the children it waited for (wait4); ``peak_bytes`` of the tree as seen, ``largest_bytes`` of one process; ``oom``:
    the verdict, None when memory was not the reason; ``means``: cgroup, watchdog, or none when nothing was limited.
    """

    __slots__ = ("cpu_seconds", "exit_code", "largest_bytes", "means", "oom", "peak_bytes", "signal", "wall_seconds")

    def __init__(
        self,
        exit_code: int | None,
        signal: int,
        wall_seconds: float,
        cpu_seconds: float,
        peak_bytes: int,
        largest_bytes: int,
        oom: oom.Verdict | None,
        means: str,
    ) -> None:
        self.exit_code, self.signal, self.wall_seconds, self.cpu_seconds = exit_code, signal, wall_seconds, cpu_seconds
        self.peak_bytes, self.largest_bytes, self.oom, self.means = peak_bytes, largest_bytes, oom, means


class Limited:
    """A command under way: ``pid``, ``group``, ``session`` (all one number) and the ``leash`` that holds it."""

    def __init__(self, pid: int, leash: Leash, logs: Sequence[int] = ()) -> None:
        self.pid = self.group = self.session = pid
        self.leash = leash
        self._logs = [(os.dup(fd), os.fstat(fd).st_size) for fd in logs]
        self._began = time.monotonic()
        self._status: tuple[int, Any, float] | None = None
        self._ended: Ended | None = None

    @property
    def exited(self) -> bool:
        """Whether the command itself was seen to end; others of its group may live on."""
        return self._status is not None

    def poll(self) -> Ended | None:
        """How it ended; None while somebody of its group lives. Raises OSError."""
        if self._ended is not None:
            return self._ended
        self.leash.look()
        if self._status is None:
            done, status, usage = os.wait4(self.pid, os.WNOHANG)
            if not done:
                return None
            self._status = status, usage, time.monotonic()
        if groups.exists(self.group) and groups.members(self.group):
            return None
        self._ended = self._finish(*self._status)
        return self._ended

    def wait(self, timeout: float | None = None) -> Ended | None:
        """Wait for its end; None after ``timeout`` seconds. Raises OSError."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.0005
        while (ended := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                return None
            time.sleep(pause)
            pause = min(_NAP, pause * 2)
        return ended

    def stop(self, grace: float = _GRACE) -> Ended:
        """End it: TERM, and KILL after ``grace`` seconds. Raises OSError."""
        groups.send_to_session(self.session, signals.SIGTERM, signals.SIGCONT, group=self.group)
        ended = self.wait(grace)
        while ended is None:
            groups.send_to_session(self.session, signals.SIGKILL, group=self.group)
            ended = self.wait(0.5)
        return ended

    def _finish(self, status: int, usage: Any, at: float) -> Ended:
        rss = resident(usage.ru_maxrss)
        code = os.waitstatus_to_exitcode(status)
        told = self.leash.over(code, tail=b"".join(oom.tail_of(fd, start=at) for fd, at in self._logs))
        while self._logs:
            os.close(self._logs.pop()[0])
        return Ended(
            None if code < 0 else code,
            max(0, -code),
            at - self._began,
            usage.ru_utime + usage.ru_stime,
            int(max(told.peak, rss)),
            int(max(told.largest, rss)),
            told.oom,
            self.leash.means,
        )


def start(
    argv: Sequence[str],
    *,
    memory: int = 0,
    cpus: float = 0.0,
    cwd: str = "",
    env: Mapping[str, str] | None = None,
    log_fd: int,
    error_fd: int | None = None,
    keep: Sequence[int] = (),
    means: str = "auto",
    relief: Mapping[str, float] | None = None,
) -> Limited:
    """Start ``argv`` in a session of its own with at most ``memory`` bytes and ``cpus`` cores (0: any).

    It prints into ``log_fd`` (standard error into ``error_fd`` where that is given) and has no input; ``keep`` are
    descriptors it gets beside; ``means`` and ``relief`` as in `leash.Limits`. Raises OSError: FileNotFoundError,
    PermissionError when it cannot be started.
    """
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    error = log_fd if error_fd is None else error_fd
    moves = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log_fd, 1), (os.POSIX_SPAWN_DUP2, error, 2)]
    for fd in keep:
        os.set_inheritable(fd, True)
    environ = dict(os.environ if env is None else env)
    try:
        pid, leash = spawn(argv, environ, Limits(memory, cpus, means=means, relief=relief), actions=moves, cwd=cwd)
    finally:
        os.close(null)
    return Limited(pid, leash, [log_fd] if error_fd is None else [log_fd, error_fd])
