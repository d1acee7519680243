"""Start a command that may use so much memory and CPU and no more, whoever starts it and dies.

The command waits before its first instruction until it is watched (or in its cgroup); when we die before, it never
begins. It needs no rights: where no cgroup can be had the watchdog keeps the limit (k1ctl/capacity/watchdog.py).
"""

from __future__ import annotations

import os
import sys
import time

from k1ctl import groups
from k1ctl.capacity import oom, watchdog, watched
from k1ctl.capacity.scan import Scan, leader_start
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


_RESET = [
    signals.SIGHUP,
    signals.SIGINT,
    signals.SIGTERM,
    signals.SIGPIPE,
    signals.SIGUSR1,
    signals.SIGCHLD,
    signals.SIGXFSZ,
]
# a shell would drop variables whose names it does not like, and on macOS DYLD_*; Python adds LC_CTYPE in the C locale
_ENTRY = """
import os, sys, _signal
for n in (_signal.SIGINT, _signal.SIGPIPE, _signal.SIGXFSZ): _signal.signal(n, _signal.SIG_DFL)
fd, drop, folder, argv = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
if not os.read(fd, 1): os._exit(125)
os.close(fd)
for name in filter(None, drop.split(",")): os.environ.pop(name, None)
try:
    if folder: os.chdir(folder)
    os.execvp(argv[0], argv)
except OSError as exc:
    os.write(2, os.fsencode(f"{exc.filename or argv[0]}: {exc.strerror}\\n"))
    os._exit(127 if isinstance(exc, FileNotFoundError) else 126)
"""
_ADDED = ("LC_CTYPE", "__PYVENV_LAUNCHER__", "__CF_USER_TEXT_ENCODING")
_GRACE = 5.0  # s between TERM and KILL
_NAP = 0.02  # s, the longest between two looks at a command


class Limits:
    """What a command may use: ``memory`` bytes and ``cpus`` cores (0: any).

    ``means``: auto, cgroup or watchdog; ``relief`` {suspend, kill: percent of the host's memory at which the youngest
    such command gives way; 0: never}; ``what`` others are told it is; ``name`` of its folder (default: a new one).
    """

    __slots__ = ("cpus", "means", "memory", "name", "relief", "what")

    def __init__(
        self,
        memory: int = 0,
        cpus: float = 0.0,
        *,
        means: str = "auto",
        relief: Mapping[str, float] | None = None,
        what: str = "",
        name: str = "",
    ) -> None:
        self.memory, self.cpus, self.means, self.relief = memory, cpus, means, dict(relief or {})
        self.what, self.name = what, name


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


class Leash:
    """What holds one command to its limits. Its owner calls `look` now and then, and `over` when it has ended."""

    def __init__(self, command: watched.Watched, lock: int) -> None:
        self.command = command
        self._lock = lock  # for as long as it is ours, nobody else takes the folder away
        self._read, self._write = os.pipe()
        self.guardian = 0
        self.means: str = command.spec["means"]

    def arm(self) -> None:
        """Start the watchdog; returns once the command is watched. Raises OSError."""
        self.guardian = watchdog.start(self.command, self._read)

    def look(self) -> None:
        """Start the watchdog anew when it was killed. Raises OSError."""
        if not self.guardian:
            return
        try:
            ended = os.waitpid(self.guardian, os.WNOHANG)[0]
        except ChildProcessError:
            ended = self.guardian
        if ended:
            self.guardian = 0
            if self.lives():
                self.arm()

    def lives(self) -> bool:
        """Whether a process of the command lives."""
        spec = self.command.spec
        return Scan(spec["session"], spec["leave_out"], spec["leader_start"]).look(full=True)

    def seen(self) -> dict[str, float]:
        """What the watchdog saw until now (`watched.Seen`)."""
        figures = watched.Seen(self.command.folder)
        try:
            return figures.get()
        finally:
            figures.close()

    def over(self) -> tuple[dict[str, float], dict[str, Any] | None]:
        """The command has ended: (what was seen of it, the watchdog's verdict); the watchdog ends, too."""
        found = self.seen(), self.command.verdict()
        os.close(self._write)
        os.close(self._read)
        if self.guardian and not self.lives():
            os.waitpid(self.guardian, 0)
        if not self.lives():
            self.command.remove()
        os.close(self._lock)
        return found


def spawn(
    argv: Sequence[str],
    env: Mapping[Any, Any],
    limits: Limits,
    *,
    actions: Sequence[Any] = (),
    session: int = 0,
    cwd: str = "",
) -> tuple[int, Leash]:
    """Start ``argv`` in a process group of its own, limited; (its pid, its leash).

    ``actions`` are posix_spawn's; ``session``: ours, in which it stays (0: it gets one of its own);
    ``cwd`` where it begins. Raises OSError:
    FileNotFoundError or PermissionError when it cannot be started.
    """
    check_executable(argv[0], env)
    read, go = os.pipe()
    try:
        pid = _enter([cwd, *argv], env, actions, session, read)
        try:
            leash = _hold(pid, limits, session)
        except BaseException:
            os.kill(pid, signals.SIGKILL)
            os.waitpid(pid, 0)
            raise
        os.write(go, b"G")
    finally:
        os.close(read)
        os.close(go)
    return pid, leash


def _hold(pid: int, limits: Limits, session: int) -> Leash:
    spec = {
        "id": limits.name or f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(4).hex()}",
        "session": session or pid,
        "leave_out": os.getpgrp() if session else 0,
        "leader_start": leader_start(session or pid),
        "memory": limits.memory,
        "cpus": limits.cpus,
        "means": "watchdog",
        "cpu_means": "",
        "cores": [],
        "cgroup": {},
        "since": time.time(),
        "what": limits.what,
        "relief": limits.relief,
        "path": sys.path,
    }
    command = watched.create(spec)
    leash = Leash(command, command.lock("owner"))
    leash.arm()
    return leash


def _enter(words: Sequence[str], env: Mapping[Any, Any], actions: Sequence[Any], session: int, read: int) -> int:
    """Start the process that becomes the command when a byte comes through ``read``.

    ``words``: the folder it begins in ("": ours) and the command.
    """
    number = next(fd for fd in range(3, 64) if not _inherited(fd))
    high = watchdog._high(read)
    drop = ",".join(name for name in _ADDED if name not in env and name.encode() not in env)
    entry = [sys.executable, "-I", "-S", "-c", _ENTRY, str(number), drop, *words]
    more: dict[str, Any] = {"setpgroup": 0} if session else {"setsid": True}
    try:
        moves = [*actions, (os.POSIX_SPAWN_DUP2, high, number)]
        return os.posix_spawn(sys.executable, entry, env, file_actions=moves, setsigdef=_RESET, **more)
    finally:
        os.close(high)


def _inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def check_executable(name: str, env: Mapping[Any, Any]) -> None:
    """Raise FileNotFoundError or PermissionError, as exec would, when ``name`` cannot be started."""
    import errno

    given = env.get("PATH", env.get(b"PATH", os.defpath))
    folders = [""] if os.sep in name else os.fsdecode(given).split(os.pathsep)
    found = False
    for folder in folders:
        path = os.path.join(folder, name) if folder else name
        if os.path.isfile(path):
            found = True
            if os.access(path, os.X_OK):
                return
        elif os.path.isdir(path) and os.sep in name:
            found = True
    code = errno.EACCES if found else errno.ENOENT
    raise OSError(code, os.strerror(code), name)


class Limited:
    """A command under way: ``pid``, ``group``, ``session`` (all one number) and the ``leash`` that holds it."""

    def __init__(self, pid: int, leash: Leash) -> None:
        self.pid = self.group = self.session = pid
        self.leash = leash
        self._began = time.monotonic()
        self._status: tuple[int, Any, float] | None = None
        self._ended: Ended | None = None

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
        seen, verdict = self.leash.over()
        code = os.waitstatus_to_exitcode(status)
        rss = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        spec = self.leash.command.spec
        means = self.leash.means if spec["memory"] or spec["cpu_means"] else "none"
        found = oom.verdict(verdict, limit=spec["memory"], peak=int(seen["peak"]))
        return Ended(
            None if code < 0 else code,
            max(0, -code),
            at - self._began,
            usage.ru_utime + usage.ru_stime,
            int(max(seen["peak"], rss)),
            int(max(seen["largest"], rss)),
            found,
            means,
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
) -> Limited:
    """Start ``argv`` in a session of its own with at most ``memory`` bytes and ``cpus`` cores (0: any).

    It prints into ``log_fd`` (standard error into ``error_fd`` where that is given) and has no input; ``keep`` are
    descriptors it gets beside. Raises OSError: FileNotFoundError, PermissionError when it cannot be started.
    """
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    error = log_fd if error_fd is None else error_fd
    moves = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log_fd, 1), (os.POSIX_SPAWN_DUP2, error, 2)]
    for fd in keep:
        os.set_inheritable(fd, True)
    environ = dict(os.environ if env is None else env)
    try:
        pid, leash = spawn(argv, environ, Limits(memory, cpus, means=means), actions=moves, cwd=cwd)
    finally:
        os.close(null)
    return Limited(pid, leash)
