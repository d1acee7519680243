"""What a stress run says: a table, a document, a plot, and what to configure when the figures support it."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from k1ctl.capacity import usl
from k1ctl.capacity.cells import cpu_word, size_word
from k1ctl.units import format_duration, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from k1ctl.capacity.cells import Cell
    from k1ctl.capacity.stress import Matrix, Row

SLOWER = 2.0  # times the wall time of one copy alone: more of them is no gain
SPREAD = 1.2  # times the median that the p95 of one copy alone may be
TOGETHER = 0.8  # of the copies that are under way in the mean at least
ROOM = 1.15  # times the largest copy that its limit has at least
SHORTEST = 0.1  # s that one run takes alone; in a shorter one the start of a limited process is most of it
HEADERS = (
    *("AGENTS", "MEM", "CPU", "DONE", "OOM", "FAILED", "SWAP", "PAGED OUT", "STALL", "P50", "P95", "RATE", "SLOWER"),
    "STATE",
)
_PAGE = 4096  # bytes, for people; the document has pages


class Recommendation(NamedTuple):
    """``agents`` copies at once with ``memory`` bytes each, measured with ``cpus`` cores (0.0: unlimited), and why.

    ``bounded``: more of them were found not to hold; else there may be room for more.
    """

    agents: int
    memory: int
    cpus: float
    bounded: bool
    reasons: list[str]

    def document(self) -> dict[str, Any]:
        return {
            "agents": self.agents,
            "per_agent_bytes": self.memory,
            "cpus": self.cpus or None,
            "bounded": self.bounded,
            "settings": self.settings(),
            "reasons": self.reasons,
        }

    def settings(self) -> dict[str, str]:
        """What ``--apply`` writes: {key: value as people write it}. A limit on agents only where one was found."""
        limit = {"capacity.agents": str(self.agents)} if self.bounded else {}
        return {"capacity.per_agent": size_word(self.memory), **limit}


class Report:
    """Everything that follows from the rows: how much slower each cell is than one copy with the same limits, the law
    of each column of limits, the recommendation (None: ``why_not`` says why)."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.slower = {row.cell: self._slower(row) for row in self.rows}
        self.fits = {limits: fit for limits, fit in self._fits().items() if fit is not None}
        self.why_not: list[str] = []
        self.recommendation = self._recommend()

    def good(self, row: Row) -> bool:
        """Whether every run was completed, none for want of memory, in at most twice the time of one alone."""
        slower = self.slower[row.cell]
        return row.holds and slower is not None and slower <= SLOWER

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "cells": [self._cell(row) for row in self.rows],
            "fits": [
                {"memory_bytes": memory, "cpus": cpus or None, **fit.document()}
                for (memory, cpus), fit in self.fits.items()
            ],
            "recommendation": self.recommendation.document() if self.recommendation else None,
            "why_not": self.why_not,
        }

    def table(self) -> list[tuple[str, ...]]:
        """A row for each cell, for `HEADERS`."""
        return [self._line(row) for row in self.rows]

    def sentences(self) -> list[str]:
        """What the figures say, the recommendation first."""
        found = self.recommendation
        if found is None:
            return ["no recommendation: " + "; ".join(self.why_not)]
        head = f"recommended: {found.agents} agent{'s' * (found.agents != 1)} with {size_word(found.memory)} each"
        return [head, *(f"  {reason}" for reason in found.reasons)]

    def svg(self, title: str) -> str:
        """Throughput and slowing over the number of agents, a line for each column of limits, as an SVG document."""
        from k1ctl.capacity import plot

        rate, slower = [], []
        for limits in dict.fromkeys(row.cell.limits for row in self.rows):
            name = _limits_name(limits)
            column = [row for row in self._column(limits) if row.figures]
            rate.append(plot.Series(name, [(n, x * 60) for n, x in _points(column)]))
            slower.append(plot.Series(name, [(row.cell.agents, self.slower[row.cell]) for row in column]))
            fit = self.fits.get(limits)
            if fit is not None and not fit.doubts:
                last = fit.points[-1][0]
                law = [(1 + (last - 1) * i / 40, fit.at(1 + (last - 1) * i / 40) * 60) for i in range(41)]
                rate.append(plot.Series(f"{name}, law", law))
        panels = [
            plot.Panel(rate, "completed runs a minute"),
            plot.Panel(slower, "times as long as alone", levels=[(SLOWER, "limit")]),
        ]
        return plot.stacked(panels, title=title, x_title="agents at once", x_unit=plot.COUNT)

    def _column(self, limits: tuple[int, float]) -> list[Row]:
        return [row for row in self.rows if row.cell.limits == limits]

    def _slower(self, row: Row) -> float | None:
        """Times the median of the one-agent cell of the same limits; None without one."""
        alone = self._alone(row)
        wall = row.figures["wall_p50_seconds"] if row.figures else None
        return round(wall / alone, 3) if wall is not None and alone else None

    def _alone(self, row: Row) -> float | None:
        """The median of one copy with the same limits, in seconds."""
        one = next((r for r in self._column(row.cell.limits) if r.cell.agents == 1 and r.figures), None)
        return one.figures["wall_p50_seconds"] if one and one.figures else None

    def _fits(self) -> dict[tuple[int, float], usl.Fit | None]:
        columns = dict.fromkeys(row.cell.limits for row in self.rows)
        return {limits: usl.fit(_points([r for r in self._column(limits) if r.holds])) for limits in columns}

    def _recommend(self) -> Recommendation | None:
        """Of the columns with the most cores: nothing holds agents to fewer unless they are started so."""
        best = self._best()
        widest = max((row.cell.cpus or inf for row in self.rows), default=inf)
        found = [row for row in best if (row.cell.cpus or inf) == widest]
        if not found:
            self.why_not = self._failures(widest)
            return None
        chosen = _chosen(found)
        alone = self._alone(chosen) or 0.0
        if alone < SHORTEST:
            self.why_not = [f"one run takes {format_duration(alone)}; it takes {format_duration(SHORTEST)} to compare"]
            return None
        bounded = widest == inf and any(r.cell.agents > chosen.cell.agents for r in self._column(chosen.cell.limits))
        others = sorted({row.cell.cpus for row in best if row not in found})
        reasons = [*self._reasons(chosen), *(_other(_chosen([r for r in best if r.cell.cpus == c])) for c in others)]
        return Recommendation(chosen.cell.agents, chosen.cell.memory, chosen.cell.cpus, bounded, reasons)

    def _best(self) -> list[Row]:
        """Of each column of limits the last cell that is good, all before it being good."""
        best: list[Row] = []
        for limits in dict.fromkeys(row.cell.limits for row in self.rows):
            held = None
            for row in self._column(limits):
                if not self.good(row):
                    break  # what held with more agents held by luck
                held = row
            best += [held] if held else []
        return best

    def _failures(self, widest: float) -> list[str]:
        """Why no cell supports a recommendation: of each one-agent cell, or that there is none."""
        ones = [row for row in self.rows if row.cell.agents == 1 and (row.cell.cpus or inf) == widest]
        if not ones:
            return ["without a cell of 1 agent it is not known how long one takes alone; add 1 to --agents"]
        return [f"{row.cell.name}: {self._trouble(row)}" for row in ones]

    def _trouble(self, row: Row) -> str:
        """What keeps a cell from being good, in a few words."""
        figures, slower = row.figures, self.slower[row.cell]
        if row.reason or figures is None:
            return row.reason
        if not row.holds:
            late = f"; {figures['timed_out']} were past the timeout" if figures["timed_out"] else ""
            return f"{figures['completed']} of {figures['started']} runs were completed{late}"
        if slower is None:
            return "not compared: no run of one agent with these limits was completed"
        return f"{slower:.2f} times as long as alone; the limit is {SLOWER:g}"

    def _reasons(self, chosen: Row) -> list[str]:
        cell, figures = chosen.cell, chosen.figures
        assert figures is not None
        slower = self.slower[cell]
        reasons = [
            f"{_copies(cell.agents)} at once: all {figures['completed']} runs completed, none out of memory, "
            f"{slower:.2f} times as long as alone ({format_duration(figures['wall_p50_seconds'])} in the median)",
            f"the largest copy took {format_size(figures['peak_bytes'])}; {self._smaller(cell)}",
            self._next(cell),
            *(f"in doubt: {doubt}" for doubt in self._doubts(chosen)),
        ]
        fit = self.fits.get(cell.limits)
        return [*reasons, fit.text()] if fit else reasons

    def _doubts(self, chosen: Row) -> list[str]:
        """What speaks against the figures: one copy alone took now this long, now that; not all copies were under way
        together, so none was as slow as it will be; the limit has no room for an input that is larger."""
        one = next(r.figures for r in self._column(chosen.cell.limits) if r.cell.agents == 1 and r.figures)
        middle, long = one["wall_p50_seconds"], one["wall_p95_seconds"]
        (agents, memory, _), figures = chosen.cell, chosen.figures or {}
        together, peak = figures.get("concurrency"), figures["peak_bytes"]
        doubts = []
        if long > SPREAD * middle:
            took = f"one alone took {format_duration(middle)} in the median and {format_duration(long)} at p95"
            doubts.append(f"{took}; others used this host, or the command does not do the same each time")
        if agents > 1 and together is not None and together < TOGETHER * agents:
            doubts.append(
                f"of {agents} copies {together:.1f} were under way in the mean; a run is too short for its start"
            )
        if peak * ROOM > memory:
            doubts.append(f"the largest copy took {peak / memory:.0%} of its limit; a larger input runs out of it")
        return doubts

    def _smaller(self, cell: Cell) -> str:
        """Why not a smaller limit."""
        less = [r for r in self.rows if r.cell.agents == cell.agents and r.cell.memory < cell.memory]
        if not less:
            return "no smaller limit was measured"
        near = max(less, key=lambda r: r.cell.memory)
        if self.good(near):
            return f"with {size_word(near.cell.memory)} fewer agents did not hold"
        return f"with {size_word(near.cell.memory)}: {self._trouble(near)}"

    def _next(self, cell: Cell) -> str:
        """Why not more agents."""
        more = [r for r in self._column(cell.limits) if r.cell.agents > cell.agents]
        if not more:
            return "no more agents were asked for: more may fit, so capacity.agents is not recommended"
        why = f"not {more[0].cell.agents}: {self._trouble(more[0])}"
        if not cell.cpus:
            return why
        held = f"capacity run --cpu-limit {cell.cpus:g}"
        return f"{why}; that is so with {held}, so capacity.agents is not recommended"

    def _cell(self, row: Row) -> dict[str, Any]:
        slower = self.slower[row.cell]
        facts = {
            "status": row.status,
            "reason": row.reason or None,
            "degradation": slower,
            "degraded": slower is not None and slower > SLOWER,
        }
        return {"cell": row.cell.name, **row.cell.document(), **(row.figures or {}), **facts}

    def _line(self, row: Row) -> tuple[str, ...]:
        cell, slower = row.cell, self.slower[row.cell]
        names = str(cell.agents), size_word(cell.memory), cpu_word(cell.cpus)
        f = row.figures
        if f is None:
            return (*names, *[""] * 10, f"{row.status}: {row.reason}")
        state = "ok" if self.good(row) else f"{row.status}: {self._trouble(row)}" if row.reason else self._trouble(row)
        return (
            *names,
            f"{f['completed']}/{f['started']}",
            str(f["oom"] + f["host_oom"]),
            str(f["failed"] + f["timed_out"]),
            format_size(f["swap_used_peak_bytes"]) if f["swap_used_peak_bytes"] else "0",
            "-" if f["swapped_out_pages"] is None else format_size(f["swapped_out_pages"] * _PAGE),
            "-" if f["stall_full_percent"] is None else f"{f['stall_full_percent']:.1f} %",
            *("-" if f[k] is None else format_duration(f[k]) for k in ("wall_p50_seconds", "wall_p95_seconds")),
            "-" if f["throughput_per_second"] is None else _rate(f["throughput_per_second"]),
            "-" if slower is None else f"{slower:.2f}x{'!' if slower > SLOWER else ''}",
            state,
        )


def _chosen(rows: Sequence[Row]) -> Row:
    """The most agents, then the smallest memory."""
    return max(rows, key=lambda row: (row.cell.agents, -row.cell.memory, _throughput(row)))


def _other(row: Row) -> str:
    agents, memory, cpus = row.cell
    return f"with {cpus:g} cores each (capacity run --cpu-limit {cpus:g}): {agents} of {size_word(memory)}"


def _points(rows: Sequence[Row]) -> list[tuple[int, float]]:
    return [(r.cell.agents, _throughput(r)) for r in rows if _throughput(r)]


def _throughput(row: Row) -> float:
    return float((row.figures or {}).get("throughput_per_second") or 0.0)


def _rate(per_second: float) -> str:
    return f"{per_second:.2f}/s" if per_second >= 1 else f"{per_second * 60:.3g}/min"


def _copies(count: int) -> str:
    return "1 copy" if count == 1 else f"{count} copies"


def _limits_name(limits: tuple[int, float]) -> str:
    return size_word(limits[0]) + (f", {limits[1]:g} cpu" if limits[1] else "")


def estimate(matrix: Matrix, timeout: float, earlier: Sequence[Row] = ()) -> dict[str, Any]:
    """The cells in their order with what is known of their time, from the medians of finished cells, of this run and
    of an ``earlier`` one: of those with the same limits, else of any, the one with the nearest number of agents; None
    where there is none. ``timeout`` of a run bounds each."""
    rows = matrix.rows
    known = [row for row in (*earlier, *rows) if row.figures and row.figures["wall_p50_seconds"]]
    found = []
    for cell in matrix.cells:
        row = next((r for r in rows if r.cell == cell), None)
        jobs, reason = matrix.jobs_of(cell), "" if row else matrix.why_pruned(cell)
        near = sorted(known, key=lambda r: (r.cell.limits == cell.limits, -abs(r.cell.agents - cell.agents)))
        rounds = -(-jobs // cell.agents)
        one = near[-1].figures["wall_p50_seconds"] if near and near[-1].figures else None
        status = row.status if row else f"pruned: {reason}" if reason else "to run"
        runs = status == "to run"
        found.append(
            {
                "cell": cell.name,
                **cell.document(),
                "jobs": jobs,
                "rounds": rounds,
                "status": status,
                "estimated_seconds": round(rounds * one, 1) if runs and one else None,
            }
        )
    open_ = [c for c in found if c["status"] == "to run"]
    total = sum(c["rounds"] for c in open_)
    times = [c["estimated_seconds"] for c in open_]
    return {
        "cells": found,
        "rounds": total,
        "estimated_seconds": None if None in times else round(sum(times), 1),
        "at_most_seconds": total * timeout if timeout else None,
    }
