"""What `k1ctl capacity plan` works out: the loads asked for, each with its what-ifs, and the levers of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.capacity import calibrate, levers, planning, scenarios, whatif
from k1ctl.capacity.planning import Plan
from k1ctl.capacity.queueing import simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.queueing import Model, Outcome
    from k1ctl.capacity.whatif import Changed
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

USUAL = "usual"
_COMPARED = ("p50", "p90", "build_wait", "device_wait", "upload_p90", "last")  # what a what-if differs in, in seconds


class Study:
    """``plans``: [(the load, [(a what-if, its plan)])]; ``focus``: the one that is shown in full, with its ``levers``.

    Raises UsageError for a what-if that names no change.
    """

    def __init__(
        self,
        workspace: Workspace | None,
        config: Config,
        facts: Facts,
        scenario: str,
        *,
        agents: int = 0,
        changes: Sequence[str] = (),
        turns: int,
        seed: int,
        days: int,
        history: bool,
    ) -> None:
        self.facts, self.config, self.turns, self.seed, self.days = facts, config, turns, seed, days
        self.found = calibrate.usual(workspace, config, days=days, history=history)
        self.measured = [p for p in self.found.parameters if p.origin == "history"]
        models = {name: self._model(name, agents) for name in self._names(scenario)}
        asked = {name: [whatif.parse(text, model) for text in changes] for name, model in models.items()}
        self.plans = [
            (self._plan(name, model), [(c, self._plan(name, c.model)) for c in asked[name]])
            for name, model in models.items()
        ]
        focus = scenario if scenario != "all" else (USUAL if self.measured else "mixed")
        self.focus = next(p for p in self.plans if p[0].name == focus)
        base = self.focus[0].model
        self.replay = self._replay() if focus == USUAL and self.found.observed.turns else None
        self.levers = levers.ranked(base, facts, config, turns=turns, seed=seed)

    def _names(self, scenario: str) -> list[str]:
        if scenario != "all":
            return [scenario]
        return [*([USUAL] if self.measured else []), *scenarios.SCENARIOS]

    def _model(self, name: str, agents: int) -> Model:
        usual = self.found.model
        if name == USUAL:
            return usual.changed(agents=agents or usual.agents)
        return scenarios.scaled(name, usual, agents=agents)

    def _plan(self, name: str, model: Model) -> Plan:
        return Plan(name, model, self.facts, self.config, turns=self.turns, seed=self.seed)

    def _replay(self) -> Outcome:
        """The usual load with as many agents as there were on average: what was recorded should look like this."""
        agents = max(1, round(self.found.hours.together))
        return simulate(self.found.model.changed(agents=agents), turns=self.turns, seed=self.seed)

    @property
    def misfit(self) -> bool:
        """Whether the model's p90 is less than half, or more than twice, of what was recorded."""
        seen = self.found.observed.p90
        return self.replay is not None and seen > 0 and not 0.5 <= self.replay.p90 / seen <= 2.0

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "ok": True,
            "seed": self.seed,
            "turns": self.turns,
            "days": self.days,
            "host": {"cores": self.facts.cores, "memory_bytes": self.facts.memory, "origin": self.facts.origin},
            "calibration": self.found.document(),
            "replay": None
            if self.replay is None
            else {
                "agents": max(1, round(self.found.hours.together)),
                **planning.outcome_document(self.replay),
                "misfit": self.misfit,
            },
            "scenarios": [
                {**base.document(), "what_if": [_what_if(base, change, then) for change, then in others]}
                for base, others in self.plans
            ],
            "levers": {"scenario": self.focus[0].name, "ranked": [lever.document() for lever in self.levers]},
        }

    def plot(self) -> str:
        """p50 and p90 of turns over the number of agents, for the load in focus and its what-ifs, as SVG."""
        from k1ctl.capacity.plot import SECONDS, Series, svg

        base, others = self.focus
        model = base.model.changed(burst=False)
        turns = min(self.turns, 4000)
        rows = planning.sweep(model, turns=turns, seed=self.seed)
        series = [
            Series(f"{base.name}, p90", [(n, p90) for n, _, p90 in rows]),
            Series(f"{base.name}, p50", [(n, p50) for n, p50, _ in rows]),
        ]
        for change, then in others:
            other = then.model.changed(burst=False)
            swept = planning.sweep(other, most=rows[-1][0], turns=turns, seed=self.seed)
            series.append(Series(f"{change.text}, p90", [(n, p90) for n, _, p90 in swept]))
        return svg(
            series,
            title=f"Turns of the {base.name} load (knee at {base.bounds.knee:.1f} agents)",
            x_title="agents",
            y_title="a turn",
            y_unit=SECONDS,
            levels=[(scenarios.TURN_GOAL, "the annex's limit")],
        )


def differences(base: Plan, then: Plan) -> dict[str, float]:
    """What a what-if changes: {what: then - base, in seconds}."""
    return {name: getattr(then.outcome, name) - getattr(base.outcome, name) for name in _COMPARED}


def told_from_noise(base: Plan, then: Plan) -> bool:
    """Whether the p90 differs by more than twice what chance would make of it."""
    error = max(base.outcome.p90_error, then.outcome.p90_error)
    return abs(then.outcome.p90 - base.outcome.p90) > 2 * error


def _what_if(base: Plan, change: Changed, then: Plan) -> dict[str, Any]:
    return {
        "what_if": change.text,
        "changes": [{"what": what, "before": before, "after": after} for what, before, after in change.changes],
        **then.document(),
        "difference": {
            **{f"{name}_seconds": round(value, 3) for name, value in differences(base, then).items()},
            "p90_within_noise": not told_from_noise(base, then),
            "memory_bytes_per_host": then.memory.need - base.memory.need,
        },
    }
