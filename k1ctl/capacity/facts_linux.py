"""The host's facts from Linux's /proc (proc_meminfo(5), Documentation/accounting/psi.rst)."""

from __future__ import annotations

import os

from k1ctl.capacity.facts import Facts

PROC = "/proc"


def read(proc: str = PROC) -> Facts:
    """One look at the host. Raises OSError."""
    memory = {}
    with open(f"{proc}/meminfo", "rb") as f:
        for line in f:
            key, _, value = line.partition(b":")
            memory[key] = int(value.split()[0]) << 10
    swap = memory.get(b"SwapTotal", 0)
    return Facts(
        "linux",
        os.cpu_count() or 1,
        memory[b"MemTotal"],
        memory[b"MemAvailable"],
        swap=swap,
        swap_used=swap - memory.get(b"SwapFree", 0),
    )
