"""Process groups: signal one, and tell whether anybody in it still lives."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def exists(group: int) -> bool:
    """Whether the kernel still knows the group; a zombie that nobody reaped counts."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def send(group: int, number: int) -> bool:
    """Send a signal to every process of the group; False when there is none."""
    if group <= 1:  # 0 would be our own group
        return False
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def members(group: int) -> list[int]:
    """The processes of the group that live (zombies and those on their way out do not). Walks over all processes."""
    if not exists(group):
        return []
    return [pid for pid in _pids() if _group_of(pid) == group and _started(pid) is not None]


def living(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    return _started(pid) is not None


def in_session(session: int) -> list[int]:
    """The processes of a session that live: also those that left for a group of their own, as timeout(1) does."""
    return [pid for pid in _pids() if _session_of(pid) == session and _started(pid) is not None]


def groups_in(session: int) -> set[int]:
    """The groups of a session that have a living member, our own left out."""
    return {_group_of(pid) for pid in in_session(session)} - {os.getpgrp()}


def send_to_session(session: int, *numbers: int, group: int = 0) -> None:
    """Send signals to every group of the session but our own; to ``group`` in any case."""
    for each in {group, *groups_in(session)}:
        for number in numbers:
            send(each, number)


def session_lives(session: int, since: float) -> bool:
    """Whether a session whose leader began before ``since`` (seconds since 1970) has a living member.

    Its number is free for another process only when nobody is left in it.
    """
    started = _started(session)
    if started is not None and started > since + 2:
        return False
    return _remain(session, _session_of)


def stamp() -> dict[str, float]:
    """What `lives` wants to know about the start of a group; taken right behind it."""
    return {"started": time.time(), "started_monotonic": time.monotonic()}


def lives(group: object, start: Mapping[str, Any]) -> bool:
    """Whether a group at whose start ``start`` (`stamp`) was taken still has a living member.

    A group outlives its leader; while it does, its number is not given to a new process. So a leader that started
    later, or a boot in between, means that the number was reused. A clock that was set meanwhile makes no difference:
    the later of two reckonings counts, the wall clock's and the monotonic clock's.
    """
    since, monotonic = start.get("started"), start.get("started_monotonic")
    if not isinstance(group, int) or not isinstance(since, int | float) or group <= 1 or not exists(group):
        return False
    if isinstance(monotonic, int | float):
        age = time.monotonic() - monotonic
        if age < 0:
            return False  # that clock has begun anew
        since = max(since, time.time() - age)
    if _boot_time() > since:
        return False
    started = _started(group)
    if started is not None and started > since + 2:  # both clocks are rounded, on macOS to the second
        return False
    return _remain(group, _group_of)


def still(pid: int, start: Mapping[str, Any]) -> bool:
    """Whether the process that had this number when ``start`` (`stamp`) was taken still lives."""
    since, monotonic, started = start.get("started"), start.get("started_monotonic"), _started(pid)
    if started is None or not isinstance(since, int | float):
        return False
    if isinstance(monotonic, int | float):
        gone = time.monotonic() - monotonic
        if gone < 0:
            return False  # that clock has begun anew
        since = max(since, time.time() - gone)
    return started <= since + 2  # both clocks are rounded, on macOS to the second


# psutil does all this too, but importing it takes 30 ms, and the next in line waits for the answer

_LINUX = os.path.exists("/proc/self/stat")
_EXITING = 0x4  # PF_EXITING in include/linux/sched.h: no instruction of the program runs any more
_TEARDOWN = 0.1  # s that a process on its way out is waited for
_LIVES, _GOING, _GONE = "lives", "going", "gone"


def _remain(number: int, number_of: Callable[[int], int]) -> bool:
    """Whether a process is left of those whose ``number_of`` is ``number``.

    One that the kernel is taking apart counts until it is a zombie: its locks go one by one with its other descriptors,
    and it may lose the core in between, a serial port still open. That takes milliseconds, so we wait for it here.
    """
    deadline = time.monotonic() + _TEARDOWN
    while True:
        states = {_state(pid)[0] for pid in _pids() if number_of(pid) == number}
        if _LIVES in states or _GOING not in states:
            return _LIVES in states
        if time.monotonic() > deadline:
            return True
        time.sleep(0.0002)


def _pids() -> list[int]:
    if _LINUX:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    import psutil

    return list(psutil.pids())


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1


def _boot_time() -> float:
    if _LINUX:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    import psutil

    return float(psutil.boot_time())


def _started(pid: int) -> float | None:
    """When a process started, in seconds since 1970; None when it does not live (any more)."""
    state, started = _state(pid)
    return started if state == _LIVES else None


def _state(pid: int) -> tuple[str, float]:
    """(lives, going or gone; when it started)."""
    if not _LINUX:
        import psutil

        try:
            process = psutil.Process(pid)
            return _GONE if process.status() == psutil.STATUS_ZOMBIE else _LIVES, float(process.create_time())
        except psutil.Error:
            return _GONE, 0.0
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()  # proc_pid_stat(5), from field 3 on
    except OSError:
        return _GONE, 0.0
    state = _LIVES
    if int(fields[17]) <= 1:  # threads: the first may have ended before the others
        state = _GONE if fields[0] in b"ZX" else _GOING if int(fields[6]) & _EXITING else _LIVES
    return state, _boot_time() + int(fields[19]) / os.sysconf("SC_CLK_TCK")
