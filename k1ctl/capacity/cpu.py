"""How a command is kept to so many cores: by its cgroup, by affinity, or by stopping it now and then.

Affinity is exact and free for whole cores, and the command sees how many it has. For fractions, and where there is no
affinity (macOS), the watchdog stops the tree for as long as it was ahead of its share; who takes over from a watchdog
that died lets it go on first.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WINDOW = 0.1  # s between two looks at what was used; the kernel counts in hundredths of a second
_AHEAD = 0.02  # s of CPU that may be used before its time
_LONGEST_STOP = 1.0  # s
INNER = (
    "CMAKE_BUILD_PARALLEL_LEVEL",
    "CARGO_BUILD_JOBS",
    "GOMAXPROCS",
    "OMP_NUM_THREADS",
    "PYTEST_XDIST_AUTO_NUM_WORKERS",
    "UV_THREADPOOL_SIZE",
    "VITEST_MAX_WORKERS",
)


def whole(cpus: float) -> bool:
    """Whether affinity does: whole cores, fewer than there are, on a system that has it."""
    return cpus >= 1 and cpus == int(cpus) and hasattr(os, "sched_setaffinity")


def choose(cpus: int, taken: Iterable[Iterable[int]]) -> list[int]:
    """``cpus`` of our cores, those first that the fewest other limited commands are kept on."""
    counts = dict.fromkeys(sorted(os.sched_getaffinity(0)), 0)
    for cores in taken:
        for core in cores:
            if core in counts:
                counts[core] += 1
    return sorted(sorted(counts, key=lambda core: (counts[core], core))[:cpus])


def keep_on(pid: int, cores: Iterable[int]) -> bool:
    """Keep a process, and the children it will have, on these cores; False where the system does not."""
    try:
        os.sched_setaffinity(pid, cores)
    except (OSError, AttributeError):
        return False
    return True


def environment(cpus: float, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep tools which start a worker for each core to ``cpus``; what is set already stays as it is.

    Not MAKEFLAGS: it would run in parallel what its author wrote for one job, where a plain make runs one.
    """
    count = str(max(1, int(cpus)))
    return {name: count for name in INNER if name not in environ}


class Duty:
    """The budget of a tree that may use ``cpus`` cores: CPU seconds it may have used grow with time, and what is not
    used is not saved up. `step` tells how long it has to stand still."""

    def __init__(self, cpus: float, now: float | None = None) -> None:
        self.cpus = cpus
        self._at = time.monotonic() if now is None else now
        self._used = 0.0
        self._debt = 0.0
        self._first = True

    def step(self, used: float, now: float | None = None) -> float:
        """``used``: CPU seconds of the tree until now. Returns the seconds that it has to be stopped for (0: none)."""
        now = time.monotonic() if now is None else now
        if self._first:
            self._first, self._used = False, used
        self._debt += used - self._used - self.cpus * (now - self._at)
        self._debt = max(self._debt, -_AHEAD)
        self._used, self._at = used, now
        return min(_LONGEST_STOP, self._debt / self.cpus) if self._debt > _AHEAD else 0.0
