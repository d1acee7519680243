"""Who runs the copies of a cell: the interface, and the one that runs them on this host.

`k1ctl.testing.executor` has another, whose every figure follows from a formula.
"""

from __future__ import annotations

import errno
import os
import select
import time
from typing import NamedTuple

from k1ctl import groups
from k1ctl.capacity import facts
from k1ctl.capacity.cells import Look
from k1ctl.errors import K1ctlError
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from k1ctl.capacity.cells import Cell, Stop
    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.limited import Ended, Limited

    Watch = Callable[[Facts, Look], Stop | None]  # (the facts as the cell began, a look) -> why to stop
    Told = Callable[[int, int], None]  # (runs ended, runs under way)

    class Executor(Protocol):
        """Runs cells. Raises `Interrupted` from either method."""

        def look(self) -> Look:
            """The host with none of ours running."""

        def run(self, cell: Cell, jobs: int, watch: Watch, tell: Told, keep: Sequence[int] = ()) -> Ran:
            """Run the command ``jobs`` times, ``cell.agents`` at once. ``keep``: descriptors the copies keep open."""


DONE, FAILED, OOM, HOST_OOM, TIMEOUT, ENDED = "done", "failed", "oom", "host-oom", "timeout", "ended"
MARK = "STRESS_OF_K1CTL"  # environment of a copy: the folder of its run; so one that was left behind is found
_RUN = "//"  # in it, before the K1CTL_RUN that the copies are within
_LOOK = 1.0  # s between two looks at the host
_POLL = 0.02  # s between two looks at the copies, at most
_SOON = 0.002  # s, at least
GRACE = 5.0  # s between TERM and KILL


class Job(NamedTuple):
    """One run of the command: the copy's ``number`` (from 1), ``outcome`` (done, failed, oom, host-oom, timeout,
    ended: by us because the cell stopped), seconds, the highest sum of its tree in bytes, and why it did not work."""

    number: int
    outcome: str
    seconds: float
    peak_bytes: int = 0
    text: str = ""


class Ran(NamedTuple):
    """A cell that ran: its jobs in the order they ended, how long all took, the facts before and after, the highest use
    of swap seen (bytes), why it was stopped, and the seconds between the two facts (0.0: those that all took)."""

    jobs: list[Job]
    seconds: float
    before: Facts
    after: Facts
    swap_peak: int
    stop: Stop | None
    between: float = 0.0


class Interrupted(Exception):
    """The descriptor that was watched became readable; all copies are gone."""


class Copies:
    """Runs copies of a command on this host, each under limits of its own (`k1ctl.capacity.limited`).

    Arguments: ``command``, whose ``{i}`` becomes the copy's number; ``folder`` of the run, where logs/<cell>/<copy>.log
    lie; ``timeout`` of a run in seconds (0: none); ``cwd`` and ``environ`` of the copies; ``interrupt``: a descriptor
    that ends everything once it can be read; ``every``: seconds between two looks at the host.

    ``tell`` is called with the sessions of those under way at each change. What a run leaves in its process group is
    ended after the grace, what left for a session of its own when the cell ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: str,
        *,
        timeout: float = 0.0,
        cwd: str = "",
        environ: Mapping[str, str] | None = None,
        interrupt: int = -1,
        every: float = _LOOK,
    ) -> None:
        self.command, self.folder, self.timeout = list(command), folder, timeout
        self.cwd = cwd or os.getcwd()
        given = os.environ if environ is None else environ
        self.environ = {**given, MARK: f"{folder}{_RUN}{given.get('K1CTL_RUN', '')}"}
        self.interrupt, self.every, self.grace = interrupt, every, GRACE
        self.running: dict[int, tuple[Limited, float]] = {}  # copy: (it, when it began)
        self.late: set[int] = set()  # copies that ran past the timeout and were told to end
        self.behind: dict[int, float] = {}  # copies of which only others of the group live, and since when
        self.tell: Callable[[list[int]], None] | None = None

    def look(self) -> Look:
        return Look(facts.read(), 0.0, 0, 0, self._disk())

    def run(self, cell: Cell, jobs: int, watch: Watch, tell: Told, keep: Sequence[int] = ()) -> Ran:
        before, begun = facts.read(), time.monotonic()
        ran: list[Job] = []
        swap_peak, stop, at = before.swap_used, None, begun
        logs = os.path.join(self.folder, "logs", cell.name)
        os.makedirs(logs, exist_ok=True)
        try:
            while stop is None and len(ran) < jobs:
                free = [n for n in range(1, cell.agents + 1) if n not in self.running]
                failed = []
                for number in free[: jobs - len(ran) - len(self.running)]:
                    self._pause(0.0)  # each start takes 0.1 s
                    try:
                        self.running[number] = self._start(cell, number, logs, keep), time.monotonic()
                    except OSError as exc:
                        failed.append(_not_started(number, exc))
                    self._tell()
                    tell(len(ran), len(self.running))
                self._pause(min(_POLL, max(_SOON, (time.monotonic() - begun) / 100)))  # a short run is seen exactly
                ended = failed + self._ended()
                ran += ended
                if ended or time.monotonic() >= at + self.every:
                    at = time.monotonic()
                    seen = self._look(ran, at - begun)
                    swap_peak = max(swap_peak, seen.facts.swap_used)
                    stop = watch(before, seen)
                    tell(len(ran), len(self.running))
        finally:
            seconds = time.monotonic() - begun
            ran += self._end()
        last = self._look(ran, time.monotonic() - begun)._replace(ended=True)
        swap_peak = max(swap_peak, last.facts.swap_used)
        return Ran(ran, seconds, before, last.facts, swap_peak, stop or watch(before, last), last.elapsed)

    def _start(self, cell: Cell, number: int, logs: str, keep: Sequence[int]) -> Limited:
        from k1ctl.capacity import limited

        argv = [word.replace("{i}", str(number)) for word in self.command]
        path = os.path.join(logs, f"{number}.log")
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as exc:  # ours, and none of the command's
            hint = "the run's folder has to stay as it is while it runs"
            raise K1ctlError(f"{path} cannot be written: {exc.strerror}", hint=hint, code="folder-lost") from exc
        try:
            return limited.start(
                argv, memory=cell.memory, cpus=cell.cpus, cwd=self.cwd, env=self.environ, log_fd=fd, keep=tuple(keep)
            )
        finally:
            os.close(fd)

    def _ended(self) -> list[Job]:
        """The copies that ended since the last call. One past the timeout is told to end, and killed after the grace;
        the others are looked at meanwhile. So is what a copy that ended left in its group."""
        ended, now = [], time.monotonic()
        for number, (copy, began) in list(self.running.items()):
            try:
                end = copy.poll()
                if end is None and copy.exited and number not in self.late:
                    behind = now - self.behind.setdefault(number, now)
                    if behind >= 2 * self.grace:
                        end = copy.stop(0.0)
                    elif behind >= self.grace:
                        _terminate(copy)
                elif end is None and self.timeout and now - began >= self.timeout:
                    if number not in self.late:
                        self.late.add(number)
                        _terminate(copy)
                    elif now - began >= self.timeout + self.grace:
                        end = copy.stop(0.0)
            except OSError as exc:  # it cannot be watched any more
                ended.append(_not_watched(number, copy, exc, now - began))
            else:
                if end is None:
                    continue
                ended.append(_job(number, end, TIMEOUT if number in self.late else ""))
            self._forget(number)
        return ended

    def _end(self) -> list[Job]:
        """End all copies that still run: they are told at once, and have the grace together. And what they left."""
        for copy, _ in self.running.values():
            _terminate(copy)
        until = time.monotonic() + self.grace
        ended = []
        for number, (copy, began) in sorted(self.running.items()):
            try:
                ended.append(_job(number, copy.stop(max(0.0, until - time.monotonic())), ENDED))
            except OSError as exc:
                ended.append(_not_watched(number, copy, exc, time.monotonic() - began)._replace(outcome=ENDED))
            self._forget(number)
        end_left_behind(self.folder, self.grace)
        return ended

    def _forget(self, number: int) -> None:
        del self.running[number]
        self.late.discard(number)
        self.behind.pop(number, None)
        self._tell()

    def _tell(self) -> None:
        if self.tell is not None:
            self.tell([copy.session for copy, _ in self.running.values()])

    def _look(self, ran: list[Job], elapsed: float) -> Look:
        host = sum(job.outcome == HOST_OOM for job in ran)
        own = sum(job.outcome == OOM for job in ran)
        failed = sum(job.outcome == FAILED for job in ran)
        return Look(facts.read(), elapsed, own + host, host, self._disk(), failed=failed)

    def _disk(self) -> float:
        """Percent that is free where the copies and we write."""
        from k1ctl.disk import use

        uses = [use(path) for path in {self.folder, self.cwd}]
        return min((100.0 * u.free / u.total for u in uses if u.total), default=100.0)

    def _pause(self, seconds: float) -> None:
        watched = [self.interrupt] if self.interrupt >= 0 else []
        if select.select(watched, [], [], seconds)[0]:
            raise Interrupted


def _terminate(copy: Limited) -> None:
    groups.send_to_session(copy.session, signals.SIGTERM, signals.SIGCONT, group=copy.group)


def _job(number: int, end: Ended, outcome: str) -> Job:
    text, lacked = "", _lacked(end)
    if outcome == TIMEOUT:
        text = f"ran past its limit, {end.wall_seconds:.1f} s"
    elif not outcome and lacked:
        outcome, text = lacked, end.oom.message if end.oom else ""
    elif not outcome and (end.exit_code or end.signal):
        outcome, text = FAILED, f"signal {end.signal}" if end.signal else f"exit {end.exit_code}"
        text += f"; {end.oom.message}" if end.oom else ""
    return Job(number, outcome or DONE, end.wall_seconds, end.peak_bytes, text)


def _not_started(number: int, exc: OSError) -> Job:
    lacked = exc.errno in (errno.ENOMEM, errno.EAGAIN)  # fork(2): no memory, no process left
    return Job(
        number, HOST_OOM if lacked else FAILED, 0.0, 0, f"cannot be started: {exc.strerror}: {exc.filename or ''}"
    )


def _not_watched(number: int, copy: Limited, exc: OSError, seconds: float) -> Job:
    """End a copy whose limits cannot be kept any more."""
    groups.send_to_session(copy.session, signals.SIGKILL, group=copy.group)
    return _not_started(number, exc)._replace(seconds=seconds, text=f"cannot be watched: {exc.strerror or exc}")


def _lacked(end: Ended) -> str:
    """Whose memory lacked: our limit's, the host's; "" where there was enough, where that is only a guess, and where a
    program met a limit of its own."""
    found = end.oom
    if found is None or found.confidence == "possible":
        return ""
    if found.by == "kernel":
        return HOST_OOM
    return "" if found.by == "program" and not found.next_limit else OOM


def end_left_behind(folder: str, grace: float = GRACE) -> int:
    """End the copies of runs in or below ``folder`` whose k1ctl was killed, and what copies left behind; how many
    processes that were. A flash is left alone (`k1ctl.capacity.spared`); a k1ctl among them is told to end, and never
    killed: it may be about to begin one."""
    found = _left_behind(folder)
    for number in (signals.SIGTERM, signals.SIGKILL):
        for pid in found:
            try:
                if number == signals.SIGTERM or not _is_k1ctl(pid):
                    os.kill(pid, number)
            except OSError:
                continue
        deadline = time.monotonic() + grace
        while (left := _left_behind(folder) if found else []) and time.monotonic() < deadline:
            time.sleep(_POLL)
        if not left:
            break
        found = sorted({*found, *left})
    return len(found)


def _is_k1ctl(pid: int) -> bool:
    import psutil

    try:
        return any(os.path.basename(word) == "k1ctl" for word in psutil.Process(pid).cmdline()[:4])
    except psutil.Error:
        return False


def _left_behind(folder: str) -> list[int]:
    """Their pids, without those of flashes and of the commands that a k1ctl among them runs: it ends them by its own
    rules."""
    import psutil

    from k1ctl.capacity import spared

    found, flashes = [], spared.sessions()
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            mark, _, run = environ.get(MARK, "").partition(_RUN)
            ours = process.pid != os.getpid() and f"{mark}{os.sep}".startswith(f"{folder}{os.sep}")
            ours = ours and environ.get("K1CTL_RUN", "") == run and process.status() != psutil.STATUS_ZOMBIE
            if ours and os.getsid(process.pid) not in flashes:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found
