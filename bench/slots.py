"""Four slots, 100 waiters of 20 ms: how long until all are served, against the ideal of 100 / 4 x 20 ms.

Bar: 1.2 times ideal, never five at once. tsp and sem have slots of their own; flock(1) and nq have one only.
"""

from __future__ import annotations

from typing import Any

import kit
from arena import Tool, k1ctl, sem, tsp
from handover import HOLD_MS, measure
from report import Report, median

BAR_RATIO, SLOTS, WAITERS = 1.2, 4, 100


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    ideal = WAITERS / SLOTS * HOLD_MS
    tools: list[Tool] = [t for t in (k1ctl(slots=SLOTS), tsp(slots=SLOTS), sem(slots=SLOTS)) if t.there]
    taken: dict[str, list[dict[str, Any]]] = {tool.name: [] for tool in tools}
    for number in range(report.rounds(5)):
        for tool in tools:
            if tool.name == "sem" and (number or report.quick):
                continue  # a minute a round
            found = measure(tool, WAITERS)
            report.put("round", name=tool.name, round=number, **found)
            taken[tool.name].append(found)
    for name, rows in taken.items():
        if not rows:
            continue
        total = median([r["total_ms"] for r in rows])
        over = round((total or 0.0) / ideal, 3)
        most = max(r["at_once"] for r in rows)
        report.put(
            f"{SLOTS} slots, {WAITERS} x {HOLD_MS} ms",
            tool=name,
            rounds=len(rows),
            total_ms=total,
            ideal_ms=ideal,
            over_ideal=over,
            **{key: median([r[key] for r in rows]) for key in ("p50_ms", "p95_ms", "max_ms")},
            worst_tau=min(r["tau"] for r in rows),
            at_once=most,
            idle=median([r["idle"] for r in rows]),
        )
        if name == "k1ctl":
            report.bar("time over ideal", over, BAR_RATIO, "times")
            report.bar("commands at once", most, SLOTS)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
