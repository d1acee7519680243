"""What `k1ctl queue run R -- true` costs over `true` when nobody else is there, beside flock(1), tsp, nq and sem.

Every round runs `true` and then each tool once. nq returns before its command runs. Bar: 30 ms over `true`.
"""

from __future__ import annotations

import time

import kit
from arena import Arena, Tool, filelock, flock, k1ctl, nq, sem, tsp
from report import Report, median, percentile
from start import timed

BAR_MS = 30.0
NOTHING = Tool("true", lambda arena, command: command)


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    arenas = [Arena(tool) for tool in (NOTHING, k1ctl(), flock(), tsp(), nq(), filelock(), sem()) if tool.there]
    taken: dict[str, list[tuple[float, float]]] = {arena.tool.name: [] for arena in arenas}
    try:
        calls = [(a, a.tool.argv(a, ["true"]), str(a.repository.worktree)) for a in arenas]
        for arena, argv, cwd in calls:
            timed(argv, cwd, arena.env)
        idle = kit.quiet()
        for _ in range(report.rounds(60, 12)):
            for arena, argv, cwd in calls:
                taken[arena.tool.name].append(timed(argv, cwd, arena.env))
                if arena.tool.detached:
                    time.sleep(0.02)
    finally:
        for arena in arenas:
            arena.__exit__(None, None, None)
    true = median([wall for wall, _ in taken["true"]]) or 0.0
    for name, pairs in taken.items():
        walls = [wall for wall, _ in pairs]
        over = round((median(walls) or 0.0) - true, 2)
        report.put(
            "uncontended",
            tool=name,
            rounds=len(pairs),
            p50_ms=median(walls),
            p95_ms=percentile(walls, 0.95),
            over_true_ms=over,
            caller_cpu_ms=median([cpu for _, cpu in pairs]),
            idle=idle,
        )
        if name == "k1ctl":
            report.bar("k1ctl queue run R -- true over true", over, BAR_MS, "ms")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
