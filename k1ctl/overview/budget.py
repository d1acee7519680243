"""What is spent and held of which limits; looked up without the lock on the books, which are not made for it."""

from __future__ import annotations

from k1ctl.overview.parts import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Any

    from k1ctl.budget.holds import Hold
    from k1ctl.budget.limits import Figures, Key, Limits
    from k1ctl.overview.parts import Sources


def look(sources: Sources) -> Part:
    """Rows: ``scope`` (day, agent, task, pool, hour) and ``name``, and ``spent_``, ``held_``, ``limit_`` and ``free_``
    of ``tokens`` and ``micro_usd`` (limit and free are None without a limit): of the day, and of what was spent in it
    or is limited. Facts: ``day``, ``zone``, ``limited``, ``holds`` (open ones), ``soft_percent`` of a limit from which
    it is near. Empty where nothing is kept."""
    import os

    if not os.path.exists(sources.workspace.ops_path("state.db")):
        return Part()
    from k1ctl.budget import days, rows
    from k1ctl.budget.holds import clock
    from k1ctl.budget.limits import Limits
    from k1ctl.state import State

    limits = Limits(sources.config)
    day, hour = days.day_of(sources.now, limits.zone), days.hour_of(sources.now)

    def step(db: sqlite3.Connection) -> tuple[list[Hold], dict[Key, Figures]]:
        opened = rows.opened(db)
        places = db.execute("SELECT DISTINCT agent, task, pool FROM spend WHERE day = ?", (day,)).fetchall()
        places += [(hold.agent, hold.task, hold.pool) for hold in opened]
        return opened, rows.figures(db, _keys(limits, day, hour, places))

    opened, figures = State(sources.workspace, patience=0.2).glance(step)
    now = clock()
    _without_lost(figures, [hold for hold in opened if hold.gone(now)])
    found = [_row(limits, key, each) for key, each in figures.items()]
    facts = {
        "day": day,
        "zone": limits.zone or None,
        "limited": bool(limits),
        "holds": sum(not hold.gone(now) for hold in opened),
        "soft_percent": max(sources.config.get("budget", "soft"), default=None),
    }
    return Part(found, facts)


def _keys(limits: Limits, day: str, hour: int, places: list[tuple[str, str, str]]) -> list[Key]:
    from k1ctl.budget.limits import SCOPES

    found = {("day", day)}
    if "hour" in limits.tokens or "hour" in limits.micro_usd:
        found.add(("hour", str(hour)))
    found |= {("pool", f"{day} {name}") for name in limits.pools}
    for agent, task, pool in places:
        found |= {("agent", f"{day} {agent}")} if agent else set()
        found |= {("task", task)} if task else set()
        found |= {("pool", f"{day} {pool}")} if pool else set()
    return sorted(found, key=lambda key: (SCOPES.index(key[0]), key[1]))


def _without_lost(figures: dict[Key, Figures], lost: list[Hold]) -> None:
    """Holds that are past their deadline, or whose owner is gone, hold nothing; nobody has put them away yet."""
    from k1ctl.budget.limits import keys_of

    for hold in lost:
        for key in keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool):
            if key in figures:
                held = figures[key].held
                figures[key].held = (max(0, held[0] - hold.tokens), max(0, held[1] - hold.micro_usd))


def _row(limits: Limits, key: Key, figures: Figures) -> dict[str, Any]:
    found: dict[str, Any] = {"scope": key[0], "name": key[1]}
    most = limits.most(key, critical=True)
    for unit, name in enumerate(("tokens", "micro_usd")):
        limit = most[unit]
        found[f"spent_{name}"], found[f"held_{name}"] = figures.spent[unit], figures.held[unit]
        found[f"limit_{name}"] = limit
        found[f"free_{name}"] = None if limit is None else max(0, limit - figures.used(unit))
    return found
