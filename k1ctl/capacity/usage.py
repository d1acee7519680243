"""The memory of all process trees at once: what each promise uses is looked up in one walk."""

from __future__ import annotations

import os

_LINUX = os.path.exists("/proc/self/stat")


def by_tree() -> tuple[dict[int, int], dict[int, int]]:
    """({session: bytes}, {process group: bytes}) resident of the living processes (proc_pid_stat(5)).

    What processes share counts for each of them.
    """
    if not _LINUX:
        return _by_psutil()
    sessions: dict[int, int] = {}
    groups: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", 0) as f:
                fields = f.read().rpartition(b")")[2].split()
        except OSError:
            continue
        size = int(fields[21]) * page
        group, session = int(fields[2]), int(fields[3])
        groups[group] = groups.get(group, 0) + size
        sessions[session] = sessions.get(session, 0) + size
    return sessions, groups


def _by_psutil() -> tuple[dict[int, int], dict[int, int]]:
    import psutil

    sessions: dict[int, int] = {}
    groups: dict[int, int] = {}
    for pid in psutil.pids():
        try:
            session, group, size = os.getsid(pid), os.getpgid(pid), psutil.Process(pid).memory_info().rss
        except (OSError, psutil.Error):
            continue
        groups[group] = groups.get(group, 0) + size
        sessions[session] = sessions.get(session, 0) + size
    return sessions, groups
