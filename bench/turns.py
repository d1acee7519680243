"""20,000 simulated turns of the annex's heavy load, and the simulated mean wait beside Erlang's and Pollaczek's.

Bars: 150 ms for 20,000 turns after 2,000 that warm up, cold tables of variates included; at most 2 % between the
simulator's open mode and M/M/c (10 runs of 20,000 arrivals with one control variate, see `queueing.mean_wait`).
Nothing else is measured here that has a peer: the figures are k1ctl's own.
"""

from __future__ import annotations

import sys
import time

import kit
from report import Report, median

sys.path.insert(0, str(kit.SOURCE))

BAR_MS, BAR_PERCENT, TURNS = 150, 2.0, 20_000


def main() -> int:
    from k1ctl.capacity.queueing import Kind, Model, mean_wait, mmc_wait, simulate
    from k1ctl.capacity.variates import quantiles

    report = Report(__doc__ or "")
    one = [Kind("fw", 4, 330.0, uploads=0.6)]
    two = [Kind("fw", 4, 330.0, uploads=0.6), Kind("web", 6, 100.0, share=2.0)]
    worst = 0.0
    for name, model in (
        ("heavy, 16 workspaces", Model(16, 1080.0, one, 48.0)),
        ("100 workspaces, fw and web", Model(100, 1080.0, two, 48.0, devices=2, hosts=2)),
        ("bursts of 20", Model(20, 0.0, one, 48.0, burst=True)),
    ):
        walls, cpus = [], []
        for seed in range(report.rounds(11, 3)):
            quantiles.cache_clear()
            began, used = time.perf_counter(), time.process_time()
            found = simulate(model, turns=TURNS, seed=seed)
            walls.append((time.perf_counter() - began) * 1e3)
            cpus.append((time.process_time() - used) * 1e3)
        middle = median(walls) or 0.0
        worst = max(worst, middle)
        report.put(
            f"{TURNS} turns",
            tool=name,
            median_ms=round(middle, 1),
            max_ms=round(max(walls), 1),
            cpu_ms=round(median(cpus) or 0.0, 1),
            p90_minutes=round(found.p90 / 60, 2),
        )
    report.bar(f"{TURNS} simulated turns", round(worst, 1), BAR_MS, "ms")
    off = 0.0
    for servers, busy in ((2, 0.7), (4, 0.7), (4, 0.85), (4, 0.9), (6, 0.85)):
        exact = mmc_wait(servers, busy * servers, 1.0)
        errors = []
        for seed in range(report.rounds(5, 1)):
            wait = mean_wait(servers, busy * servers, 1.0, turns=TURNS, seed=1 + 1000 * seed)
            errors.append(100 * (wait / exact - 1))
        off = max(off, *(abs(e) for e in errors))
        report.put(
            "mean wait, simulated against M/M/c",
            tool=f"{servers} servers, {busy:.0%} busy",
            exact=round(exact, 4),
            worst_percent=round(max(errors, key=abs), 2),
            mean_percent=round(sum(errors) / len(errors), 2),
        )
    report.bar("largest difference from M/M/c", round(off, 2), BAR_PERCENT, "%")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
