"""The budget for a monitoring stack: spent, held and limited by scope, and the breakers of providers.

Scopes are the day, the hour, pools and agents of today; tasks have no end of names and are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.limits import Key
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_UNITS = (("tokens", 1), ("dollars", 1_000_000))
_WHAT = {
    "spent": "Spent now, of a scope",
    "held": "Held by open reservations, of a scope",
    "limit": "What a scope may spend and hold in all",
}


def samples(workspace: Workspace, config: Config) -> list[Family]:
    """Counters with their limits, open holds, and breakers that are not closed. Raises ConfigError."""
    from k1ctl.budget.ledger import Ledger

    ledger = Ledger(workspace, config)
    found = {
        (what, unit): Family(f"k1_budget_{what}_{unit}", GAUGE, f"{about}, in {unit}.")
        for what, about in _WHAT.items()
        for unit, _ in _UNITS
    }
    holds = Family("k1_budget_holds", GAUGE, "Reservations that are open.")
    try:
        for key, figures in ledger.figures(_keys(ledger)).items():
            limits = ledger.limits.most(key, critical=True)
            labels = {"scope": key[0], "name": key[1].partition(" ")[2] if key[0] in ("pool", "agent") else ""}
            for number, (unit, scale) in enumerate(_UNITS):
                limit = limits[number]
                if limit is None and number and not figures.used(number):
                    continue
                found["spent", unit].add(figures.spent[number] / scale, **labels)
                found["held", unit].add(figures.held[number] / scale, **labels)
                if limit is not None:
                    found["limit", unit].add(limit / scale, **labels)
        if ledger.state.exists:
            holds.add(len(ledger.holds()))
    finally:
        ledger.state.close()
    return [*found.values(), holds, _breakers(workspace, config)]


def _keys(ledger: Ledger) -> list[Key]:
    """The counters of now: of the day, the hour, each pool with a limit, and each pool and agent there is today."""
    from k1ctl.budget import days

    limits, now = ledger.limits, ledger.clock()[0]
    day = days.day_of(now, limits.zone)
    found: list[Key] = [("day", day), ("hour", str(days.hour_of(now)))]
    found += [("pool", f"{day} {name}") for name in limits.pools]
    if ledger.state.exists:
        query = "SELECT DISTINCT agent, pool FROM spend WHERE day = ?"
        places = ledger.state.read(lambda db: db.execute(query, (day,)).fetchall())
        places += [(hold.agent, hold.pool) for hold in ledger.holds()]
        for agent, pool in places:
            found += [("agent", f"{day} {agent}")] if agent else []
            found += [("pool", f"{day} {pool}")] if pool else []
    return list(dict.fromkeys(found))


def _breakers(workspace: Workspace, config: Config) -> Family:
    from k1ctl.budget.breaker import CLOSED, Breakers

    breakers = Breakers(workspace, config)
    family = Family("k1_budget_breaker_open", GAUGE, "Whether a provider, or a model of it, is left alone now (1).")
    kept = breakers.kept.read()[0]["providers"]
    for name in sorted({*config.names("budget", "providers"), *kept}):
        family.add(int(breakers.document(name)["state"] != CLOSED), provider=name)
    return family
