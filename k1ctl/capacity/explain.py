"""How many agents fit on a host, steadily and in a burst, and why: the formula, base and slots, turns, what binds."""

from __future__ import annotations

from k1ctl.capacity import bounds, formula, overallocation, overrun, twopart
from k1ctl.capacity.scenarios import UPLOAD_GOAL, USUAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from k1ctl.capacity.bounds import Bound, Seen
    from k1ctl.capacity.calibrate import Parameter
    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.queueing import Model
    from k1ctl.config import Config

ANNEX_CORES, ANNEX_MEMORY = 14, 48 * formula.GIB  # the host that the guides' annex is about
ANNEX_STEADY, ANNEX_BURST = (12, 16), 20  # workspaces it names


class Answer:
    """What a host can carry.

    ``steady``: agents for steady work, from those whose builds have headroom up to those beyond which something binds;
    ``burst``: for some minutes; ``binds`` and ``binds_burst`` are the bounds behind the two; ``by_memory``: agents by
    base and slots. ``bounds`` are all of them; ``rows`` of the matrix; ``pools`` of heavy slots and ``fits`` (agents
    for S busy slots); ``odds`` {agents: part of the time in which they take more than the reserve leaves}, without
    those that are too many to be simulated; ``parameters`` of the model of turns, with where each is from; ``excess``:
    settings that give away too much; ``differs``: sentences on where the guides and the model differ.
    """

    def __init__(
        self,
        facts: Facts,
        config: Config,
        model: Model,
        seen: Seen,
        *,
        parameters: Sequence[Parameter] = (),
        conductor: str = "",
    ) -> None:
        self.facts, self.config, self.turns = facts, config, bounds.Turns(model)
        self.parameters = parameters
        self.reserve = formula.reserve(facts.memory, config)
        self.per_agent, self.base, self.burst_base = (
            formula.per_agent(config),
            twopart.base(config),
            twopart.burst_base(config),
        )
        self.bounds = bounds.all(facts, config, self.turns, seen)
        self.by_formula = self._named("formula")
        self.binds = self._binding(self.bounds)
        self.binds_burst = self._binding(self.bounds, burst=True)
        most, burst = self.binds.agents or 1, self.binds_burst.burst or 1
        self.steady = min(self.turns.with_headroom(), most), most
        self.burst = max(burst, most)
        self.rows = formula.matrix()
        self.pools = twopart.pools(config)
        self.fits = twopart.fits(self.room, self.base[0], self.pools)
        self.by_memory = twopart.agents(self.fits)
        self.odds = self._odds()
        counted = [bound for bound in self.bounds if bound.name != "agents"]
        self.excess = overallocation.found(facts, config, binds=self._binding(counted), conductor=conductor)
        self.differs = self._differences()

    @property
    def room(self) -> int:
        """Bytes beside the reserve."""
        return max(0, self.facts.memory - self.reserve)

    def _named(self, name: str) -> Bound:
        return next(bound for bound in self.bounds if bound.name == name)

    @staticmethod
    def _binding(found: list[Bound], *, burst: bool = False) -> Bound:
        bound = bounds.binding(found, burst=burst)
        assert bound is not None  # memory always has a number
        return bound

    def _odds(self) -> dict[int, float]:
        base = overrun.base_spread(self.config)
        share = bounds.build_share(self.turns.model)
        counts = [n for n in sorted({*self.steady, self.burst, self.by_memory}) if n <= overrun.MOST_AGENTS]
        if sum(pool.slots for pool in self.pools) > overrun.MOST_SLOTS:
            return {}
        return {n: overrun.odds(self.room, n, base, self.pools, share=share) for n in counts}

    def matrix_range(self) -> tuple[int, int]:
        """What the matrix says of this host: the agents of its row, else of those around it."""
        return formula.by_matrix(self.facts.memory)

    def _differences(self) -> list[str]:
        found, (low, high), agents = [], self.matrix_range(), self.by_formula.agents or 1
        if not low <= agents <= high:
            found.append(self._beside_the_matrix(low, high, agents))
        if agents < self.steady[0]:
            found.append(
                f"the formula has {agents}: it gives each agent {_gib(self.per_agent[0])} GiB all the time, and holds"
                " where test suites and browsers take no slot"
            )
        if "formula" in (self.binds.name, self.binds_burst.name):
            rest = self._binding([bound for bound in self.bounds if bound.name != "formula"])
            found.append(f"without capacity.per_agent {counted(rest.agents or 1)} would fit, bound by {rest.name}")
        if self.facts.cores == ANNEX_CORES and abs(self.facts.memory - ANNEX_MEMORY) < formula.GIB:
            found.append(self._beside_the_annex())
        slow = self.turns.of(self.steady[1]).upload_p90
        if slow > UPLOAD_GOAL:
            found.append(
                f"with {counted(self.steady[1])} nine uploads in ten end within {slow:.0f} s, not the"
                f" {UPLOAD_GOAL:.0f} s of the guides: an upload takes {self.turns.model.upload:.0f} s by itself"
            )
        return found

    def _beside_the_matrix(self, low: int, high: int, agents: int) -> str:
        below, _ = formula.between(self.facts.memory)
        row = below or self.rows[0]
        text = f"{low} to {high}" if low != high else f"{low}"
        return (
            f"the matrix has {text}, the formula {agents}: with {_gib(formula.PER_AGENT)} GiB an agent the matrix keeps"
            f" {_gib(row.reserve)} GiB back on a host of {_gib(row.memory)}, the rule"
            f" {_gib(formula.default_reserve(row.memory))}"
        )

    def _beside_the_annex(self) -> str:
        steady = f"{ANNEX_STEADY[0]} to {ANNEX_STEADY[1]} steady, {ANNEX_BURST} in a burst"
        calibrated = ""
        if self.turns.model.think == USUAL.think:
            calibrated = (
                f"; it gives no think time, and the model's {USUAL.think / 60:g} min are chosen to give its minutes"
                " of a turn: a calibration, no proof"
            )
        if self.steady == ANNEX_STEADY and self.burst == ANNEX_BURST:
            return f"the annex has the same for this host: {steady}{calibrated}"
        return f"the annex has {steady} for this host, the model {self.numbers()}{calibrated}"

    def numbers(self) -> str:
        """``12 to 16 steady, 20 in a burst``."""
        low, high = self.steady
        steady = f"{low} to {high} steady" if low < high else f"{high} steady"
        return f"{steady}, {self.burst} in a burst" if self.burst > high else f"{steady}, no more in a burst"

    def document(self) -> dict[str, Any]:
        """The answer as JSON."""
        return {
            "agents": {
                "steady_min": self.steady[0],
                "steady_max": self.steady[1],
                "burst": self.burst,
                "binds": self.binds.name,
                "binds_burst": self.binds_burst.name,
            },
            "formula": {
                "agents": self.by_formula.agents,
                "memory_bytes": self.facts.memory,
                "reserve_bytes": self.reserve,
                "per_agent_bytes": self.per_agent[0],
                "per_agent_origin": self.per_agent[1],
            },
            "matrix": [row.document() for row in self.rows],
            "matrix_agents": list(self.matrix_range()),
            "two_part": self._two_part(),
            "turns": self._turns(),
            "bounds": [bound.document() for bound in self.bounds],
            "differences": self.differs,
            "warnings": [row.document() for row in self.excess],
        }

    def _two_part(self) -> dict[str, Any]:
        return {
            "room_bytes": self.room,
            "agents": self.by_memory,
            "base_bytes": self.base[0],
            "base_origin": self.base[1],
            "burst_base_bytes": self.burst_base[0],
            "burst_base_origin": self.burst_base[1],
            "pools": [
                {"resource": p.resource, "slots": p.slots, "bytes_each": p.each, "origin": p.origin} for p in self.pools
            ],
            "agents_by_busy_slots": [
                {"slots": fit.slots, "heavy_bytes": fit.heavy, "agents": fit.agents, "fits": fit.fits}
                for fit in self.fits
            ],
            "overrun": [{"agents": n, "share": round(share, 5)} for n, share in self.odds.items()],
        }

    def _turns(self) -> dict[str, Any]:
        model, turns = self.turns.model, self.turns
        return {
            "parameters": [parameter.document() for parameter in self.parameters],
            "think_seconds": model.think,
            "no_wait_seconds": round(model.no_wait, 3),
            "knee": round(turns.exact_knee, 2) if turns.demand else None,
            "at": [
                {
                    "agents": n,
                    "slots_busy": round(turns.busy(n), 4),
                    "turn_p90_seconds": round(turns.of(n).p90, 1),
                    "upload_p90_seconds": round(turns.of(n).upload_p90, 1),
                }
                for n in sorted({*self.steady, self.burst})
            ],
        }


def counted(agents: int) -> str:
    """``1 agent``, ``2 agents``."""
    return f"{agents} agent{'s' * (agents != 1)}"


def workload(config: Config) -> Model:
    """The turns that the bounds are about where there is no history: the annex's mixed load, with this configuration's
    slots of the default target's builds, and its devices."""
    from k1ctl.capacity import scenarios

    name = f"build:{config.get('defaults', 'target')}"
    model = scenarios.documented("mixed", kind=name)
    kinds = [kind.changed(slots=config.slots(name)) for kind in model.kinds]
    return model.changed(kinds=kinds, devices=max(1, len(config.names("devices"))))


def _gib(size: int) -> str:
    return f"{size / formula.GIB:.3g}"
