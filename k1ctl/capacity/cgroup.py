"""Limits by the kernel: a cgroup of the command's own, where one can be made without asking anybody.

Tried in this order, each on the spot: a subtree of cgroup v2 that was delegated to us (cgroup.procs writable, the
memory controller enabled for children; Documentation/admin-guide/cgroup-v2.rst), ``systemd-run --user --scope`` where
the user's manager answers, and, only where a cgroup is asked for by name, cgroup v1's memory controller where its
folder is writable (Documentation/admin-guide/cgroup-v1/memory.rst): only root has that, and whoever made the cgroup
that we are in expects none below it. A process that cannot be put there is watched instead.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = "/sys/fs/cgroup"
PERIOD = 100_000  # us; what cpu.max and cpu.cfs_quota_us count in
_ASK = 3.0  # s that the user's manager has to answer
_GONE_IN = 0.5  # s that a cgroup whose last process ended takes to be empty
_OURS = "k1ctl-"  # what the names of ours begin with
_HALF_WAY = 60.0  # s in which a cgroup that was made is entered
_SMALLEST_QUOTA = 1000  # us, the kernel's own least (Documentation/scheduler/sched-bwc.rst)


class Place:
    """A cgroup of ours: ``kind`` v2, v1 or scope; ``folders`` {memory, cpu: folder}, what of the two it limits;
    ``prefix`` words that a scope wants before the command."""

    __slots__ = ("folders", "kind", "prefix")

    def __init__(self, kind: str, folders: dict[str, str], prefix: list[str] | None = None) -> None:
        self.kind, self.folders, self.prefix = kind, folders, prefix or []

    def enter(self, pid: int) -> None:
        """Put a process there; its children begin there. Raises OSError."""
        for folder in set(self.folders.values()):
            _write(folder, "cgroup.procs", pid)

    def kills(self) -> int:
        """How many of its processes the kernel ended at the memory limit."""
        return kills(self.folders)

    def remove(self) -> None:
        """Take it away; the kernel lets us only when nobody is in it."""
        remove(self.folders)


def make(
    name: str, memory: int, cpus: float, *, v1: bool = False, root: str = ROOT, proc: str = "/proc/self/cgroup"
) -> Place | None:
    """A cgroup for at most ``memory`` bytes and ``cpus`` cores (0: any); None where none can be made.

    ``v1``: in the trees of cgroup v1, too. A place that limits memory but not the CPU is one (`Place.folders` tells).
    """
    ours = _ours(proc)
    return _make_v2(name, memory, cpus, root, ours) or (_make_v1(name, memory, cpus, root, ours) if v1 else None)


def _ours(proc: str) -> dict[str, str]:
    """{controller: our path in its hierarchy}; "" is cgroup v2 (cgroups(7), /proc/[pid]/cgroup)."""
    try:
        with open(proc, encoding="utf-8") as f:
            rows = [line.rstrip("\n").split(":", 2) for line in f]
    except OSError:
        return {}
    return {controller: row[2] for row in rows if len(row) == 3 for controller in row[1].split(",")}


def _make_v2(name: str, memory: int, cpus: float, root: str, ours: dict[str, str]) -> Place | None:
    """A sibling of ours: a cgroup that holds processes may not enable controllers for children."""
    if "" not in ours or not os.path.exists(f"{root}/cgroup.controllers"):
        return None
    parent = os.path.dirname(root + ours[""].rstrip("/"))
    if len(parent) < len(root):
        return None
    try:
        enabled = _read(parent, "cgroup.subtree_control").split()
        if memory and "memory" not in enabled:
            return None
        folder = os.path.join(parent, f"{_OURS}{name}")
        _sweep(parent)
        _new(folder)
    except OSError:
        return None
    folders = {}
    try:
        if memory:
            _write(folder, "memory.max", memory)
            _try_write(folder, "memory.swap.max", 0)
            # memory.oom.group stays 0: the kernel takes the largest, and the watchdog all others but a flash
            folders["memory"] = folder
        if cpus and "cpu" in enabled:
            _write(folder, "cpu.max", f"{_quota(cpus)} {PERIOD}")
            folders["cpu"] = folder
    except OSError:
        folders = {}
    return _tried(Place("v2", folders), [folder])


def _make_v1(name: str, memory: int, cpus: float, root: str, ours: dict[str, str]) -> Place | None:
    """Below ours, so that what holds for us holds for it."""
    folders, made = {}, []
    if memory and "memory" in ours:
        folder = _below(root, "memory", ours["memory"], name)
        if folder:
            made.append(folder)
            try:
                _write(folder, "memory.limit_in_bytes", memory)
                _try_write(folder, "memory.memsw.limit_in_bytes", memory)
                folders["memory"] = folder
            except OSError:
                pass
    if cpus and "cpu" in ours:
        folder = _below(root, "cpu", ours["cpu"], name)
        if folder:
            made.append(folder)
            try:
                _write(folder, "cpu.cfs_period_us", PERIOD)
                _write(folder, "cpu.cfs_quota_us", _quota(cpus))
                folders["cpu"] = folder
            except OSError:
                pass
    return _tried(Place("v1", folders), made)


def _below(root: str, controller: str, ours: str, name: str) -> str:
    """A new folder below our place in a v1 hierarchy; "" where none can be made."""
    base = f"{root}/{controller}"
    inside = base + ours.rstrip("/")
    parent = inside if os.path.isdir(inside) else base  # in a container our place is the root of what we see
    if not os.access(os.path.join(parent, "cgroup.procs"), os.W_OK):
        return ""
    folder = os.path.join(parent, f"{_OURS}{name}")
    try:
        _sweep(parent)
        _new(folder)
    except OSError:
        return ""
    return folder


def _tried(place: Place, made: list[str]) -> Place | None:
    """The place if a process can be put there; else it is taken away again. What it does not limit is taken away."""
    for folder in set(made) - set(place.folders.values()):
        _rmdir(folder)
    if not place.folders:
        return None
    import subprocess

    child = subprocess.Popen(["/bin/sh", "-c", "read x"], stdin=subprocess.PIPE)
    try:
        place.enter(child.pid)
    except OSError:
        child.communicate()
        place.remove()
        return None
    child.communicate()
    return place


def make_scope(name: str, memory: int, cpus: float) -> Place | None:
    """A scope of the user's systemd, which makes the cgroup and puts the command there; None where none answers."""
    import shutil
    import subprocess

    program = shutil.which("systemd-run")
    if program is None or not (os.environ.get("DBUS_SESSION_BUS_ADDRESS") or os.environ.get("XDG_RUNTIME_DIR")):
        return None
    prefix = [program, "--user", "--scope", "--quiet", "--collect", f"--unit=k1ctl-{name}", "-p", "OOMPolicy=continue"]
    if memory:
        prefix += ["-p", f"MemoryMax={memory}", "-p", "MemorySwapMax=0"]
    if cpus:
        prefix += ["-p", f"CPUQuota={max(1, round(cpus * 100))}%"]
    trial = [word.replace(f"k1ctl-{name}", f"k1ctl-{name}-try") for word in prefix]
    try:
        told = subprocess.run(
            [*trial, "cat", "/proc/self/cgroup"], capture_output=True, timeout=_ASK, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    path = next((line[3:] for line in told.stdout.decode().splitlines() if line.startswith("0::")), "")
    if told.returncode or f"k1ctl-{name}-try.scope" not in path:
        return None
    folder = ROOT + path.replace(f"k1ctl-{name}-try.scope", f"k1ctl-{name}.scope")
    enabled = _read_or_nothing(os.path.dirname(folder), "cgroup.subtree_control").split()
    limited = {c: folder for c, wanted in (("memory", memory), ("cpu", cpus)) if wanted and c in enabled}
    return Place("scope", limited, prefix) if limited else None


def kills(folders: dict[str, str]) -> int:
    """How many processes the kernel ended at the memory limit of these folders; 0 where they are gone."""
    folder = folders.get("memory", "")
    for name in ("memory.events", "memory.oom_control"):
        for line in _read_or_nothing(folder, name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    return 0


def peak(folders: dict[str, str]) -> int:
    """The most memory that was used there, page cache included, in bytes; 0 where nobody tells."""
    folder = folders.get("memory", "")
    for name in ("memory.peak", "memory.max_usage_in_bytes"):
        text = _read_or_nothing(folder, name).strip()
        if text.isdigit():
            return int(text)
    return 0


def remove(folders: dict[str, str]) -> None:
    """Take the cgroups away. One with a process in it stays."""
    until = time.monotonic() + _GONE_IN
    for folder in set(folders.values()):
        while not _rmdir(folder) and time.monotonic() < until:
            time.sleep(0.005)


def _new(folder: str) -> None:
    os.mkdir(folder)  # the kernel fills it


def _sweep(parent: str) -> None:
    """Take away what a start that was killed half-way left; the kernel keeps what anybody is in. Raises OSError."""
    for name in os.listdir(parent):
        folder = os.path.join(parent, name)
        if name.startswith(_OURS) and time.time() - os.stat(folder).st_mtime > _HALF_WAY:
            _rmdir(folder)


def _rmdir(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _quota(cpus: float) -> int:
    return max(_SMALLEST_QUOTA, round(cpus * PERIOD))


def _read(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        return f.read()


def _read_or_nothing(folder: str, name: str) -> str:
    try:
        return _read(folder, name)
    except OSError:
        return ""


def _write(folder: str, name: str, value: Any) -> None:
    fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _try_write(folder: str, name: str, value: Any) -> None:
    try:
        _write(folder, name, value)
    except OSError:
        pass
