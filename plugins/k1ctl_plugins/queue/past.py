"""Runs that are over, from their records: what each waited and worked, and what that comes to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.files import read_json
from k1ctl.process import record
from k1ctl.queue.names import alternatives
from k1ctl.units import format_duration, parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from k1ctl.workspace import Workspace

_ENDED = ("ended", "lingering")
HEADERS = ("RUN", "TICKET", "WORKSPACE", "RESOURCES", "COMMAND", "WAITED", "RAN", "EXIT", "OUTCOME")


def runs(workspace: Workspace, *, resource: str = "", of: str = "", since: str = "") -> Iterator[dict[str, Any]]:
    """The recorded runs that are over, newest first: those of a resource, of a workspace, begun since an RFC 3339 time.

    A run whose supervisor and command were killed is over too: its ``outcome`` is ``lost``. Runs beyond
    `process.keep_runs` are not there any more.
    """
    base = workspace.ops_path("runs")
    for run_id in sorted(os.listdir(base), reverse=True) if os.path.isdir(base) else []:
        kept = read_json(os.path.join(base, run_id, "run.json"))
        if not isinstance(kept, dict) or kept.get("run") != run_id or kept.get("created_at", "") < since:
            continue
        wanted = (not resource or resource in kept.get("resources", {})) and of in ("", kept.get("workspace"))
        if wanted and not (kept.get("state") != "ended" and record.alive(record.Run(os.path.join(base, run_id), kept))):
            yield _row(kept)


def _row(kept: dict[str, Any]) -> dict[str, Any]:
    clock = kept.get("monotonic") or {}
    began, held = clock.get("started"), clock.get("granted")
    over = kept.get("state") in _ENDED
    return {
        "run": kept["run"],
        "ticket": kept.get("ticket"),
        "kind": kept.get("kind", ""),
        "workspace": kept.get("workspace", ""),
        "resources": kept.get("resources", {}),
        "priority": kept.get("priority", ""),
        "command": " ".join(kept.get("argv", [])),
        "label": kept.get("label", ""),
        "queued_at": kept.get("created_at"),
        "started_at": kept.get("started_at"),
        "ended_at": kept.get("ended_at"),
        "wait_seconds": kept.get("wait_seconds"),
        "run_seconds": round(clock["ended"] - began, 6) if began is not None and "ended" in clock else None,
        "held_seconds": round(clock["released"] - held, 6) if held is not None and "released" in clock else None,
        "exit_code": kept.get("exit_code") if over else None,
        "outcome": str(kept.get("code", "")) if over else "lost",
    }


def since_text(seconds: float | None, now: float) -> str:
    """The RFC 3339 time ``seconds`` before ``now``; "" for None."""
    return "" if seconds is None else rfc3339(max(0.0, now - seconds))


def totals(
    rows: Iterable[dict[str, Any]], seconds: float = 0.0, slots: Callable[[str], int] = lambda resource: 1
) -> dict[str, list[dict[str, Any]]]:
    """What the runs come to, by resource and by workspace; a run that used two resources counts for both.

    The ``busy_share`` of a resource is how much of its ``slots`` these runs held, of the ``seconds`` they were spread
    over: 1 = all the time, None where that is not known.
    """
    resources: dict[str, list[dict[str, Any]]] = {}
    workspaces: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for name in row["resources"]:
            resources.setdefault(name, []).append(row)
        workspaces.setdefault(row["workspace"], []).append(row)
    return {
        "resources": [
            {"resource": name, **_total(group), "busy_share": _busy(name, group, seconds, slots)}
            for name, group in sorted(resources.items())
        ],
        "workspaces": [{"workspace": name, **_total(group)} for name, group in sorted(workspaces.items())],
    }


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """``failures``: the command began and did not end with 0; ``timeouts``: it ran past its limit; ``not_started``: it
    left the line, was refused or cancelled before its command began.
    """
    begun = [r for r in rows if r["started_at"] is not None]
    return {
        "runs": len(rows),
        "failures": sum(r["exit_code"] != 0 for r in begun),
        "timeouts": sum(r["outcome"] == "timed-out" for r in begun),
        "not_started": len(rows) - len(begun),
        **_spread("wait", rows),
        **_spread("run", begun),
    }


def _busy(name: str, rows: list[dict[str, Any]], seconds: float, slots: Callable[[str], int]) -> float | None:
    held = sum((row["held_seconds"] or 0.0) * row["resources"][name] for row in rows)
    there = seconds * sum(map(slots, alternatives(name)))
    return round(min(1.0, held / there), 4) if there > 0 else None


def span(rows: Iterable[dict[str, Any]], since: float | None, now: float) -> float:
    """The seconds that ``rows`` are spread over: those asked for, else from the first run that is recorded."""
    if since is not None:
        return since
    known = [row["queued_at"] for row in rows if row["queued_at"]]
    return max(0.0, now - parse_rfc3339(min(known))) if known else 0.0


def _spread(what: str, rows: list[dict[str, Any]]) -> dict[str, float | None]:
    values = sorted(r[f"{what}_seconds"] for r in rows if r[f"{what}_seconds"] is not None)
    return {
        f"{what}_p50_seconds": percentile(values, 50),
        f"{what}_p95_seconds": percentile(values, 95),
        f"{what}_max_seconds": values[-1] if values else None,
    }


def percentile(values: list[float], percent: int) -> float | None:
    """The smallest of the sorted ``values`` that ``percent`` of them do not exceed (nearest rank); None without any."""
    return values[max(0, -(-len(values) * percent // 100) - 1)] if values else None


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A row of `runs` for people, under `HEADERS`."""
    return (
        row["run"],
        row["ticket"] or "",
        row["workspace"],
        " ".join(f"{r}={n}" if n > 1 else r for r, n in row["resources"].items()),
        (row["label"] or row["command"])[:60],
        _duration(row["wait_seconds"]),
        _duration(row["run_seconds"]),
        "" if row["exit_code"] is None else row["exit_code"],
        row["outcome"],
    )


def totals_table(title: str, group: list[dict[str, Any]]) -> tuple[list[tuple[object, ...]], tuple[str, ...]]:
    """(rows, headers) of one group of `totals`, for people."""
    name = title.removesuffix("s")
    counts = ("runs", "failures", "timeouts", "not_started")
    spreads = [f"{what}_{which}_seconds" for what in ("wait", "run") for which in ("p50", "p95", "max")]
    busy = any("busy_share" in t for t in group)
    headers = (
        name.upper(), "RUNS", "FAILED", "TIMED OUT", "NOT STARTED",
        "WAIT P50", "WAIT P95", "WAIT MAX", "RUN P50", "RUN P95", "RUN MAX", *(["BUSY"] if busy else []),
    )  # fmt: skip
    cells = [(t[name], *(t[c] for c in counts), *(_duration(t[s]) for s in spreads)) for t in group]
    return [
        (*row, *([_percent(t["busy_share"])] if busy else [])) for row, t in zip(cells, group, strict=True)
    ], headers


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(seconds)
