"""What bounds the number of agents, each with its numbers, and which of them binds.

There are two numbers: for steady work, and for a burst of some minutes. A bound that does not hold anybody back has
none. One that holds only under a condition (the formula with the guides' figure: when heavy phases take no slot) is
shown and never binds.
"""

from __future__ import annotations

import math

from k1ctl.capacity import formula, twopart
from k1ctl.capacity.scenarios import TURN_GOAL
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.queueing import Model, Outcome
    from k1ctl.config import Config

BUSY = 0.7  # of the time, at most, slots are taken while there is headroom: the guides' 30 %
WORKTREE = 2_800_000_000  # bytes: the guides' node_modules (0.8 GB) and .pio (2 GB), of each worktree's own
WORKTREE_SOURCE = "default: node_modules 0.8 GB and .pio 2 GB, as the guides have them"
_TURNS = 8000  # simulated for one number of agents: the p90 is then good for about 3 %
_MOST = 1000  # agents that are looked at


class Bound:
    """``agents`` for steady work and ``burst`` (None: nobody is held back by it), ``text`` with the numbers it is made
    of. ``condition``: when it holds at all; "" always."""

    __slots__ = ("agents", "burst", "condition", "name", "text")

    def __init__(
        self, name: str, agents: int | None, text: str, *, burst: int | None = None, condition: str = ""
    ) -> None:
        self.name, self.text, self.condition = name, text, condition
        self.agents = agents if agents is None else max(1, agents)
        self.burst = self.agents if burst is None else max(1, burst)

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "agents": self.agents,
            "burst": self.burst,
            "condition": self.condition or None,
            "text": self.text,
        }


class Seen:
    """What the bounds need beyond facts and configuration: ``disk_free`` (bytes that worktrees may take, None: not
    known), ``worktrees`` there are, ``worktree_bytes`` of one and ``worktree_origin``, ``quota_free`` (bytes left of
    disk.total_quota, None: no quota), ``tokens`` that one promise is of (0: nobody promised any)."""

    __slots__ = ("disk_free", "quota_free", "tokens", "worktree_bytes", "worktree_origin", "worktrees")

    def __init__(
        self,
        *,
        disk_free: int | None = None,
        worktrees: int = 0,
        worktree_bytes: int = WORKTREE,
        worktree_origin: str = WORKTREE_SOURCE,
        quota_free: int | None = None,
        tokens: int = 0,
    ) -> None:
        self.disk_free, self.worktrees, self.quota_free, self.tokens = disk_free, worktrees, quota_free, tokens
        self.worktree_bytes, self.worktree_origin = worktree_bytes, worktree_origin


class Turns:
    """Slots and turns of a model for any number of agents, each simulated once."""

    def __init__(self, model: Model) -> None:
        kinds = [kind.changed(slots=min(kind.slots, _MOST)) for kind in model.kinds]  # more are never busy here
        model = model.changed(kinds=kinds)
        demands = model.demands()
        self.model, self.cycle = model, model.think + model.no_wait
        self.demand = max(demands[kind.name] for kind in model.kinds)  # seconds of the busiest slots for a turn
        self.exact_knee = self.cycle / self.demand if self.demand else math.inf
        self._found: dict[int, Outcome] = {}

    def of(self, agents: int) -> Outcome:
        """How so many agents fare."""
        from k1ctl.capacity.queueing import simulate

        if agents not in self._found:
            self._found[agents] = simulate(self.model.changed(agents=agents), turns=_TURNS)
        return self._found[agents]

    def busy(self, agents: int) -> float:
        """The share of the time that the busiest build slots are taken."""
        return max(share for name, share in self.of(agents).busy.items() if name != "device")

    @property
    def knee(self) -> int:
        """The last whole number of agents that need not wait for each other's builds (queueing.knee, of slots only)."""
        return max(1, int(min(self.exact_knee, _MOST)))

    def with_headroom(self) -> int:
        """The most agents whose slots are taken for at most `BUSY` of the time."""
        return self._last(1, self.knee, lambda n: self.busy(n) <= BUSY)

    def within_limit(self) -> int:
        """The most agents of whose turns nine in ten end within `TURN_GOAL`; 0 when those of one alone do not."""
        if self.of(1).p90 > TURN_GOAL:
            return 0
        highest = self.knee
        while highest < _MOST and self.of(highest).p90 <= TURN_GOAL:
            highest *= 2
        return self._last(1, min(highest, _MOST), lambda n: self.of(n).p90 <= TURN_GOAL)

    @staticmethod
    def _last(low: int, high: int, holds: Any) -> int:
        """The largest n from ``low`` to ``high`` that ``holds``, which it does up to some n; ``low`` if none does."""
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if holds(middle) else (low, middle - 1)
        return low


def all(facts: Facts, config: Config, turns: Turns, seen: Seen) -> list[Bound]:
    """Every bound, in the order in which people ask for them."""
    return [
        by_formula(facts, config),
        by_memory(facts, config),
        by_cores(facts, config, turns.model),
        by_slots(turns),
        by_device(turns.model),
        *by_disk(config, seen),
        by_tokens(config, seen),
        by_gpu(facts, config),
        *by_models(config),
        by_count(config),
    ]


def binding(bounds: list[Bound], *, burst: bool = False) -> Bound | None:
    """The bound with the fewest agents of those that hold always; None when there is none."""
    counts = [(n, b) for b in bounds if not b.condition and (n := b.burst if burst else b.agents) is not None]
    return min(counts, key=lambda pair: pair[0])[1] if counts else None


def by_formula(facts: Facts, config: Config) -> Bound:
    """RAM, one figure an agent: always where somebody configured it, else only when heavy phases take no slot."""
    reserve, (each, origin) = formula.reserve(facts.memory, config), formula.per_agent(config)
    text = f"{calculation(facts.memory, reserve, each)}; an agent: {origin}"
    agents = formula.safe_agents(facts.memory, reserve, each)
    configured = bool(config.get("capacity", "per_agent"))
    return Bound("formula", agents, text, condition="" if configured else "when heavy phases take no slot")


def calculation(memory: int, reserve: int, per_agent: int) -> str:
    """The formula with its figures."""
    each = format_size(per_agent) if per_agent < formula.GIB else f"{_gib(per_agent)} GiB"
    return f"max(1, floor(({_gib(memory)} - {_gib(reserve)}{' GiB' if per_agent < formula.GIB else ''}) / {each}))"


def by_memory(facts: Facts, config: Config) -> Bound:
    """RAM, base and heavy slots: with all slots busy, the base at its p95, for a burst at its median."""
    room = max(0, facts.memory - formula.reserve(facts.memory, config))
    pools = twopart.pools(config)
    base, burst = twopart.base(config)[0], twopart.burst_base(config)[0]
    fits = twopart.fits(room, base, pools)
    steady, short = twopart.agents(fits), twopart.agents(twopart.fits(room, burst, pools))
    slots = " + ".join(f"{p.slots} x {_gib(p.each)}" for p in pools) or "no heavy slot"
    each = f"{_gib(base, 2)} GiB an agent"
    each += f" (p95; in a burst {_gib(burst, 2)}, the median)" if burst != base else ""
    if fits[-1].fits:
        text = f"{_gib(room)} - ({slots}) = {_gib(room - fits[-1].heavy)} GiB; {each}"
    elif twopart.alone_fits(fits):
        text = f"{_gib(room)} GiB beside the reserve are too few for {slots}: {steady} may be in a heavy phase; {each}"
    else:
        text = f"{_gib(room)} GiB beside the reserve are too few for one agent in its heaviest phase; {each}"
    return Bound("memory", steady, text, burst=short)


def by_cores(facts: Facts, config: Config, model: Model) -> Bound:
    """Cores: builds at once x jobs. An agent that thinks waits for its model and takes none.

    Jobs of a build are build.jobs, else what is left of the cores with all slots taken, as `k1ctl build` shares them.
    Where those are more than the cores, the mean of running builds (utilization law, Denning and Buzen 1978) has room.
    """
    cores = min(int(config.get("capacity", "cpus")) or facts.cores, facts.cores)
    jobs = int(config.get("build", "jobs"))
    shares = [(p.slots, jobs or max(1, cores // p.slots)) for p in twopart.pools(config)]
    slots, wanted = sum(n for n, _ in shares), sum(n * each for n, each in shares)
    told = " + ".join(f"{_plural(n, 'build')} x {_plural(each, 'job')}" for n, each in shares) or "no builds"
    if wanted <= cores:
        return Bound("cores", None, f"{told} = {wanted} of {cores} cores; agents that think take none")
    building, each = build_share(model), wanted / slots
    text = (
        f"{told} = {wanted} for {_plural(cores, 'core')}: all at once are slower; an agent builds {building:.0%} of its"
        f" time with {each:.2g} job{'s' * (each != 1)}"
    )
    return Bound("cores", int(cores / (building * each)) if building else None, text)


def build_share(model: Model) -> float:
    """The share of its time that an agent builds when nobody waits."""
    cycle = model.think + model.no_wait
    return (model.no_wait - model.uploads * model.upload) / cycle if cycle else 0.0


def by_slots(turns: Turns) -> Bound:
    """Build slots: steady up to the knee, in a burst while nine turns in ten end within the guides' limit."""
    if not turns.demand:
        return Bound("slots", None, "nothing is built")
    steady, within, model = turns.knee, turns.within_limit(), turns.model
    text = (
        f"knee {turns.exact_knee:.1f} = ({model.think / 60:.3g} min of thinking + {model.no_wait / 60:.3g} a turn)"
        f" / {turns.demand / 60:.3g} a slot; p90 of a turn {turns.of(steady).p90 / 60:.1f} min with {steady} agents"
    )
    if within > steady:
        text += f", {turns.of(within).p90 / 60:.1f} with {within} (limit {TURN_GOAL / 60:g})"
    elif within < steady:
        text += f", beyond the limit of {TURN_GOAL / 60:g}, which {within or 'not even one'} would keep"
    return Bound("slots", steady, text, burst=max(steady, within))


def by_device(model: Model) -> Bound:
    """Devices: uploads are one after another."""
    demand = model.demands()["device"]
    if not demand:
        return Bound("device", None, "nothing is uploaded")
    cycle = model.think + model.no_wait
    agents = int(cycle / demand)
    text = (
        f"{model.devices} device{'s' * (model.devices != 1)}, {model.uploads:.0%} of turns upload for"
        f" {model.upload:.0f} s: busy all the time with {agents}"
    )
    return Bound("device", agents, text)


def by_disk(config: Config, seen: Seen) -> list[Bound]:
    """What is free of the disk, and of the quota, over what a worktree takes; those there are stay."""
    each, found = max(1, seen.worktree_bytes), []
    told = f"{format_size(each)} a worktree ({seen.worktree_origin}), {seen.worktrees} there"
    if seen.disk_free is not None:
        stop = config.get("disk", "stop_percent")
        found.append(
            Bound(
                "disk",
                seen.worktrees + seen.disk_free // each,
                f"{format_size(seen.disk_free)} may be taken, to {stop} % (disk.stop_percent); {told}",
            )
        )
    if seen.quota_free is not None:
        left = max(0, seen.quota_free)
        found.append(
            Bound("quota", seen.worktrees + left // each, f"{format_size(left)} left of disk.total_quota; {told}")
        )
    return found


def by_tokens(config: Config, seen: Seen) -> Bound:
    """Tokens that may be promised at once, over what one promise is of."""
    limit = int(config.get("capacity", "tokens"))
    if not limit:
        from k1ctl.budget.bound import limited

        spent = "; what is spent has limits: k1ctl budget status" if limited(config) else ""
        return Bound("tokens", None, f"not counted (capacity.tokens){spent}")
    if not seen.tokens:
        return Bound("tokens", None, f"{limit} at once (capacity.tokens); nobody has promised any: how many have room?")
    return Bound("tokens", limit // seen.tokens, f"{limit} at once (capacity.tokens), {seen.tokens} a promise")


def by_gpu(facts: Facts, config: Config) -> Bound:
    """Memory of the GPUs."""
    each = int(config.get("capacity", "gpu_per_agent"))
    if not each:
        return Bound("gpu", None, "agents need none (capacity.gpu_per_agent)")
    memory, origin = int(config.get("capacity", "gpu_memory")), "capacity.gpu_memory"
    if not memory:
        memory, origin = sum(int(gpu.get("memory_bytes") or 0) for gpu in facts.gpus), "nvidia-smi"
    if not memory:
        return Bound("gpu", None, f"{format_size(each)} an agent, and no GPU is known (set capacity.gpu_memory)")
    return Bound("gpu", memory // each, f"{format_size(memory)} ({origin}), {format_size(each)} an agent")


def by_models(config: Config) -> list[Bound]:
    """How many may use a model at once; agents of another one are not held back."""
    return [
        Bound(
            f"model:{name}",
            int(config.get("capacity", "models", name)),
            f"{config.get('capacity', 'models', name)} at once ([capacity.models])",
            condition=f"when all use {name}",
        )
        for name in config.names("capacity", "models")
    ]


def by_count(config: Config) -> Bound:
    """Workspaces, counted."""
    limit = int(config.get("capacity", "agents"))
    if not limit:
        return Bound("agents", None, "not counted (capacity.agents)")
    return Bound("agents", limit, f"{limit} workspaces may be set up (capacity.agents)")


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _gib(size: int, digits: int = 1) -> str:
    """Bytes in GiB for a calculation: ``40``, ``17.6``."""
    text = f"{size / formula.GIB:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text and math.isclose(float(text) % 1, 0) else text
