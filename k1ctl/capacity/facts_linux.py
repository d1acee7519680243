"""The host's facts from Linux's /proc, /sys and control groups; some 0.2 ms, without a process or a library.

Sources: proc_meminfo(5), proc_loadavg(5), proc_vmstat(5), Documentation/accounting/psi.rst.
"""

from __future__ import annotations

import errno
import os
from math import ceil

from k1ctl.capacity import containers
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.kernelfiles import field
from k1ctl.capacity.kernelfiles import read as text_of

_PRESSURE = ("memory", "cpu", "io")
_FIELDS = {b"avg10": "avg10", b"avg60": "avg60", b"total": "total_us"}


def read(root: str = "", *, cores: int = 0, thermal: bool = False) -> Facts:
    """One look at the host, or at what the container around us may use of it.

    ``root``: the folder that ``/proc`` and ``/sys`` lie in (recorded ones in tests); ``cores``: those this process may
    run on (0: its affinity); ``thermal``: the temperature as well, which firmware may take milliseconds to tell.
    Raises OSError.
    """
    memory = _meminfo(f"{root}/proc/meminfo")
    total, available = memory[b"MemTotal"], min(memory[b"MemAvailable"], memory[b"MemTotal"])
    swap = memory.get(b"SwapTotal", 0)
    swap_used = max(0, swap - memory.get(b"SwapFree", 0))
    vmstat = text_of(f"{root}/proc/vmstat")
    facts = Facts(
        "linux",
        cores or _affinity(),
        total,
        available,
        swap=swap,
        swap_used=swap_used,
        load=_load(text_of(f"{root}/proc/loadavg")),
        pressure=_pressures(f"{root}/proc/pressure", ""),
        oom_kills=field(vmstat, b"oom_kill"),
        swapped_out_pages=field(vmstat, b"pswpout"),
    )
    around = containers.find(total, root)
    if around is not None:
        _contain(facts, around, root)
    if thermal:
        from k1ctl.capacity import thermal_linux

        facts.thermal, facts.celsius = thermal_linux.read(root)
    return facts


def _contain(facts: Facts, around: containers.Container, root: str) -> None:
    """Reduce the host's facts to what its container may use: the rest is not ours to give away."""
    facts.container = around.document()
    if around.cpus is not None:
        facts.cores = min(facts.cores, max(1, ceil(around.cpus)))
    if around.memory is None or around.available is None:
        return
    facts.memory = min(facts.memory, around.memory)
    facts.available = min(facts.available, around.available)
    if around.swap is not None:
        facts.swap = min(facts.swap, around.swap)
    if around.swap_used is not None:
        facts.swap_used = min(facts.swap, around.swap_used)
    if around.oom_kills is not None:
        facts.oom_kills = around.oom_kills
    own = _pressures(root + around.path, ".pressure") if around.version == "v2" else None
    facts.pressure.update(own or {})


def _meminfo(path: str) -> dict[bytes, int]:
    """/proc/meminfo in bytes. Raises OSError, also when it does not tell what is needed."""
    found = {}
    with open(path, "rb", 0) as f:
        for line in f.read().splitlines():
            key, _, value = line.partition(b":")
            words = value.split()
            if words and words[0].isdigit():
                found[key] = int(words[0][:18]) << 10
    if not found.get(b"MemTotal"):
        raise OSError(errno.EINVAL, "does not tell MemTotal", path)
    # before Linux 3.14: what is free and what caches files
    found.setdefault(b"MemAvailable", found.get(b"MemFree", 0) + found.get(b"Cached", 0) + found.get(b"Buffers", 0))
    return found


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def _load(data: bytes) -> float | None:
    try:
        return float(data.split()[0])
    except (ValueError, IndexError):
        return None


def _pressures(folder: str, suffix: str) -> dict[str, dict[str, float]]:
    """{memory|cpu|io: ...} of the files that are there: PSI is off in some kernels, and in some only at boot."""
    found = {}
    for name in _PRESSURE:
        one = parse_pressure(text_of(f"{folder}/{name}{suffix}"))
        if one:
            found[name] = one
    return found


def parse_pressure(data: bytes) -> dict[str, float]:
    """{some_avg10: percent, ..., full_total_us: microseconds} of one file of /proc/pressure; {} when it is none."""
    found: dict[str, float] = {}
    for line in data.splitlines():
        kind, *words = line.split()
        if kind not in (b"some", b"full"):
            continue
        for word in words:
            key, _, value = word.partition(b"=")
            if key in _FIELDS:
                try:
                    found[f"{kind.decode()}_{_FIELDS[key]}"] = int(value) if key == b"total" else float(value)
                except ValueError:
                    continue
    return found
