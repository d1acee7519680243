"""The watchdog of a limited command: two guardians, each in a session of its own, whoever of them or their owner dies.

One guardian watches, the other waits in flock for its place and has it the moment it dies; who watches replaces a
standby that is gone, and the owner starts a guardian anew when its own ends. So of the three any two may be killed.

Who watches sleeps as long as the command could take to fill what it may still use (headroom / fill rate, as earlyoom
does for a whole host), 20 ms at least and 1 s at most. RSS is read each time; before a kill of more than one process
PSS decides, for RSS counts shared pages once for each process. A flash in the tree neither counts nor is signalled
(k1ctl/capacity/spared.py).
"""

from __future__ import annotations

import os
import select
import sys
import time

from k1ctl import groups
from k1ctl.capacity import cgroup, relief, watched
from k1ctl.capacity.cpu import WINDOW, Duty
from k1ctl.capacity.scan import Scan, proportional
from k1ctl.capacity.watched import STANDBY, WATCH, Seen, Watched
from k1ctl.signals import signals
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHORTEST, LONGEST = 0.02, 1.0  # s between two looks
_MIB = 1 << 20
_CORE_FILLS = 750 * _MIB  # bytes/s that one core writes to fresh pages, at most; measured: 650
_UNHURRIED = 0.25  # s between two looks where the kernel keeps the limit, or there is none
_COUNTED = 0.05  # s between two looks at what the kernel ended: of a tree it takes one process, we the rest
_STANDBY_LOOK = 0.25  # s between two looks whether the standby lives
_NEW_PEAK = 1.05
_ASKING, _ASKING_SHARE = 0.05, 0.005  # s, and of a core, that asking for PSS may take beside what a kill wants
_KILL_FOR = 30.0  # s that a tree is killed again and again, should it fork meanwhile


def fill_rate(cores: int | None = None) -> int:
    """Bytes a second that a tree may grow by at most, for how long may be slept."""
    return _CORE_FILLS * min(8, max(2, cores or os.cpu_count() or 2))


def nap(headroom: int, rate: int) -> float:
    """Seconds until a tree with ``headroom`` bytes left has to be looked at again."""
    return min(LONGEST, max(SHORTEST, headroom / rate))


class Guardian:
    """One of the two. ``owner``: a pipe that ends when the owner ends, or has nothing more to ask (-1: no owner)."""

    def __init__(self, command: Watched, owner: int) -> None:
        spec = command.spec
        self.command, self.owner, self.spec = command, owner, spec
        self.memory: int = spec["memory"] if spec["means"] == "watchdog" else 0
        self.seen = Seen(command.folder)
        self.scan = Scan(spec["session"], spec["leave_out"], spec["leader_start"], spec.get("mark", ""))
        self.rate = fill_rate()
        self.duty = Duty(spec["cpus"]) if spec["cpu_means"] == "duty" else None
        self.rationed = False  # it stands still because it used its share
        self.relief = relief.Relief(spec["id"], spec["since"], spec["relief"])
        self.peak = self.largest = 0
        self.guilty: dict[str, Any] | None = None  # who had the most memory of all
        self.standby_at = 0.0
        self.twice = 0  # bytes of shared pages that the sum of RSS has too much
        self.sharing: set[int] = set()  # whose they were
        self.asked, self.since = 0.0, time.monotonic()  # s that asking for PSS took, and since when

    def run(self, ready: int, *, insist: bool) -> None:
        """Watch, or stand by until there is nobody to watch. ``ready``: where one byte says that somebody watches;
        ``insist``: also wait when two are there already."""
        watch = self.command.lock(WATCH)
        if watch < 0:
            standby = self.command.lock(STANDBY, wait=False)
            if standby < 0 and not insist:
                return
            _say(ready)
            standby = standby if standby >= 0 else self.command.lock(STANDBY, wait=True)
            watch = self.command.lock(WATCH, wait=True)
            os.close(standby)
        self._take_over()
        alive = self.scan.look(full=True)
        if alive:
            self._keep_standby(watch, ready)
        _say(ready)
        while alive:
            pause = self._step()
            if time.monotonic() >= self.standby_at:
                self._keep_standby(watch)
            full = self._sleep(pause)
            alive = self.scan.look(full=full)
        self._note()
        self._end()

    def _take_over(self) -> None:
        """What a guardian before us stopped goes on."""
        figures = self.seen.get()
        self.peak, self.largest = int(figures["peak"]), int(figures["largest"])
        self.scan.look(full=True)
        if self.duty is not None or figures["suspended_at"]:
            self._resume()

    def _step(self) -> float:
        """Judge what the look showed; seconds until the next."""
        pause = self._look_at_memory()
        self._note()
        figures = self.seen.get()
        what = self.relief.due(figures["suspended_at"], figures["rests_until"])
        percent = f"{self.relief.percent:.0f} % of the host's memory is in use"
        if what == relief.KILL:
            self.kill("host-memory", f"{percent}; it was the youngest", percent=self.relief.percent)
        elif what == relief.SUSPEND:
            self.seen.put(suspended_at=time.monotonic())
            self._stand_still()
        elif what == relief.RESUME:
            self._resume()
        elif not figures["suspended_at"] and self.duty is not None:
            pause = min(pause, self._ration(self.duty))
        return min(pause, self.relief.every)

    def _look_at_memory(self) -> float:
        """End it when it used too much; seconds that the rest will do."""
        spec = self.spec
        if spec["cgroup"] and cgroup.kills(spec["cgroup"]):
            self.kill("oom", f"reached the {format_size(spec['memory'])} of its cgroup", by="cgroup")
        if not self.memory:
            return _COUNTED if spec["cgroup"].get("memory") else _UNHURRIED
        used = self.scan.total
        if used > self.memory:
            self.scan.spare()
            used = self.scan.total
        if used > self.memory and not self.scan.alone:  # each time: what is shared is less after every write to it
            used = self._share_out()
            if used > self.memory:  # once more: who ends between two readings leaves his share to who is read later
                used = min(used, self._share_out())
        if used > self.memory:
            self.kill("oom", f"used {format_size(used)} of the {format_size(self.memory)} it may", used_bytes=used)
        return nap(self.memory - used, self.rate)

    def _share_out(self) -> int:
        """Ask for PSS, and take from RSS from now on what it counts twice; what is used then."""
        began = time.monotonic()
        self.scan.look(full=True)
        used = proportional(self.scan.members)
        self.sharing, self.twice = set(self.scan.members), max(0, self.scan.total - used)
        self.asked += time.monotonic() - began
        return used

    def _ration(self, duty: Duty) -> float:
        """Let it stand still for as long as it is ahead of its share of the CPU; seconds until the next look."""
        still = duty.step(self.scan.cpu)
        if still:
            self._signal(signals.SIGSTOP)
        elif self.rationed:
            self._signal(signals.SIGCONT)
        self.rationed = bool(still)
        return still or WINDOW

    def _resume(self) -> None:
        figures, now = self.seen.get(), time.monotonic()
        self._signal(signals.SIGCONT)
        if figures["suspended_at"]:
            stood = now - figures["suspended_at"]
            rest = now + relief.LONGEST if stood >= relief.LONGEST else 0.0
            total = figures["suspended_seconds"] + stood
            self.seen.put(suspended_at=0.0, suspended_seconds=total, rests_until=rest)

    def _stand_still(self) -> None:
        """Twice: somebody may have begun a group of his own since the last look."""
        self._signal(signals.SIGSTOP)
        self.scan.look(full=True)
        self._signal(signals.SIGSTOP)

    def _signal(self, number: int) -> None:
        """To all but flashes; to go on is for them, too: one may have stopped right before it began."""
        self.scan.spare()
        others = self.scan.spared if number == signals.SIGCONT else set()
        for group in self.scan.groups() | others:
            groups.send(group, number)

    def _used(self) -> int:
        if not self.sharing <= self.scan.members.keys():
            self.twice = 0  # some of those that shared have ended
        return max(self.scan.largest, self.scan.total - self.twice)

    def _note(self) -> None:
        """Keep what was seen. A new peak of several processes is shared out, as long as that costs next to nothing."""
        used = self._used()
        may_ask = self.asked < _ASKING + _ASKING_SHARE * (time.monotonic() - self.since)
        if used > self.peak * _NEW_PEAK and may_ask and not self.scan.alone:
            used = self._share_out()
        if self.scan.largest > self.largest * _NEW_PEAK:
            self.guilty = self._largest()
        self.peak, self.largest = max(self.peak, used), max(self.largest, self.scan.largest)
        self.seen.put(now=used, peak=self.peak, largest=self.largest, cpu=self.scan.cpu)

    def kill(self, code: str, message: str, **facts: Any) -> None:
        """End the whole tree, with a word of why left before."""
        self._note()
        guilty = self.guilty if facts.get("by") == "cgroup" else self._largest()  # whom the kernel took is gone
        try:
            self.command.judge(code, message, peak_bytes=self.peak, largest_bytes=self.largest, guilty=guilty, **facts)
        except OSError:
            pass  # a full disk costs the reason, not the limit
        until, pause = time.monotonic() + _KILL_FOR, 0.002
        while self.scan.members and time.monotonic() < until:
            self._signal(signals.SIGKILL)
            time.sleep(pause)  # the kernel takes a while for much memory
            pause = min(0.1, pause * 2)
            self.scan.look(full=True)

    def _largest(self) -> dict[str, Any] | None:
        """Who has the most memory now."""
        if not self.scan.members:
            return None
        pid, (_, rss) = max(self.scan.members.items(), key=lambda row: row[1][1])
        return {"pid": pid, "name": name_of(pid), "rss_bytes": rss}

    def _sleep(self, seconds: float) -> bool:
        """Sleep, or until the owner ends; whether that was it."""
        if self.owner < 0:
            time.sleep(seconds)
            return False
        if not select.select([self.owner], [], [], seconds)[0]:
            return False
        os.close(self.owner)
        self.owner = -1
        return True

    def _keep_standby(self, watch: int, ready: int = -1) -> None:
        """Start a standby where there is none, and reap those that ended."""
        self.standby_at = time.monotonic() + _STANDBY_LOOK
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        try:
            if self.command.guarded(STANDBY):
                return
        except FileNotFoundError:
            return
        if os.fork() == 0:
            for fd in (watch, ready):  # who starts us waits for the end of `ready` when we die on our way up
                if fd >= 0:
                    os.close(fd)
            os.setsid()
            guard(self.command, -1, self.owner, insist=False)

    def _end(self) -> None:
        """Nobody lives any more; an owner that is gone takes nothing away, so we do."""
        if not self.command.guarded(watched.OWNER):
            self.command.remove()


def name_of(pid: int) -> str:
    """The program's short name; a command line may hold secrets."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        pass
    try:
        import psutil

        return str(psutil.Process(pid).name())
    except Exception:  # gone, or a system where it cannot be told
        return ""


def guard(command: Watched, ready: int, owner: int, *, insist: bool) -> None:
    """Be a guardian; never returns."""
    code = 1
    try:
        for number in (signals.SIGHUP, signals.SIGINT, signals.SIGTERM, signals.SIGPIPE):
            signals.signal(number, signals.SIG_IGN)
        Guardian(command, owner).run(ready, insist=insist)
        code = 0
    finally:
        os._exit(code)


def main(folder: str, ready: int, owner: int) -> None:
    """A guardian that was started by `start`; never returns."""
    for fd in map(int, os.listdir("/dev/fd")):  # the promise, a lease, a caller's pipe: they do not wait for us
        if fd > 2 and fd not in (ready, owner):
            try:
                os.close(fd)
            except OSError:
                pass  # that of the listing itself
    if owner < 0 and os.fork():
        os._exit(0)  # our parent may be one of the tree that we are to watch
    command = watched.load(folder)
    if command is None:
        os._exit(1)
    if owner < 0:
        os.setsid()
    sys.path[:] = command.spec["path"]
    guard(command, ready, owner, insist=True)


_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from k1ctl.capacity.watchdog import main; main(sys.argv[2], {}, {})"
)
_READY, _OWNER = 3, 4


def start(command: Watched, owner: int) -> int:
    """Start a guardian and return its pid once somebody watches the command.

    ``owner``: the reading end of a pipe that ends with the owner; -1: the command has none any more. Raises OSError.
    """
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    copies = [high(fd) for fd in (write, owner) if fd >= 0]
    actions: list[Any] = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in zip(copies, (_READY, _OWNER), strict=False)]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = _CODE.format(_READY, _OWNER if owner >= 0 else -1)
    argv = [sys.executable, "-I", "-S", "-c", code, root, command.folder]  # -I: no module of the folder we are in
    mark = os.fsencode(command.spec.get("mark", ""))  # whoever has it in his environment counts as one of the tree
    env = {name: value for name, value in os.environb.items() if not mark or mark not in value}
    try:
        pid = os.posix_spawn(sys.executable, argv, env, file_actions=actions, setsid=True)
    finally:
        for fd in (write, null, *copies):
            os.close(fd)
    try:
        if not select.select([read], [], [], 20.0)[0] or not os.read(read, 1):
            raise OSError(f"the watchdog of {command.folder} did not come up")
    finally:
        os.close(read)
    return pid


def high(fd: int) -> int:
    """A copy of a descriptor whose number none is dealt to in a child."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)


def _say(ready: int) -> None:
    if ready >= 0:
        try:
            os.write(ready, b"A")
            os.close(ready)
        except OSError:
            pass
