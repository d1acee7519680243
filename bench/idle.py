"""What 100 blocked waiters cost while nothing happens: CPU, wake-ups and memory, front end and supervisor together.

Read from /proc over 20 s, begun 12 s after the last arrival, so that several rounds of looking at the line are in it
(Linux only). Bars: 5 ms CPU a second in all, 8 MB PSS a waiter.
"""

from __future__ import annotations

import os
import time

import kit
from arena import Arena, Tool, filelock, flock, k1ctl, nq, sem, tsp
from report import Report

BAR_CPU, BAR_PSS = 5.0, 8.0
WAITERS = 100


def used(pids: list[int]) -> tuple[float, int]:
    """(ms on a CPU, times it was left voluntarily) of all threads of the processes so far."""
    cpu = switches = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    cpu += int(f.read().split()[0])
                with open(f"/proc/{pid}/task/{task}/status") as f:
                    switches += sum(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt"))
        except OSError:
            continue
    return cpu / 1e6, switches


def pss_mb(pids: list[int]) -> float:
    """Proportional set size in MB (1e6 bytes) of all the processes."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except OSError:
            continue
    return total * 1024 / 1e6


def main() -> int:
    report = Report(__doc__ or "", tool={"default": "", "help": "measure this one only"})
    kit.prepare()
    waiters, seconds = (30, 11.0) if report.quick else (WAITERS, 20.0)
    tools: list[Tool] = [k1ctl(), flock(), tsp(), nq(), filelock(), sem()]
    for tool in tools:
        if report.options.tool not in ("", tool.name):
            continue
        if not tool.there or (report.quick and tool.name == "sem"):
            continue
        with Arena(tool) as arena:
            _, gate = arena.gated("gate")
            arena.line_up(waiters)
            time.sleep(2.0 if report.quick else 12.0)
            pids = sorted(set(arena.processes()) - set(arena.processes("gate")))
            before, began = used(pids), time.monotonic()
            time.sleep(seconds)
            after, took = used(pids), time.monotonic() - began
            memory = pss_mb(pids)
            os.close(gate)
            for pid in arena.processes():
                arena.kill(pid)
        figures = {
            "cpu_ms_per_s": round((after[0] - before[0]) / took, 2),
            "wakeups_per_s": round((after[1] - before[1]) / took, 1),
            "pss_mb_each": round(memory / waiters, 2),
        }
        report.put(f"{waiters} waiters", tool=tool.name, processes=len(pids), seconds=round(took, 1), **figures)
        if tool.name == "k1ctl":
            report.bar(f"{waiters} waiters: CPU a second", figures["cpu_ms_per_s"], BAR_CPU, "ms")
            report.bar("PSS of a waiter", figures["pss_mb_each"], BAR_PSS, "MB")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
