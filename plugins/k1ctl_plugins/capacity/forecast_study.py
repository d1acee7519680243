"""What `k1ctl capacity forecast` works out."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

from k1ctl.capacity import calibrate, forecast, growth
from k1ctl.capacity.planning import Plan
from k1ctl.errors import UsageError

if TYPE_CHECKING:
    from k1ctl.capacity.facts import Facts
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_TURNS = 8000  # simulated for the usual load: its rate is then good for about 2 %
_SHORTEST = 1e-6  # hours of a task
_MOST = 10_000  # tasks at once that an instance may work on
_LOAD = 1e6  # tasks at once beyond which nothing is said
ASKED = "asked"


class Study:
    """``demand`` and where its parts are from (``origins``), the ``wait`` with the instances it needs, ``staffing``,
    the ``growth``, the ``rows`` of months, and ``hardware`` for now and for the last month.

    Raises UsageError for a demand beyond `_LOAD` tasks at once.
    """

    def __init__(
        self,
        workspace: Workspace | None,
        config: Config,
        facts: Facts,
        *,
        tasks: float | None,
        hours: float | None,
        concurrency: int | None,
        efficiency: float,
        growth: float | None,
        months: int,
        hosts: int,
        days: int,
    ) -> None:
        self.now, self.hosts, self.facts = time.time(), hosts, facts
        self.found = calibrate.usual(workspace, config, days=days)
        self.usual = Plan("usual", self.found.model, facts, config, turns=_TURNS)
        self.origins: dict[str, str] = {}
        self.demand = forecast.Demand(
            self._tasks(tasks), self._hours(hours), self._concurrency(concurrency), efficiency
        )
        self.growth = self._growth(workspace, growth)
        last = self.demand.load * (1 + (self.growth.rate or 0.0)) ** months
        if max(self.demand.load, last) > _LOAD:
            what = "that is" if self.demand.load > _LOAD else f"in {months} months that would be"
            hint = "fewer tasks, shorter ones, less growth, or fewer months"
            raise UsageError(f"{what} {max(self.demand.load, last):.2g} tasks at once, beyond any forecast", hint=hint)
        required = self.demand.required()
        self.wait = forecast.Wait(self.demand, required * self.demand.concurrency)
        self.staffing = forecast.Staffing(self.demand.load)
        self.rows = forecast.months(self.demand, self.growth.rate or 0.0, months)
        self.outgrown = {what: forecast.outgrown(self.rows, hosts, what) for what in ("required", "headroom", "peak")}
        self.hardware = [
            (row.number, forecast.hardware(row.demand, self.found.model, facts.cores, config))
            for row in (self.rows[0], self.rows[-1])
        ]

    def _tasks(self, asked: float | None) -> float:
        if asked is not None:
            self.origins["tasks_per_hour"] = ASKED
            return asked
        hours = self.found.hours
        if hours.active >= calibrate.HOURS:
            self.origins["tasks_per_hour"] = f"history: turns an hour, in {hours.active} hours with any"
            return hours.mean
        self.origins["tasks_per_hour"] = f"turns an hour of {self._load}, simulated"
        return self.usual.outcome.rate * 3600

    def _hours(self, asked: float | None) -> float:
        if asked is not None:
            self.origins["hours_per_task"] = ASKED
            return asked
        seen = self.found.observed.turns >= calibrate.TURNS
        turn = "recorded" if seen else "simulated"
        self.origins["hours_per_task"] = f"a turn ({turn}) and the thinking before the next, of {self._load}"
        if seen or not self.usual.outcome.rate:
            return max(_SHORTEST, (self.found.observed.mean + self.found.model.think) / 3600)
        return self.usual.model.agents / (self.usual.outcome.rate * 3600)  # Little's law: without the run's noise

    def _concurrency(self, asked: int | None) -> int:
        if asked is not None:
            self.origins["concurrency"] = ASKED
            return asked
        first = self.usual.limits[0]
        self.origins["concurrency"] = f"agents this host carries, by {first.name}"
        return max(1, _MOST if first.agents == inf else int(first.agents))

    @property
    def _load(self) -> str:
        measured = any(p.origin == "history" for p in self.found.parameters)
        return "the usual load" if measured else "the annex's mixed load"

    def _growth(self, workspace: Workspace | None, asked: float | None) -> growth.Growth:
        if asked is not None:
            return growth.Growth(asked, ASKED)
        if workspace is None:
            return growth.Growth(None, "no history outside a repository")
        return growth.measured(workspace.ops_path(), self.now)

    def month(self, number: int) -> str:
        """The month that is ``number`` ahead, as ``2026-05``."""
        now = time.gmtime(self.now)
        months = now.tm_year * 12 + now.tm_mon - 1 + number
        return f"{months // 12:04d}-{months % 12 + 1:02d}"

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        demand = self.demand
        return {
            "ok": True,
            "tasks_per_hour": round(demand.tasks, 6),
            "hours_per_task": round(demand.hours, 6),
            "concurrency": demand.concurrency,
            "efficiency": demand.efficiency,
            "origins": self.origins,
            "tasks_at_once": round(demand.load, 6),
            "required": demand.required(),
            "required_with_headroom": demand.required(forecast.HEADROOM),
            "required_at_peak": demand.required(forecast.PEAK),
            "headroom_percent": round(100 * forecast.HEADROOM - 100),
            "peak_factor": forecast.PEAK,
            "wait": self.wait.document(),
            "square_root_staffing": {
                "servers": self.staffing.rule,
                "beta": round(self.staffing.beta, 4),
                "exact_servers": self.staffing.servers,
                "waiting_share": self.staffing.waiting,
            },
            "growth": {**self.growth.document(), "used_per_month": self.growth.rate or 0.0},
            "hosts": self.hosts,
            "months": [{"at": self.month(row.number), **row.document()} for row in self.rows],
            "outgrown": {
                name: None if number is None else {"month": number, "at": self.month(number)}
                for name, number in self.outgrown.items()
            },
            "host": {"cores": self.facts.cores, "memory_bytes": self.facts.memory, "origin": self.facts.origin},
            "hardware": [{"month": number, **found.document()} for number, found in self.hardware],
            "calibration": self.found.document(),
        }
