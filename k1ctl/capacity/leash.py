"""What holds a command to its limits: started held back, watched or in its cgroup, and only then let go.

The command waits before its first instruction until it is limited; when its owner dies before, it never begins. It
needs no rights: where no cgroup can be had the watchdog keeps the limit (k1ctl/capacity/watchdog.py).
"""

from __future__ import annotations

import os
import sys
import time

from k1ctl import groups
from k1ctl.capacity import cgroup, cpu, entry, oom, watchdog, watched
from k1ctl.capacity.scan import Scan, leader_start
from k1ctl.capacity.spared import OFFERED
from k1ctl.errors import BusyError
from k1ctl.signals import signals
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_TRIES = 3
_UNWATCHED = 5.0  # s for which a watchdog is tried to be started before the command is ended
_ENDING = 0.5  # s that a watchdog takes to end once nobody is left, at most
_staying: list[int] = []  # watchdogs that watch what their command left behind


class Limits:
    """What a command may use: ``memory`` bytes and ``cpus`` cores (0: any).

    ``means``: auto, cgroup or watchdog; ``relief`` {suspend, kill: percent of the host's memory at which the youngest
    such command gives way, 0: never; every: seconds between two looks at that}; ``what`` others are told it is;
    ``name`` of its folder (default: a new one); ``retries``: attempts with more memory after a detected lack of it, for
    runs; ``mark``: a word in its environment by which one who left for a session of his own is known ("": none).
    """

    __slots__ = ("cpus", "mark", "means", "memory", "name", "relief", "retries", "what")

    def __init__(
        self,
        memory: int = 0,
        cpus: float = 0.0,
        *,
        means: str = "auto",
        relief: Mapping[str, float] | None = None,
        what: str = "",
        name: str = "",
        retries: int = 0,
        mark: str = "",
    ) -> None:
        self.memory, self.cpus, self.means, self.relief = memory, cpus, means, dict(relief or {})
        self.what, self.name, self.retries, self.mark = what, name, retries, mark


class Told:
    """What there is to tell of a command that ended: ``peak`` bytes of the tree and ``largest`` of one process as seen,
    ``suspended_seconds`` it stood still, ``judged`` by the watchdog (code, message ...; None: it ended by itself), and
    ``oom``: the verdict, None when memory was not the reason."""

    __slots__ = ("judged", "largest", "oom", "peak", "suspended_seconds")

    def __init__(self, seen: Mapping[str, float], judged: dict[str, Any] | None, verdict: oom.Verdict | None) -> None:
        self.peak, self.largest = int(seen["peak"]), int(seen["largest"])
        self.suspended_seconds, self.judged, self.oom = seen["suspended_seconds"], judged, verdict


class Leash:
    """What holds one command to its limits. Its owner calls `look` now and then, and `over` when it has ended.

    ``means`` keeps the memory limit: cgroup, watchdog or none; ``cpu_means`` the other: cgroup, affinity, duty or none.
    """

    EVERY = 1.0  # s between two calls of `look` at most

    def __init__(self, command: watched.Watched) -> None:
        self.command = command
        self._lock = command.lock(watched.OWNER)  # for as long as it is ours, nobody else takes the folder away
        self._read, self._write = os.pipe()
        self._kills = oom.kernel_kills()
        self._seen = watched.Seen(command.folder)
        self.guardian = 0
        self._unwatched = 0.0  # since when no watchdog can be started
        self._again_at = 0.0
        spec = command.spec
        self.means: str = spec["means"] if spec["memory"] else "none"
        self.cpu_means: str = spec["cpu_means"] or "none"
        self.suspended, self.suspended_seconds = False, 0.0

    def arm(self) -> None:
        """Start the watchdog; returns once the command is watched. Raises OSError."""
        self.guardian = watchdog.start(self.command, self._read)

    def look(self) -> str:
        """Start the watchdog anew when it was killed; what there is to tell ("" mostly). Raises OSError."""
        if self.guardian and _over(self.guardian):
            self.guardian, self._unwatched, self._again_at = 0, time.monotonic(), 0.0
        if self._unwatched and time.monotonic() >= self._again_at:
            return self._arm_again()
        seen = self.seen()
        if bool(seen["suspended_at"]) == self.suspended:
            return ""
        self.suspended, self.suspended_seconds = not self.suspended, seen["suspended_seconds"]
        if self.suspended:
            return "it stands still: the host is short of memory, and it is the youngest"
        return f"it goes on, after {format_duration(seen['suspended_seconds'])} of standing still in all"

    def _arm_again(self) -> str:
        """A command that nobody can watch any more is ended: limited or dead, never unlimited."""
        if not self.lives():
            self._unwatched = 0.0
            return ""
        try:
            self._restore()
            self.arm()
        except OSError as exc:
            now = time.monotonic()
            self._again_at = now + self.EVERY
            if now - self._unwatched < _UNWATCHED or self.command.guarded():
                return ""
            self._unwatched = 0.0
            for group in _scan(self.command).groups():
                groups.send(group, signals.SIGKILL)
            return f"it was ended: no watchdog could be started ({exc})"
        self._unwatched = 0.0
        return "its watchdog was killed; there is another"

    def _restore(self) -> None:
        """Make the folder again when somebody took it away."""
        if not os.path.exists(self.command.path("spec.json")):
            self.command.restore()
            self._seen.close()
            os.close(self._lock)
            self._seen, self._lock = watched.Seen(self.command.folder), self.command.lock(watched.OWNER)

    def lives(self) -> bool:
        """Whether a process of the command lives."""
        return alive(self.command)

    def seen(self) -> dict[str, float]:
        """What the watchdog saw until now (`watched.Seen`)."""
        return self._seen.get()

    def over(self, status: int, *, tail: bytes = b"") -> Told:
        """The command has ended with exit code ``status`` (negative: by a signal) and printed ``tail``; its watchdog
        ends, too, unless it watches one that left for a session of its own: then it goes on until that one ends."""
        spec, seen, judged = self.command.spec, self.seen(), self.command.verdict()
        after, before = oom.kernel_kills(), self._kills
        verdict = oom.verdict(
            judged,
            limit=spec["memory"],
            peak=int(seen["peak"]),
            status=status,
            tail=tail,
            cgroup_kills=cgroup.kills(spec["cgroup"]),
            kernel_kills=None if after is None or before is None else after - before,
        )
        os.close(self._write)
        os.close(self._read)
        lives = self.lives()
        ended = not self.guardian or _ends(self.guardian, 0.0 if lives else _ENDING)
        if ended and not lives:
            self.command.remove()
        os.close(self._lock)
        self._seen.close()
        return Told(seen, judged, verdict)


def _over(pid: int) -> bool:
    try:
        return bool(os.waitpid(pid, os.WNOHANG)[0])
    except ChildProcessError:
        return True


def _ends(guardian: int, seconds: float) -> bool:
    """Whether a watchdog ends within ``seconds``; one that stays, since it watches a daemon, is reaped later."""
    _staying[:] = [pid for pid in _staying if not _over(pid)]
    until, pause = time.monotonic() + seconds, 0.0005
    while not (ended := _over(guardian)) and time.monotonic() < until:
        time.sleep(pause)
        pause = min(0.02, 2 * pause)
    if not ended:
        _staying.append(guardian)
    return ended


def alive(command: watched.Watched) -> bool:
    """Whether a process of a limited command lives."""
    return bool(_scan(command).members)


def _scan(command: watched.Watched) -> Scan:
    spec = command.spec
    found = Scan(spec["session"], spec["leave_out"], spec["leader_start"], spec.get("mark", ""))
    found.look(full=True)
    return found


def rearm() -> int:
    """Watch again what nobody watches any more, and take away what is left of those that ended; how many there were.

    Every command that deals with capacity calls it: it takes one look at a folder when there is nothing to do.
    """
    found = 0
    for command in watched.every():
        if command.guarded() or command.guarded(watched.OWNER):
            continue
        try:
            if alive(command):
                watchdog.start(command, -1)
                found += 1
            else:
                command.remove()
        except OSError:
            continue  # another call is at it, or it ended meanwhile
    watched.sweep()
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
    FileNotFoundError or PermissionError when it cannot be started; BusyError (no-watchdog).
    """
    entry.check_executable(os.path.join(cwd, argv[0]) if os.sep in argv[0] else argv[0], env)
    name = limits.name or f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"
    place = _place(name, limits)
    read, go = os.pipe()
    try:
        pid = entry.start([cwd, *argv], env, actions, session, read, place.prefix if place else [])
        try:
            leash = _hold(pid, name, limits, session, place)
        except BaseException:
            os.kill(pid, signals.SIGKILL)
            os.waitpid(pid, 0)
            if place is not None:
                place.remove()
            raise
        os.write(go, b"G")
    finally:
        os.close(read)
        os.close(go)
    return pid, leash


def _place(name: str, limits: Limits) -> cgroup.Place | None:
    if limits.means == "watchdog" or not (limits.memory or limits.cpus):
        return None
    memory, cpus, asked = limits.memory, limits.cpus, limits.means == "cgroup"
    return (
        cgroup.make(name, memory, cpus)
        or cgroup.make_scope(name, memory, cpus)
        or (cgroup.make(name, memory, cpus, v1=True) if asked else None)
    )


def means_of(limits: Limits) -> tuple[str, str]:
    """(what would keep the memory limit, what the limit of cores), found out by trying and taken away again."""
    place = _place(f"try-{os.urandom(4).hex()}", limits)
    folders = {} if place is None else place.folders
    if place is not None and not place.prefix:
        place.remove()
    memory = "none" if not limits.memory else "cgroup" if "memory" in folders else "watchdog"
    return memory, _cpu_means(limits.cpus, folders) or "none"


def _cpu_means(cpus: float, folders: Mapping[str, str]) -> str:
    if not cpus or cpus >= _usable_cores():
        return ""
    return "cgroup" if "cpu" in folders else "affinity" if cpu.whole(cpus) else "duty"


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hold(pid: int, name: str, limits: Limits, session: int, place: cgroup.Place | None) -> Leash:
    """Put the process where it is limited, and start its watchdog."""
    folders = {} if place is None else place.folders
    cores, cpu_means = [], _cpu_means(limits.cpus, folders)
    if cpu_means == "affinity":
        cores = cpu.choose(int(limits.cpus), [command.spec["cores"] for command in watched.every()])
        if not cpu.keep_on(pid, cores):
            cores, cpu_means = [], "duty"
    if place is not None and not place.prefix:
        place.enter(pid)
    spec = {
        "id": name,
        "session": session or pid,
        "leave_out": os.getpgrp() if session else 0,
        "leader_start": leader_start(session or pid),
        "mark": limits.mark,
        "memory": limits.memory,
        "cpus": limits.cpus,
        "means": "cgroup" if "memory" in folders else "watchdog",
        "cpu_means": cpu_means,
        "cores": cores,
        "cgroup": folders,
        "since": time.time(),
        "what": limits.what,
        "relief": limits.relief,
        "path": sys.path,
    }
    if limits.relief:
        _offer(pid)
    leash = Leash(watched.create(spec))
    try:
        _arm(leash)
    except BaseException:
        leash.over(0)
        raise
    return leash


def _arm(leash: Leash) -> None:
    """Start the watchdog; one that is killed on its way up is started again."""
    for _ in range(_TRIES):
        try:
            return leash.arm()
        except OSError as exc:
            why = exc
    raise BusyError(
        f"the watchdog could not be started, so nothing was: {why}",
        hint="it is a process of this Python; ulimit -u and free memory decide whether there can be one more",
        code="no-watchdog",
    )


def _offer(pid: int) -> None:
    """Make a process, and the children it will have, the kernel's first choice when memory runs out
    (proc_pid_oom_score_adj(5)). One that is so already, as all of some containers are, stays as it is."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "r+", encoding="ascii") as f:
            if int(f.read()) < OFFERED:
                f.seek(0)
                f.write(str(OFFERED))
    except (OSError, ValueError):
        pass  # no Linux
