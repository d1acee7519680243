"""The hand-over: a holder's last instruction to the next command's first, with 2, 10, 50 and 100 waiters of 20 ms each.

Every round runs each tool on each length once; a round in which the machine was busy with something else is taken
again. The figures are medians over the rounds of each round's p50, p95 and maximum, the ratio is the median of the
rounds' own ratios to flock(1). Also the order of service (Kendall's tau against the order of arrival) and how many
commands ever ran at once. Bars: p95 at most twice flock(1)'s and 5 ms, tau 1.00, no overlap.
"""

from __future__ import annotations

import os
from typing import Any

import kit
from arena import Arena, Tool, filelock, flock, k1ctl, nq, sem, tsp
from report import Report, median, percentile

BAR_RATIO, BAR_MS = 2.0, 5.0
HOLD_MS = 20
CALM = 0.7  # idle share below which a neighbour worked during the round; ours takes 5 to 15 percent


def order(served: list[int]) -> tuple[float, int]:
    """(Kendall's tau, most overtakes that one suffered) of arrival numbers in the order of service."""
    n = len(served)
    wrong = sum(served[i] > served[j] for i in range(n) for j in range(i + 1, n))
    overtaken = max((sum(served[k] > a for k in range(i)) for i, a in enumerate(served)), default=0)
    return (round(1 - 4 * wrong / (n * (n - 1)), 3) if n > 1 else 1.0), overtaken


def most_at_once(starts: dict[str, int], ends: dict[str, int]) -> int:
    """The most commands that ran at one time."""
    running = peak = 0
    for _, step in sorted([(t, 1) for t in starts.values()] + [(t, -1) for t in ends.values()]):
        running += step
        peak = max(peak, running)
    return peak


def undisturbed(tool: Tool, waiters: int, tries: int = 4) -> dict[str, Any]:
    """The round of `measure` in which the machine was calm, or the calmest of several."""
    rounds: list[dict[str, Any]] = []
    while len(rounds) < tries and (not rounds or rounds[-1]["idle"] < CALM):
        rounds.append(measure(tool, waiters))
    return max(rounds, key=lambda found: float(found["idle"]))


def measure(tool: Tool, waiters: int) -> dict[str, Any]:
    """One round: fill every slot, line the waiters up, open the gate, and see how they are served."""
    with Arena(tool) as arena:
        gates = [arena.gated(f"gate{i}")[1] for i in range(tool.slots)]
        arena.line_up(waiters, HOLD_MS)
        kit.quiet(8.0)
        watch = kit.Watch()
        for gate in gates:
            os.close(gate)
        done = arena.ended(waiters + tool.slots, 60 + waiters)
        idle = watch.idle
        starts, ends = arena.events()
        if not done:
            raise SystemExit(f"bench: {tool.name} served {len(ends)} of {waiters + tool.slots}")
        for client in arena.clients:
            client.wait()
    served = sorted((job for job in starts if not job.startswith("gate")), key=lambda job: starts[job])
    frees = sorted(ends.values())  # the k-th start can come at the earliest with the k-th end
    gaps = [(starts[job] - frees[k]) / 1e6 for k, job in enumerate(served)]
    tau, overtaken = order([int(job) for job in served])
    return {
        "p50_ms": percentile(gaps, 0.5),
        "p95_ms": percentile(gaps, 0.95),
        "max_ms": percentile(gaps, 1.0),
        "total_ms": round((frees[-1] - frees[0]) / 1e6, 1),
        "tau": tau,
        "most_overtaken": overtaken,
        "at_once": most_at_once(starts, ends),
        "idle": idle,
    }


def tools(waiters: int, quick: bool) -> list[Tool]:
    """Those that are installed; the pollers only where they finish in reasonable time."""
    found = [k1ctl(), flock(), tsp(), nq()]
    if waiters <= (10 if quick else 50):
        found += [sem(), filelock()]
    return [tool for tool in found if tool.there]


def main() -> int:
    report = Report(__doc__ or "", waiters={"default": "2,10,50,100"})
    kit.prepare()
    for waiters in (int(word) for word in report.options.waiters.split(",")):
        rounds = report.rounds(max(5, 40 // waiters), 3 if waiters < 10 else 1)
        taken: dict[str, list[dict[str, Any]]] = {}
        for number in range(rounds):
            for tool in tools(waiters, report.quick):
                if tool.name in ("sem", "filelock") and number >= 3:
                    continue
                found = undisturbed(tool, waiters, 1 if report.quick else 4)
                report.put("round", waiters=waiters, name=tool.name, round=number, **found)
                taken.setdefault(tool.name, []).append(found)
        for name, rows in taken.items():
            against = taken["flock"][: len(rows)]
            ratios = [own["p95_ms"] / peer["p95_ms"] for own, peer in zip(rows, against, strict=True)]
            figures = {key: median([r[key] for r in rows]) for key in ("p50_ms", "p95_ms", "max_ms", "total_ms")}
            ratio = median(ratios)
            report.put(
                f"hand-over, {waiters} waiters",
                tool=name,
                rounds=len(rows),
                **figures,
                p95_over_flock=ratio,
                worst_tau=min(r["tau"] for r in rows),
                at_once=max(r["at_once"] for r in rows),
                idle=median([r["idle"] for r in rows]),
            )
            if name == "k1ctl":
                report.bar(f"{waiters} waiters: p95 over flock(1)'s", ratio, BAR_RATIO, "times")
                report.bar(f"{waiters} waiters: p95", figures["p95_ms"], BAR_MS, "ms")
                report.bar(f"{waiters} waiters: Kendall's tau", min(r["tau"] for r in rows), 1.0, least=True)
                report.bar(f"{waiters} waiters: commands at once", max(r["at_once"] for r in rows), 1)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
