"""100 calls at once with room for all: launch to the command's first instruction.

Two ways to launch. `loop`: one launcher starts them one after the other as fast as it can, and each counts from its
own launch; this is what the bar is for. `gate`: all are started beforehand, wait at a gate, and count from the one
instant in which it opens; on 2 cores 100 bare `python -c pass` take most of that time, so they stand beside it.

From the run records (one CLOCK_MONOTONIC): start minus own ticket, and, in a second run with 4 slots, start minus
the later of own ticket and the instant a slot became free. Bars: p95 500 ms (loop), 50 ms (coordination only).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import kit
from arena import FILELOCK, Arena, Tool, k1ctl
from report import Report, median, percentile

BAR_MS, BAR_COORDINATION_MS = 500.0, 50.0
CALLS = 100
EXECUTE = "import os,sys; os.execv(sys.argv[1], sys.argv[1:])"


def tools(count: int) -> list[Tool]:
    """Room for all: a lock file of its own for each call of the tools that have no slots."""
    number = iter(range(10**9))

    def own(*words: str) -> Callable[[Arena, list[str]], list[str]]:
        return lambda arena, command: [*words, f"{arena.folder}/lock{next(number)}", *command]

    return [
        k1ctl(slots=count),
        Tool("flock", own("flock")),
        Tool("filelock", own(kit.PYTHON, "-c", FILELOCK)),
        Tool("python -c pass", lambda arena, command: [kit.PYTHON, "-c", EXECUTE, *command]),
    ]


def launch(arena: Arena, count: int, *, gated: bool) -> tuple[list[float], float]:
    """(launch to first instruction in ms of each call, CPU ms of a call)."""
    gate = f"{arena.folder}/gate"
    os.mkfifo(gate)
    os.chdir(arena.repository.worktree)
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    calls = [arena.tool.argv(arena, arena.hold(str(i), 20)) for i in range(count)]
    pids, began, before = [], [], os.times()
    for argv in calls:
        argv = [kit.GATE, gate, *argv] if gated else argv
        began.append(time.monotonic_ns())
        pids.append(os.posix_spawnp(argv[0], argv, arena.env, file_actions=silent))
    if gated:
        opened = os.open(gate, os.O_WRONLY)
        time.sleep(0.5)
        began = [time.monotonic_ns()] * count
        os.close(opened)
    for pid in pids:
        os.waitpid(pid, 0)
    arena.ended(count, 30)
    arena.until(lambda: not arena.processes(), 10)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    starts = arena.events()[0]
    if len(starts) != count:
        raise SystemExit(f"bench: {arena.tool.name} started {len(starts)} of {count}")
    return [(starts[str(i)] - began[i]) / 1e6 for i in range(count)], cpu * 1e3 / count


def coordination(arena: Arena, slots: int) -> list[float]:
    """ms from max(own ticket, slot became free) to the start, of every run that is recorded."""
    times = []
    for run in (arena.repository.ops / "runs").iterdir():
        record = json.loads((run / "run.json").read_text())
        if record["resources"] == {"R": 1}:
            times.append(record["monotonic"])
    times.sort(key=lambda t: t["granted"])
    ends = sorted(t["ended"] for t in times)
    found = []
    for i, t in enumerate(times):
        free = ends[i - slots] if i >= slots else 0.0
        found.append((t["started"] - max(t["enqueued"], free)) * 1e3)
    return found


def contended(report: Report, count: int) -> None:
    """The same calls, but 4 slots: from the records, what the coordination alone costs."""
    with Arena(k1ctl(slots=4)) as arena:
        idle = kit.quiet()
        launch(arena, count, gated=False)
        found = coordination(arena, 4)
    _tell_coordination(report, "4 slots", found, idle)


def _tell_coordination(report: Report, room: str, found: list[float], idle: float) -> None:
    p95 = percentile(found, 0.95)
    figures = {"p50_ms": percentile(found, 0.5), "p95_ms": p95, "max_ms": percentile(found, 1.0)}
    report.put("coordination only, from the records", tool="k1ctl", room=room, runs=len(found), **figures, idle=idle)
    report.bar(f"coordination only, {room}: p95", p95, BAR_COORDINATION_MS, "ms")


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    count = CALLS
    rounds = report.rounds(5)
    taken: dict[tuple[str, str], list[tuple[list[float], float, float]]] = {}
    records: list[float] = []
    for _ in range(rounds):
        for gated in (False, True):
            for tool in tools(count):
                with Arena(tool) as arena:
                    idle = kit.quiet()
                    found, cpu = launch(arena, count, gated=gated)
                    if tool.name == "k1ctl" and not gated:
                        records += coordination(arena, count)
                taken.setdefault(("gate" if gated else "loop", tool.name), []).append((found, cpu, idle))
    for (way, name), rows in taken.items():
        p95 = median([percentile(found, 0.95) for found, _, _ in rows])
        report.put(
            f"{count} at once, launched by {way}",
            tool=name,
            rounds=len(rows),
            p50_ms=median([percentile(found, 0.5) for found, _, _ in rows]),
            p95_ms=p95,
            max_ms=median([percentile(found, 1.0) for found, _, _ in rows]),
            caller_cpu_ms=median([cpu for _, cpu, _ in rows]),
            idle=median([idle for _, _, idle in rows]),
        )
        if name == "k1ctl" and way == "loop":
            report.bar(f"{count} at once: p95 of launch to first instruction", p95, BAR_MS, "ms")
    _tell_coordination(report, "room for all", records, 0.0)
    contended(report, count)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
