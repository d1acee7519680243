"""What a container leaves of the host: memory and cores that its control group may use, and what it uses of them.

In a container /proc/meminfo shows the whole host; what ends a process there is the limit of its control group, or of
one around it (cgroup v2: Documentation/admin-guide/cgroup-v2.rst; v1: Documentation/admin-guide/cgroup-v1/memory.rst).
Pages of files that nobody used lately (inactive_file) count as free, as the kernel takes them before it kills.
"""

from __future__ import annotations

from k1ctl.capacity.kernelfiles import field, number, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

GROUPS = "/sys/fs/cgroup"  # where every distribution mounts them; a container sees its own group there
_NO_LIMIT = 1 << 62  # bytes: v1 writes "no limit" as the largest number of pages


class Container:
    """The limits of the control groups around this process. ``version`` is "v1" or "v2"; ``memory``, the least limit of
    all, in bytes; ``available`` and ``used`` in bytes, ``swap`` and ``swap_used`` in bytes, and ``oom_kills``
    (processes killed there for want of memory) of the group that leaves least, whose folder is ``path``; ``cpus`` in
    cores. None where nothing is set. What slows down and does not kill (memory.high) is no limit here.
    """

    __slots__ = ("available", "cpus", "memory", "oom_kills", "path", "swap", "swap_used", "used", "version")

    def __init__(self, version: str, path: str) -> None:
        self.version, self.path = version, path
        self.memory: int | None = None
        self.available: int | None = None
        self.used: int | None = None
        self.cpus: float | None = None
        self.swap: int | None = None
        self.swap_used: int | None = None
        self.oom_kills: int | None = None

    def document(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "path": self.path,
            "memory_bytes": self.memory,
            "used_bytes": self.used,
            "cpus": self.cpus,
        }


def find(host_memory: int, root: str = "") -> Container | None:
    """The limits on this process; None without one. ``host_memory`` in bytes: a limit above it is none; ``root`` is
    the folder in which ``/proc`` and ``/sys`` lie. Never raises."""
    groups = of_process(read(f"{root}/proc/self/cgroup"))
    if "" in groups and read(f"{root}{GROUPS}/cgroup.controllers"):
        return _find_v2(host_memory, root, groups[""])
    return _find_v1(host_memory, root, groups)


def of_process(data: bytes) -> dict[str, str]:
    """{controller: path of the group}, the unified hierarchy as "" (cgroups(7), /proc/pid/cgroup)."""
    groups = {}
    for line in data.decode(errors="surrogateescape").splitlines():
        number, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if colon and number.isdecimal():
            groups.update(dict.fromkeys(names.split(","), path))
    return groups


def folders(mount: str, path: str) -> Iterator[str]:
    """The group's folder and those around it, innermost first.

    A path that is not below the mount is one of another namespace: then the mount itself is the group.
    """
    words = [word for word in path.split("/") if word not in ("", ".", "..")]
    while words:
        yield "/".join([mount, *words])
        words.pop()
    yield mount


def _find_v2(host_memory: int, root: str, path: str) -> Container | None:
    found: Container | None = None
    for folder in folders(f"{root}{GROUPS}", path):
        limit, cpus = number(read(f"{folder}/memory.max")), _quota(read(f"{folder}/cpu.max"))
        if not (limit is not None and limit < host_memory) and cpus is None:
            continue
        if found is None:
            found = Container("v2", folder[len(root) :])
        if cpus is not None:
            found.cpus = min(found.cpus or cpus, cpus)
        if limit is not None and limit < host_memory:
            stat = read(f"{folder}/memory.stat")
            if _narrow(found, limit, number(read(f"{folder}/memory.current")), field(stat, b"inactive_file")):
                found.path = folder[len(root) :]
                found.swap = number(read(f"{folder}/memory.swap.max"))
                found.swap_used = number(read(f"{folder}/memory.swap.current"))
                found.oom_kills = field(read(f"{folder}/memory.events"), b"oom_kill")
    return found


def _find_v1(host_memory: int, root: str, groups: dict[str, str]) -> Container | None:
    found = Container("v1", "")
    for folder in folders(f"{root}{GROUPS}/memory", groups["memory"]) if "memory" in groups else ():
        limit = number(read(f"{folder}/memory.limit_in_bytes"))
        if limit is None or limit >= min(host_memory, _NO_LIMIT):
            continue
        stat = read(f"{folder}/memory.stat")
        if _narrow(found, limit, number(read(f"{folder}/memory.usage_in_bytes")), field(stat, b"total_inactive_file")):
            found.path = folder[len(root) :]
            found.oom_kills = field(read(f"{folder}/memory.oom_control"), b"oom_kill")
    for folder in folders(f"{root}{GROUPS}/cpu", groups["cpu"]) if "cpu" in groups else ():
        quota, period = (number(read(f"{folder}/cpu.cfs_{word}_us")) for word in ("quota", "period"))
        if quota and period:
            found.cpus = min(found.cpus or quota / period, quota / period)
            found.path = found.path or folder[len(root) :]
    return found if found.path else None


def _narrow(found: Container, limit: int, usage: int | None, inactive: int | None) -> bool:
    """Count a group's limit in; whether it is the one that leaves least so far."""
    used = max(0, (usage or 0) - (inactive or 0))
    left = max(0, limit - used)
    found.memory = min(limit, limit if found.memory is None else found.memory)
    if found.available is not None and found.available <= left:
        return False
    found.available, found.used = left, used
    return True


def _quota(data: bytes) -> float | None:
    """The cores of ``cpu.max``, as in ``150000 100000``; None for ``max``."""
    words = data.split()
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()) or not int(words[1]):
        return None
    return int(words[0]) / int(words[1]) or None
