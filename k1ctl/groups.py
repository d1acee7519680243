"""Process groups: signal one, and tell whether anybody in it still lives."""

from __future__ import annotations

import os


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
    """The processes of the group that live (zombies do not). Costs a walk over all processes."""
    if not exists(group):
        return []
    import psutil

    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (OSError, psutil.Error):
            continue
    return found


def lives(group: int, since: float) -> bool:
    """Whether a group that was started at ``since`` (seconds since 1970) still has a living member.

    A group outlives its leader; while it does, its number is not given to a new process. So a leader that started
    after ``since``, or a boot after it, means that the number was reused.
    """
    if not exists(group):
        return False
    import psutil

    if psutil.boot_time() > since:
        return False
    try:
        if psutil.Process(group).create_time() > since + 2:  # both clocks are rounded, on macOS to the second
            return False
    except psutil.Error:
        pass
    return bool(members(group))
