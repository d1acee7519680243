"""What a command costs to start: `k1ctl queue list --json` against `python -c 'import click'` of the same environment.

The root is found, the configuration read, a holder and two waiters listed. Pairs are interleaved, each in turn first;
the figure is the median of the pairs' ratios. Bar: 1.20.
"""

from __future__ import annotations

import os
import statistics
import time

import kit
from arena import Arena, k1ctl
from report import Report, median, percentile

BAR = 1.20


def timed(argv: list[str], cwd: str, env: dict[str, str]) -> tuple[float, float]:
    """(wall ms, CPU ms) of one call, waited for."""
    here = os.getcwd()
    os.chdir(cwd)
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, env, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    wall = (time.perf_counter() - began) * 1e3
    os.chdir(here)
    if status:
        raise SystemExit(f"bench: {argv} ended with status {status}")
    return wall, (usage.ru_utime + usage.ru_stime) * 1e3


def compare(
    report: Report, section: str, sides: dict[str, list[str]], cwd: str, env: dict[str, str], *, over: str, bar: float
) -> None:
    """Call the sides in turn and report them; the first is ours, the second what it is measured over: ``over``."""
    names = list(sides)
    for argv in sides.values():
        timed(argv, cwd, env)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    idle = kit.quiet()
    for i in range(report.rounds(100, 20)):
        for name in names if i % 2 else reversed(names):
            taken[name].append(timed(sides[name], cwd, env))
    peer = taken[names[1]]
    for name, pairs in taken.items():
        walls = [wall for wall, _ in pairs]
        ratio = statistics.median(own[0] / other[0] for own, other in zip(pairs, peer, strict=True))
        figures = {"p50_ms": median(walls), "p95_ms": percentile(walls, 0.95), "cpu_ms": median([c for _, c in pairs])}
        report.put(section, tool=name, rounds=len(pairs), **figures, over_imports=round(ratio, 3), idle=idle)
        if name == names[0]:
            report.bar(f"{name} over {over}", round(ratio, 3), bar, "times")


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    with Arena(k1ctl()) as arena:
        _, gate = arena.gated("holder")
        arena.line_up(2)
        cwd, env = str(arena.repository.worktree), arena.env
        sides = {
            "k1ctl queue list --json": [kit.K1CTL, "queue", "list", "--json"],
            "python -c 'import click'": [kit.PYTHON, "-c", "import click"],
            "python -c pass": [kit.PYTHON, "-c", "pass"],
        }
        compare(report, "start", sides, cwd, env, over="import click", bar=BAR)
        os.close(gate)
        arena.ended(3)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
