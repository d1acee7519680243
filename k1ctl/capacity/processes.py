"""The memory and CPU time of a process tree, by its session or its group; fast enough to be asked every second.

On Linux a look is one listing of /proc, a getsid(2) or getpgid(2) for each process, and /proc/PID/stat of those that
belong (proc_pid_stat(5)); so orphans are kept that a walk by parent loses. Elsewhere psutil is asked, and on a Mac what
is taken for resident is the physical footprint. RSS counts shared pages for each process; `pss` shares them out
(proc_pid_smaps(5)) and costs some 12 ms for a gigabyte.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_LINUX = os.path.exists("/proc/self/stat")
_PAGE, _TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_BLUR = 1 << 20  # bytes: counters of RSS lag behind by some pages on each core
_STATE, _PARENT, _GROUP, _SESSION, _START, _RSS = 0, 1, 2, 3, 19, 21  # fields of stat behind the name
_FAULTS, _CPU, _WAITED = (7, 9), (11, 12), (13, 14)


class Tree:
    """One look at a tree: ``rss`` of all, ``largest`` of one process, in bytes; its living ``pids``; ``cpu``: seconds
    used by those that live; ``waited``: seconds of their children that ended and were waited for."""

    __slots__ = ("cpu", "largest", "pids", "rss", "waited")

    def __init__(self) -> None:
        self.rss = self.largest = 0
        self.pids: list[int] = []
        self.cpu = self.waited = 0.0

    def take(self, pid: int, rss: int, cpu: float, waited: float = 0.0) -> None:
        """Count one more process."""
        self.rss += rss
        self.largest = max(self.largest, rss)
        self.cpu += cpu
        self.waited += waited
        self.pids.append(pid)


def look(*, session: int = 0, group: int = 0, leave_out: Iterable[int] = ()) -> Tree:
    """The living processes of a session, or of a group where ``session`` is 0."""
    tree, out = Tree(), set(leave_out)
    wanted, number_of = (session, os.getsid) if session else (group, os.getpgid)
    for pid in _pids():
        if pid not in out and _number(pid, number_of) == wanted:
            row = _row(pid)
            if row is not None and row.living:
                tree.take(pid, *row.use()[:3])
    return tree


class Member:
    """A process of a watched tree: ``start`` tells it from a later one of the same number; ``rss`` bytes now, ``high``
    the most it ever had resident, ``reached`` the most that it is known to have had since it is watched, ``before`` the
    most until then; ``cpu`` seconds of its own."""

    __slots__ = ("before", "cpu", "faults", "high", "pid", "reached", "rss", "start")

    def __init__(self, pid: int, start: object) -> None:
        self.pid, self.start = pid, start
        self.rss = self.high = self.reached = self.before = 0
        self.cpu, self.faults = 0.0, -1


class Watch:
    """Looks at one tree again and again: a session, or the process ``root`` and what descends from it.

    Who leaves for a session of his own is kept as long as he was seen once while his parent lived, and so is his
    session (agents start their shells that way). ``members`` are the processes of the last look, ``seen_cpu`` the
    seconds that all processes that were ever seen had used when they were seen last. ``highs``: read what each process
    had at most (VmHWM), which is asked only of those that took new pages since. Who watches is never among them.
    """

    def __init__(self, *, session: int = 0, root: int = 0, highs: bool = False) -> None:
        self.root, self.highs = root, highs
        self.sessions = {session} if session else set()
        self.members: dict[int, Member] = {}
        self._foreign: set[int] = set()  # processes that are known to be none of ours
        self._gone_cpu, self._own = 0.0, os.getpid()
        self._running = root > 0  # those of the first look have a past of their own

    def look(self) -> Tree:
        """The tree now; without ``pids`` when nobody of it lives."""
        listed = _pids()
        self._foreign.intersection_update(listed)
        rows: dict[int, _Row] = {}
        others: dict[int, _Row] = {}
        for pid in listed:
            row = None if pid in self._foreign or pid == self._own else _row(pid)
            if row is not None:
                (rows if self._belongs(pid, row) else others)[pid] = row
        while more := [pid for pid, row in others.items() if row.parent in rows or row.session in self.sessions]:
            for pid in more:
                rows[pid] = others.pop(pid)
                self._follow(pid, rows[pid])
        if not self.root:
            self._foreign.update(others)
        return self._taken(rows)

    def also(self, root: int) -> None:
        """From the next look on the process ``root`` and what descends from it belong to the tree as well."""
        self.root = root
        self._foreign.clear()

    @property
    def seen_cpu(self) -> float:
        return self._gone_cpu + sum(member.cpu for member in self.members.values())

    def _belongs(self, pid: int, row: _Row) -> bool:
        if row.session in self.sessions:
            return True
        known = self.members.get(pid)
        if pid == self.root and row.living:
            self.root = 0
        elif known is None or known.start != row.start:
            return False
        self._follow(pid, row)
        return True

    def _follow(self, pid: int, row: _Row) -> None:
        """A session whose leader is one of ours is ours; those who are in it may have been taken for others'."""
        if row.session == pid and pid not in self.sessions:
            self.sessions.add(pid)
            self._foreign = {other for other in self._foreign if _number(other, os.getsid) != pid}

    def _taken(self, rows: dict[int, _Row]) -> Tree:
        tree, members = Tree(), {}
        for pid, row in rows.items():
            member = self.members.get(pid)
            if member is None or member.start != row.start:
                member = Member(pid, row.start)
            rss, member.cpu, waited, faults, most = row.use()
            members[pid] = member
            if not row.living:
                tree.cpu += member.cpu
                tree.waited += waited
                continue
            member.rss = rss
            member.high, member.reached = max(member.high, rss), max(member.reached, rss)
            if self.highs and (most or faults != member.faults):
                most, member.faults = most or high(pid), faults
                member.high, member.before = max(member.high, most), most if self._running else member.before
                member.reached = max(member.reached, most if most > member.before else 0)
            tree.take(pid, rss, member.cpu, waited)
        self._gone_cpu += sum(m.cpu for pid, m in self.members.items() if members.get(pid) is not m)
        self.members = members
        self._running = False
        if rows:
            self.sessions &= {row.session for row in rows.values()}
        return tree


class _Row:
    """What the system tells of a process: by /proc on Linux, else by psutil."""

    __slots__ = ("fields", "living", "parent", "process", "session", "start")

    def __init__(self, living: bool, parent: int, session: int, start: object, fields: list[bytes], process: Any):
        self.living, self.parent, self.session, self.start = living, parent, session, start
        self.fields, self.process = fields, process

    def use(self) -> tuple[int, float, float, int, int]:
        """(bytes resident, seconds of its own, seconds of its children that ended, faults, most bytes or 0)."""
        if self.process is None:
            fields, tick = self.fields, _TICK
            cpu, waited = _sum(fields, _CPU) / tick, _sum(fields, _WAITED) / tick
            return int(fields[_RSS]) * _PAGE, cpu, waited, _sum(fields, _FAULTS), 0
        import psutil

        from k1ctl.capacity.footprint import charged

        try:
            times, (now, most) = self.process.cpu_times(), charged(self.process.pid)
        except (OSError, psutil.Error):
            return 0, 0.0, 0.0, -1, 0
        return now, times.user + times.system, 0.0, -2, most


def pss(pids: Iterable[int]) -> tuple[int, bool]:
    """(bytes that the processes have resident, each shared page counted once in all; whether all of them told).

    What a process does not tell (`share`) is left out.
    """
    told = [share(pid) for pid in pids]
    return sum(filter(None, told)), None not in told


def share(pid: int) -> int | None:
    """Bytes that a process has resident, each page shared out among those that have it; 0 when it is gone, None when
    that is not told: another user's process, a system without smaps_rollup."""
    try:
        fd = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return None
    except OSError:  # it is gone or has no memory any more (ESRCH), if the system has such files at all
        return 0 if os.path.exists("/proc/self/smaps_rollup") else None
    try:
        data = os.read(fd, 4096)
    except OSError:  # it ended meanwhile (ESRCH)
        return 0
    finally:
        os.close(fd)
    at = data.find(b"\nPss:")
    return int(data[at + 5 :].split(None, 1)[0]) << 10 if at >= 0 else 0


def by_tree() -> tuple[dict[int, int], dict[int, int]]:
    """({session: bytes}, {process group: bytes}) of all processes in one walk; shared pages count for each."""
    sessions: dict[int, int] = {}
    groups: dict[int, int] = {}
    for pid in _pids():
        found = _size(pid)
        if found is not None:
            group, session, size = found
            groups[group] = groups.get(group, 0) + size
            sessions[session] = sessions.get(session, 0) + size
    return sessions, groups


def high(pid: int) -> int:
    """The most that a process had resident since it was executed (VmHWM in proc_pid_status(5)); 0 when not told."""
    data = _read(f"/proc/{pid}/status", 4096)
    at = data.find(b"\nVmHWM:")
    return int(data[at + 7 :].split(None, 1)[0]) << 10 if at >= 0 else 0


def resident(maxrss: int) -> int:
    """ru_maxrss of a child in bytes; 0 where it may be ours. A child has our memory until it is executed, and Linux
    counts for it the most that we had by then (getrusage(2)): VmHWM, and not our own ru_maxrss, which is just as much
    that of whoever started us."""
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    ours = high(os.getpid())
    if not ours:
        import resource

        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return 0 if maxrss * unit <= ours + _BLUR else maxrss * unit


def started(pid: int) -> object:
    """What tells a process from a later one of the same number; None when there is none."""
    row = _row(pid)
    return row.start if row is not None and row.living else None


def age(pid: int) -> float | None:
    """Seconds since a process started; None when there is none."""
    start = started(pid)
    if isinstance(start, bytes):  # ticks since the boot, time asleep included (proc_pid_stat(5))
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(start) / _TICK
    return None if start is None else time.time() - float(str(start))


def _pids() -> list[int]:
    if _LINUX:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    import psutil

    return list(psutil.pids())


def _number(pid: int, number_of: Callable[[int], int]) -> int:
    try:
        return number_of(pid)
    except OSError:
        return -1


def stat(pid: int | str) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name (proc_pid_stat(5)); [] when there are none."""
    return _read(f"/proc/{pid}/stat", 1024).rpartition(b")")[2].split()


def _size(pid: int) -> tuple[int, int, int] | None:
    """(group, session, bytes) of a process."""
    if _LINUX:
        fields = stat(pid)
        return (int(fields[_GROUP]), int(fields[_SESSION]), int(fields[_RSS]) * _PAGE) if fields else None
    import psutil

    from k1ctl.capacity.footprint import charged

    try:
        return os.getpgid(pid), os.getsid(pid), charged(pid)[0]
    except (OSError, psutil.Error):
        return None


def _row(pid: int) -> _Row | None:
    if _LINUX:
        fields = stat(pid)
        if not fields:
            return None
        living = fields[_STATE] not in b"ZX"
        return _Row(living, int(fields[_PARENT]), int(fields[_SESSION]), fields[_START], fields, None)
    import psutil

    try:
        process = psutil.Process(pid)
        living = process.status() != psutil.STATUS_ZOMBIE
        return _Row(living, process.ppid(), os.getsid(pid), process.create_time(), [], process)
    except (OSError, psutil.Error):
        return None


def _read(path: str, size: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, size)
    except OSError:  # the process ended meanwhile
        return b""
    finally:
        os.close(fd)


def _sum(fields: list[bytes], which: tuple[int, int]) -> int:
    return int(fields[which[0]]) + int(fields[which[1]])
