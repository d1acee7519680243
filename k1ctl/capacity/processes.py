"""The memory and CPU time of a process tree, by its session or its group; fast enough to be asked every second.

One pass over /proc/*/stat keeps orphans that a walk by parent loses (proc_pid_stat(5)); elsewhere psutil is asked.
RSS counts shared pages for each process; `pss` shares them out (proc_pid_smaps(5)) and costs some 12 ms for a gigabyte.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LINUX = os.path.exists("/proc/self/stat")


class Tree:
    """One look at a tree: ``rss`` of all, ``largest`` of one process, in bytes; its living ``pids``; ``cpu``: seconds
    used by those that live."""

    __slots__ = ("cpu", "largest", "pids", "rss")

    def __init__(self, rss: int, largest: int, pids: list[int], cpu: float) -> None:
        self.rss, self.largest, self.pids, self.cpu = rss, largest, pids, cpu


def look(*, session: int = 0, group: int = 0, leave_out: Iterable[int] = ()) -> Tree:
    """The living processes of a session, or of a group where ``session`` is 0."""
    tree, out = Tree(0, 0, [], 0.0), set(leave_out)
    wanted, field = (session, 3) if session else (group, 2)
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    if not _LINUX:
        return _look_psutil(tree, wanted, os.getsid if session else os.getpgid, out)
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", 0) as f:
                fields = f.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[field]) == wanted and fields[0] not in b"ZX" and int(name) not in out:
            rss = int(fields[21]) * page
            tree.rss += rss
            tree.largest = max(tree.largest, rss)
            tree.cpu += (int(fields[11]) + int(fields[12])) / tick
            tree.pids.append(int(name))
    return tree


def _look_psutil(tree: Tree, wanted: int, number_of: object, out: set[int]) -> Tree:
    import psutil

    assert callable(number_of)
    for pid in psutil.pids():
        try:
            if pid in out or number_of(pid) != wanted:
                continue
            process = psutil.Process(pid)
            rss, times = process.memory_info().rss, process.cpu_times()
        except (OSError, psutil.Error):
            continue
        tree.rss += rss
        tree.largest = max(tree.largest, rss)
        tree.cpu += times.user + times.system
        tree.pids.append(pid)
    return tree
