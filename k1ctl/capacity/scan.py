"""The processes of a limited command, looked at up to fifty times a second at next to no cost.

A full look is one pass over /proc/*/stat (proc_pid_stat(5)); in between only the known processes and their children
(/proc/PID/task/PID/children) are read, and children only when the kernel gave out a new process number since
(the last field of /proc/loadavg). Whoever leaves for a session of his own is followed while his parent still lives, and
known by a mark in his environment (proc_pid_environ(5)) when he left between two looks. A flash in it is left out
(`k1ctl.capacity.spared`), with what it started.
"""

from __future__ import annotations

import os
import time

from k1ctl.capacity import spared
from k1ctl.capacity.processes import share, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LINUX = os.path.exists("/proc/self/stat")
_SHARE = 0.006  # of a core that full looks may take


class Scan:
    """Looks at a session (without the group ``leave_out``), and at those of later sessions that have ``mark`` in their
    environment ("": none).

    After `look`: ``members`` {pid: (group, resident bytes)}, ``total`` and ``largest`` bytes, ``cpu`` seconds that were
    used as far as seen, ``alone``: one process, so nothing in it is counted twice. ``spared``: groups of flashes in it,
    which are no members.
    """

    def __init__(self, session: int, leave_out: int = 0, leader_start: int = 0, mark: str = "") -> None:
        self.session, self.leave_out, self.leader_start = session, leave_out, leader_start
        self.mark = mark.encode()
        self._others = {0}  # sessions of others, as their environment tells; 0: the kernel's threads
        self.sessions = {session}
        self.spared: set[int] = set()
        self._flashes: frozenset[int] = frozenset()  # sessions in which one is under way, on this host
        self._left_out: set[int] = set()  # those, and the sessions of what they started
        self.members: dict[int, tuple[int, int]] = {}
        self.total = self.largest = 0
        self.cpu = 0.0
        self._lost = self._dips = 0  # ticks of those that ended unseen
        self._newest = b""
        self._full_at = self._cost = 0.0
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._tick = os.sysconf("SC_CLK_TCK")

    @property
    def alone(self) -> bool:
        return len(self.members) <= 1

    def look(self, *, full: bool = False) -> bool:
        """Look once more; False when nobody of it lives (which only a full look finds out)."""
        if not _LINUX:
            return self._look_psutil()
        now = time.monotonic()
        newest = _newest()
        if full or now >= self._full_at or not self.members:
            self._look_at_all(now)
        else:
            self._look_at_known(newest != self._newest)
            if not self.members:
                self._look_at_all(now)
        self._newest = newest
        return bool(self.members)

    def spare(self) -> None:
        """Look once more when a flash has begun or ended since the last full look: to be called before any signal."""
        if spared.sessions() != self._flashes:
            self.look(full=True)

    def groups(self) -> set[int]:
        """The process groups of the members."""
        return {group for group, _ in self.members.values()}

    def _look_at_all(self, now: float) -> None:
        rows: dict[int, list[bytes]] = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                fields = stat(name)
                if fields:
                    rows[int(name)] = fields
        leader = rows.get(self.session)
        if self.leader_start and leader is not None and int(leader[19]) != self.leader_start:
            rows = {}  # the number belongs to somebody else by now
        living = {int(fields[3]) for fields in rows.values()}
        self.sessions &= living | {self.session}
        if self.mark:
            self._others &= living | {0}
            self._recognize(rows)
        self._leave_out(rows)
        found = {pid for pid, fields in rows.items() if int(fields[3]) in self.sessions and self._ours(fields)}
        while True:  # children that left for sessions of their own
            more = {p for p, f in rows.items() if p not in found and int(f[1]) in found and self._ours(f)}
            if not more:
                break
            found |= more
            self.sessions |= {int(rows[pid][3]) for pid in more}
        self._take({pid: rows[pid] for pid in found})
        self._cost = time.monotonic() - now
        self._full_at = now + max(0.1, self._cost / _SHARE)

    def _leave_out(self, rows: dict[int, list[bytes]]) -> None:
        """Find the sessions of flashes and of what they started."""
        self._flashes = spared.sessions()
        self._left_out, self.spared = set(self._flashes), set()
        more = self._flashes
        while more:
            theirs = {pid for pid, fields in rows.items() if int(fields[3]) in more}
            more = frozenset(int(f[3]) for f in rows.values() if int(f[1]) in theirs) - self._left_out - {self.session}
            self._left_out |= more
        if self._flashes:
            ours = self._left_out & self.sessions
            self.spared = {int(fields[2]) for fields in rows.values() if int(fields[3]) in ours}

    def _recognize(self, rows: dict[int, list[bytes]]) -> None:
        """Ask each session once whether it is ours. One with somebody older than the command cannot be."""
        for pid, fields in rows.items():
            session = int(fields[3])
            if session in self._others or session in self.sessions:
                continue
            if int(fields[19]) < self.leader_start:
                self._others.add(session)
            elif (environ := _environment(pid)) is not None:
                (self.sessions if self.mark in environ else self._others).add(session)

    def _ours(self, fields: list[bytes]) -> bool:
        if self._left_out and int(fields[3]) in self._left_out:
            return False
        return not self.leave_out or int(fields[2]) != self.leave_out

    def _look_at_known(self, children: bool) -> None:
        rows, waiting = {}, list(self.members)
        while waiting:
            pid = waiting.pop()
            fields = stat(pid)
            if pid in rows or not fields or not self._ours(fields):
                continue
            session = int(fields[3])
            if session not in self.sessions:
                self.sessions.add(session)
                if spared.sessions() != self._flashes:
                    self._full_at = 0.0
            rows[pid] = fields
            if children:
                waiting += _children(pid)
        self._take(rows)

    def _take(self, rows: dict[int, list[bytes]]) -> None:
        self.members, ticks = {}, 0
        self.total = self.largest = 0
        for pid, fields in rows.items():
            ticks += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
            if fields[0] in b"ZX":
                continue
            rss = int(fields[21]) * self._page
            self.members[pid] = (int(fields[2]), rss)
            self.total += rss
            self.largest = max(self.largest, rss)
        self._count(ticks)

    def _count(self, ticks: int) -> None:
        """The time of a child goes over to its parent when it is reaped; one look in between may miss it."""
        used = (ticks + self._lost) / self._tick
        self._dips = self._dips + 1 if used < self.cpu else 0
        if self._dips > 2:
            self._lost += round((self.cpu - used) * self._tick)
        self.cpu = max(self.cpu, used)

    def _look_psutil(self) -> bool:
        import psutil

        from k1ctl.capacity.footprint import charged

        self._flashes = spared.sessions()  # each in a session of its own, which is not looked at here
        self.members, self.total, self.largest, cpu = {}, 0, 0, 0.0
        for pid in psutil.pids():
            try:
                group = os.getpgid(pid)
                if os.getsid(pid) != self.session or (self.leave_out and group == self.leave_out):
                    continue
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                used, times = charged(pid)[0], process.cpu_times()
            except (OSError, psutil.Error):
                continue
            self.members[pid] = (group, used)
            self.total += used
            self.largest = max(self.largest, used)
            cpu += times.user + times.system
        self.cpu = max(self.cpu, cpu)
        return bool(self.members)


def leader_start(pid: int) -> int:
    """What tells a process from a later one of the same number; 0 where the system does not tell cheaply."""
    fields = stat(pid) if _LINUX else []
    return int(fields[19]) if fields else 0


def proportional(members: Mapping[int, tuple[int, int]]) -> int:
    """Bytes of all members, shared pages counted once among those that share them (PSS); who does not tell (another
    user's, another system) counts with what was seen of him, who is gone with nothing."""
    return sum(seen if (told := share(pid)) is None else told for pid, (_, seen) in members.items())


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", 0) as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


def _environment(pid: int) -> bytes | None:
    """What a process was started with (b"" where that is another user's affair); None when it is gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb", 0) as f:
            return f.read() or None
    except PermissionError:
        return b""
    except OSError:
        return None


def _newest() -> bytes:
    try:
        with open("/proc/loadavg", "rb", 0) as f:
            return f.read().rpartition(b" ")[2]
    except OSError:
        return os.urandom(8)
