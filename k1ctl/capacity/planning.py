"""A plan: one load on one host, simulated; what binds it, and whether the annex's goals can hold."""

from __future__ import annotations

from math import inf

from k1ctl.capacity import uploadgoal
from k1ctl.capacity.explain import counted
from k1ctl.capacity.levers import Memory
from k1ctl.capacity.queueing import TURNS, Bounds, simulate
from k1ctl.capacity.scenarios import SCENARIOS, TURN_GOAL
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.queueing import Model, Outcome
    from k1ctl.config import Config

_SEARCH = 4000  # turns of one step of a search, at most: the p90 is then good for about 4 %
_MOST = 400  # agents that are searched


class Limit:
    """A number of ``agents`` (inf: nobody is held back) above which something happens, told by ``text``."""

    __slots__ = ("agents", "name", "text")

    def __init__(self, name: str, agents: float, text: str) -> None:
        self.name, self.agents, self.text = name, agents, text

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "agents": None if self.agents == inf else int(self.agents), "text": self.text}


class Plan:
    """One load: ``name`` (of the scenario, or "usual"), ``model``, its simulated ``outcome``, ``bounds``, ``memory``,
    ``uploads`` (the goal's limit), and ``limits``: how many agents each thing lets work, the fewest first."""

    __slots__ = ("annex", "bounds", "limits", "memory", "model", "name", "outcome", "uploads")

    def __init__(
        self, name: str, model: Model, facts: Facts, config: Config, *, turns: int = TURNS, seed: int = 1
    ) -> None:
        self.name, self.model = name, model
        self.annex = SCENARIOS[name].annex if name in SCENARIOS else None
        self.outcome: Outcome = simulate(model, turns=turns, seed=seed)
        self.bounds, self.memory = Bounds(model), Memory(model, facts, config)
        few = min(turns, _SEARCH)
        self.uploads = uploadgoal.limit(
            model.upload, cv=model.upload_cv, devices=model.devices, turns=2 * few, seed=seed
        )
        self.limits = [] if model.burst else sorted(self._limits(few, seed), key=lambda limit: limit.agents)

    @property
    def upload_holds(self) -> bool | None:
        """Whether nine uploads in ten are done within the goal in this load; None without uploads."""
        return self.outcome.upload_p90 <= self.uploads.goal if self.outcome.upload_p90 else None

    @property
    def turn_holds(self) -> bool:
        return self.outcome.p90 <= TURN_GOAL

    def _limits(self, turns: int, seed: int) -> list[Limit]:
        model, memory = self.model, self.memory
        cycle = model.think + model.no_wait
        found = []
        for station, demand in model.demands().items():
            knee = cycle / demand if demand else inf
            text = f"more than {knee:.1f} agents must wait for each other" if demand else "never used"
            found.append(Limit(station, int(knee) if knee != inf else inf, text))
        text = f"room for {counted(memory.agents)}: {format_size(memory.base)} each beside "
        text += f"{format_size(memory.heavy)} of all slots" if memory.all_busy else "as many heavy phases"
        text += "" if memory.all_busy else f"; all slots, {format_size(memory.heavy)}, do not fit"
        found.append(Limit("memory", memory.agents, text))
        most = within(model, TURN_GOAL, turns=turns, seed=seed)
        upto = "any number of agents" if most == inf else f"up to {counted(int(most))}"
        found.append(Limit("turn goal", most, f"p90 of a turn within {TURN_GOAL / 60:g} min with {upto}"))
        return found

    def document(self) -> dict[str, Any]:
        """The plan as JSON."""
        model, out, up = self.model, self.outcome, self.uploads
        return {
            "name": self.name,
            "annex_minutes": list(self.annex) if self.annex else None,
            "agents": model.agents,
            "hosts": model.hosts,
            "devices": model.devices,
            "burst": model.burst,
            "think_seconds": round(model.think, 3),
            "upload_seconds": round(model.upload, 3),
            "kinds": [
                {
                    "resource": k.name,
                    "slots": k.slots,
                    "build_seconds": round(k.seconds, 3),
                    "share": round(share, 6),
                    "uploads_share": round(k.uploads, 6),
                    "cv": round(k.cv, 6),
                    "busy_share": round(out.busy[k.name], 6),
                }
                for k, share in zip(model.kinds, model.shares, strict=True)
            ],
            **outcome_document(out),
            "knee_agents": None if self.bounds.knee == inf else round(self.bounds.knee, 3),
            "bottleneck": self.bounds.station,
            "turn_bound_seconds": round(self.bounds.turn, 3),
            "limits": [limit.document() for limit in self.limits],
            "binds": self.limits[0].name if self.limits else None,
            "memory": self.memory.document(),
            "turn_goal": {"seconds": TURN_GOAL, "holds": self.turn_holds},
            "upload_goal": {
                "seconds": up.goal,
                "holds": self.upload_holds,
                "uploads_per_hour": round(out.upload_rate * 3600, 3),
                "holds_up_to_uploads_per_hour": round(up.rate * 3600, 3),
                "holds_up_to_utilisation": round(up.utilisation, 4),
                "transfer_alone_p90_seconds": round(up.alone, 3),
            },
        }


def outcome_document(out: Outcome) -> dict[str, Any]:
    """What a simulation found, as JSON."""
    return {
        "turns_simulated": out.turns,
        "turn_mean_seconds": round(out.turn, 3),
        "turn_p50_seconds": round(out.p50, 3),
        "turn_p90_seconds": round(out.p90, 3),
        "turn_p95_seconds": round(out.p95, 3),
        "turn_p90_error_seconds": None if out.p90_error == inf else round(out.p90_error, 3),
        "wait_seconds": round(out.build_wait, 3),
        "wait_p90_seconds": round(out.build_wait_p90, 3),
        "device_wait_seconds": round(out.device_wait, 3),
        "upload_p50_seconds": round(out.upload_p50, 3),
        "upload_p90_seconds": round(out.upload_p90, 3),
        "turns_per_hour": round(out.rate * 3600, 3),
        "device_busy_share": round(out.busy["device"], 6),
        "last_seconds": round(out.last, 3) if out.last else None,
    }


def within(model: Model, goal: float, *, turns: int = _SEARCH, seed: int = 1) -> float:
    """The most agents whose turns' p90 stays within ``goal`` seconds: 0 where one alone takes longer, inf where
    several hundred do not."""

    def holds(agents: int) -> bool:
        return simulate(model.changed(agents=agents), turns=turns, seed=seed).p90 <= goal

    knee = Bounds(model).knee
    low, high = 0, max(1, int(min(knee, _MOST)))
    while high <= _MOST and holds(high):
        low, high = high, high * 2
    if high > _MOST:
        return inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def sweep(model: Model, *, most: int = 0, turns: int = _SEARCH, seed: int = 1) -> list[tuple[int, float, float]]:
    """(agents, p50, p90 of a turn in seconds) for some dozen numbers of agents up to twice those asked for, or the
    knee, or ``most``."""
    knee = Bounds(model).knee
    top = most or max(2 * model.agents, int(1.5 * knee) if knee < _MOST else 0, 8)
    step = max(1, top // 16)
    numbers = sorted({1, *range(step, top + 1, step), model.agents})
    found = []
    for agents in numbers:
        out = simulate(model.changed(agents=agents), turns=turns, seed=seed)
        found.append((agents, out.p50, out.p90))
    return found
