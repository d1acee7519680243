"""The next start after kill -9, with five waiters in line, and whether two commands ever ran at once.

What is killed: the tool's processes and the command (`tree`); the tool's own processes only, the command lives on
(`wrapper`); the command only (`command`); two waiters in mid-queue (`waiters`). For k1ctl the wrapper is two
processes, so further: the supervisor only with `--on-caller-exit keep`; the front end only, whose command then gets
TERM and, deaf to it, KILL after the grace period. The figure counts from the moment after which nobody uses the
resource any more: the last kill, or the last command's own end. Bars: 5 ms; for the front end alone grace + 5 ms.
"""

from __future__ import annotations

import os
import time
from typing import Any

import kit
from arena import Arena, Tool, filelock, flock, k1ctl, nq, sem, tsp
from handover import most_at_once
from report import Report, median

BAR_MS, GRACE = 5.0, 1.0
WAITERS = 5
ALONE = 1.0  # s that a command lives on without the tool that started it


def supervisors(arena: Arena, job: str) -> list[int]:
    """k1ctl's supervisor of a job: the one of its processes that leads a session of its own and is not the caller."""
    callers = [c.pid for c in arena.clients]
    return [p for p in set(arena.processes(job)) - set(arena.commands(job)) if os.getsid(p) == p and p not in callers]


def victims(arena: Arena, mode: str) -> list[int]:
    """Whom to kill."""
    commands = arena.commands("gate")
    tool = sorted(set(arena.processes("gate")) - set(commands))
    if arena.tool.name == "tsp":  # its server has the first client's environment
        tool = [pid for pid in tool if os.getsid(pid) == arena.clients[0].pid]
    if mode == "supervisor":
        return supervisors(arena, "gate")
    if mode == "supervisor and command":
        return supervisors(arena, "gate") + commands
    if mode.startswith("front end"):
        return [arena.clients[0].pid]
    return {"tree": tool + commands, "wrapper": tool, "command": commands}[mode]


def crash(tool: Tool, mode: str) -> dict[str, Any]:
    """One kill and what came of it."""
    survives = mode in ("wrapper", "supervisor")
    with Arena(tool, f'[process]\ngrace = "{GRACE}s"\n') as arena:
        deaf = {"HOLD_DEAF": "1"} if mode == "front end, deaf command" else {}
        gate = arena.gated("gate", **deaf)[1]
        arena.line_up(WAITERS)
        if mode == "waiters":
            callers = [client.pid for client in arena.clients]
            for pid in arena.processes("0") + arena.processes("1"):
                if tool.name != "tsp" or os.getsid(pid) in callers:
                    arena.kill(pid)
        else:
            for pid in victims(arena, mode):
                arena.kill(pid)
        killed = time.monotonic_ns()
        if survives or mode == "waiters":
            arena.until(lambda: len(waiting_served(arena)) > 0, ALONE, every=0.05)  # nobody should be
            os.close(gate)
            gate = -1
        expected = WAITERS - 2 * (mode == "waiters")
        served = arena.until(lambda: len(waiting_served(arena)) >= expected, 12, every=0.02)
        if gate < 0:
            arena.until(lambda: "gate" in arena.events()[1], 5)
        starts, ends = arena.events()
        if gate >= 0:
            os.close(gate)
    first = min((at for job, at in starts.items() if job != "gate"), default=None)
    free = ends["gate"] if gate < 0 else killed
    ran = {job: at for job, at in starts.items() if job in ends}
    found = {"at_once": most_at_once(ran, ends), "served": served}
    if first is None:
        return {"next_ms": None, **found}
    if first < free:
        return {"next_ms": None, "double_use_ms": round((free - first) / 1e6, 1), **found}
    return {"next_ms": round((first - free) / 1e6, 2), "double_use_ms": 0.0, **found}


def waiting_served(arena: Arena) -> list[str]:
    for client in arena.clients:
        client.poll()  # a zombie still has its number, and sem looks for that
    return [job for job in arena.events()[1] if job != "gate"]


PEER_MODES = ("tree", "wrapper", "command", "waiters")
OWN_MODES = (
    ("supervisor and command", (), BAR_MS),
    ("tree", (), BAR_MS),
    ("supervisor", ("--on-caller-exit", "keep"), BAR_MS),
    ("wrapper", (), BAR_MS),
    ("command", (), BAR_MS),
    ("waiters", (), BAR_MS),
    ("front end", (), BAR_MS),
    ("front end, deaf command", (), GRACE * 1000 + BAR_MS),
)


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    plan: list[tuple[str, Tool, str, float | None]] = [
        ("k1ctl", k1ctl(*options), mode, bar) for mode, options, bar in OWN_MODES
    ]
    plan += [(t.name, t, m, None) for m in PEER_MODES for t in (flock(), tsp(), nq(), filelock(), sem()) if t.there]
    rounds = report.rounds(7, 2)
    taken: list[list[dict[str, Any]]] = [[] for _ in plan]
    for number in range(rounds):
        for at, (name, tool, mode, bar) in enumerate(plan):
            if bar is None and number >= min(rounds, 3):
                continue
            kit.quiet(4.0)
            found = crash(tool, mode)
            report.put("round", name=name, mode=mode, round=number, **found)
            taken[at].append(found)
    for (name, _, mode, bar), rows in zip(plan, taken, strict=True):
        after = median([r["next_ms"] for r in rows])
        report.put(
            f"kill -9: {mode}",
            tool=name,
            rounds=len(rows),
            next_ms=after,
            max_ms=max((r["next_ms"] for r in rows if r["next_ms"] is not None), default=None),
            double_use=sum(bool(r.get("double_use_ms")) for r in rows),
            never=sum(not r["served"] for r in rows),
            at_once=max(r["at_once"] for r in rows),
        )
        if bar is not None:
            report.bar(f"{mode}: next start", after, bar, "ms")
            report.bar(f"{mode}: double use", sum(bool(r.get("double_use_ms")) for r in rows), 0)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
