"""What `budget status` shows: the counters of now with their limits, and the open holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.budget import days
from k1ctl.budget.limits import SCOPES, dollars, named, shown
from k1ctl.units import format_duration, format_tokens, rfc3339

if TYPE_CHECKING:
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.limits import Figures, Key


class State:
    """The counters of the day, and of ``agent`` and ``task`` alone where these are given."""

    def __init__(self, ledger: Ledger, agent: str | None, task: str | None) -> None:
        self.limits, self.clock = ledger.limits, ledger.clock()
        now = self.clock[0]
        self.day, self.zone = days.day_of(now, self.limits.zone), self.limits.zone or "zone of this host"
        self.until = rfc3339(days.next_day(now, self.limits.zone))
        self.holds = [h for h in ledger.holds() if agent in (None, h.agent) and task in (None, h.task)]
        self.gone = {hold.id: hold.gone(self.clock) for hold in self.holds}
        self.figures = ledger.figures(self._keys(ledger, agent, task, now))
        self.marks = self._marks(ledger)

    def _keys(self, ledger: Ledger, agent: str | None, task: str | None, now: float) -> list[Key]:
        """The counters that are shown: of the day and hour, of each pool, agent and task there is today."""
        found: set[Key] = {("day", self.day), ("hour", str(days.hour_of(now)))}
        found |= {("pool", f"{self.day} {name}") for name in self.limits.pools}
        if ledger.state.exists:
            query = "SELECT DISTINCT agent, task, pool FROM spend WHERE day = ?"
            places = ledger.state.read(lambda db: db.execute(query, (self.day,)).fetchall())
            places += [(h.agent, h.task, h.pool) for h in self.holds]
            for each in places:
                found |= {("agent", f"{self.day} {each[0]}"), ("task", each[1]), ("pool", f"{self.day} {each[2]}")}
        if agent is not None or task is not None:
            found = {("agent", f"{self.day} {agent}")} if agent is not None else set()
            found |= {("task", task)} if task is not None else set()
        ours = [key for key in found if key[1].rpartition(" ")[2]]
        return sorted(ours, key=lambda key: (SCOPES.index(key[0]), key[1]))

    def _marks(self, ledger: Ledger) -> list[dict[str, Any]]:
        if not ledger.state.exists:
            return []
        query = "SELECT scope, name, percent, at FROM marks ORDER BY at DESC, percent DESC LIMIT 200"
        rows = ledger.state.read(lambda db: db.execute(query).fetchall())
        return [
            {
                "scope": scope.removesuffix("_usd"),
                "name": shown((scope.removesuffix("_usd"), name)),
                "unit": "micro_usd" if scope.endswith("_usd") else "tokens",
                "percent": percent,
                "at": rfc3339(at),
            }
            for scope, name, percent, at in rows
            if (scope.removesuffix("_usd"), name) in self.figures
        ]

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "day": self.day,
            "zone": self.limits.zone or None,
            "day_ends": self.until,
            "limited": bool(self.limits),
            "reserve_pool_tokens": self.limits.reserve,
            "soft_percents": self.limits.soft,
            "counters": [self._counter(key, figures) for key, figures in self.figures.items()],
            "holds": [
                {
                    **h.document(),
                    "left_seconds": round(h.left(self.clock), 3),
                    "gone": self.gone[h.id] or None,
                    "counts": h.of_run or not self.gone[h.id],
                }
                for h in self.holds
            ],
            "soft_passed": self.marks,
        }

    def _counter(self, key: Key, figures: Figures) -> dict[str, Any]:
        found: dict[str, Any] = {"scope": key[0], "name": shown(key)}
        for unit, name in enumerate(("tokens", "micro_usd")):
            most = self.limits.most(key, critical=True)[unit]
            found[f"spent_{name}"], found[f"held_{name}"] = figures.spent[unit], figures.held[unit]
            found[f"limit_{name}"] = most
            found[f"free_{name}"] = None if most is None else max(0, most - figures.used(unit))
            found[f"over_{name}"] = None if most is None else max(0, figures.used(unit) - most)
        return found

    def rows(self) -> list[tuple[str, ...]]:
        """The counters for people; money on a line of its own where it is limited or was spent."""
        found = []
        for key, figures in self.figures.items():
            limits = self.limits.most(key, critical=True)
            found.append(_row(named(key), 0, figures, limits[0]))
            if limits[1] is not None or figures.used(1):
                found.append(_row(named(key), 1, figures, limits[1]))
        return found

    def hold_rows(self) -> list[tuple[str, ...]]:
        """The open holds for people."""
        found: list[tuple[str, ...]] = []
        for hold in self.holds:
            gone = {"deadline": "past its deadline", "owner": "its owner is gone"}.get(self.gone[hold.id])
            if gone and hold.of_run:
                gone = "over, not settled"
            left = gone or ("while it runs" if hold.of_run else format_duration(hold.left(self.clock)))
            owner = f"process {hold.owner}" if hold.owner else "-"
            found.append((hold.id, format_tokens(hold.tokens), hold.agent, hold.task or "-", left, owner))
        return found


def _row(name: str, unit: int, figures: Figures, most: int | None) -> tuple[str, ...]:
    def said(count: int) -> str:
        return dollars(count) if unit else format_tokens(count)

    used = figures.used(unit)
    if most is None:
        return name, said(figures.spent[unit]), said(figures.held[unit]), "-", "-", "-"
    share = f"{used * 100 // most} %" if most else "-"
    return name, said(figures.spent[unit]), said(figures.held[unit]), said(most), said(max(0, most - used)), share
