"""How many instances a demand needs, what wait that implies, and when this host is outgrown.

    required = ceil(tasks/h x h per task / (concurrency x efficiency))

is Little's law with a utilisation of `efficiency`. Headroom of 30 % and a peak of twice as much are about the demand
and stated beside it, each by itself; neither is put on top of the other.
"""

from __future__ import annotations

import math

from k1ctl.capacity.queueing import erlang_c, mmc_wait, mmc_wait_quantile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.queueing import Model
    from k1ctl.config import Config

HEADROOM, PEAK = 1.3, 2.0  # the guides' 30 % and twice as much
EFFICIENCY = 0.8
WAITING = 0.2  # share of tasks that may wait, for square-root staffing
BUSY = 0.7  # of the time, at most, that build slots of recommended hardware are taken
_ROUND = 1e-9  # of an instance: what rounding may add to a quotient


class Demand:
    """``tasks`` an hour of ``hours`` each, for instances that work on ``concurrency`` tasks at once, of whose time
    ``efficiency`` (0 to 1) is used."""

    __slots__ = ("concurrency", "efficiency", "hours", "tasks")

    def __init__(self, tasks: float, hours: float, concurrency: int, efficiency: float = EFFICIENCY) -> None:
        if tasks < 0 or hours <= 0 or concurrency < 1 or not 0 < efficiency <= 1:
            raise ValueError("tasks >= 0, hours > 0, concurrency >= 1, efficiency above 0 and at most 1")
        self.tasks, self.hours, self.concurrency, self.efficiency = tasks, hours, concurrency, efficiency

    @property
    def load(self) -> float:
        """Tasks under way at once, on average (Little): the offered load in erlangs."""
        return self.tasks * self.hours

    def required(self, factor: float = 1.0) -> int:
        """Instances for ``factor`` times the demand; at least one."""
        return max(1, math.ceil(self.load * factor / (self.concurrency * self.efficiency) - _ROUND))

    def grown(self, factor: float) -> Demand:
        """The demand with ``factor`` times the tasks."""
        return Demand(self.tasks * factor, self.hours, self.concurrency, self.efficiency)


class Wait:
    """What tasks wait for one of ``servers`` (M/M/c): ``share`` that waits at all, ``mean`` and ``p90`` in hours
    (inf: the line never ends), ``busy``: utilisation."""

    __slots__ = ("busy", "mean", "p90", "servers", "share")

    def __init__(self, demand: Demand, servers: int) -> None:
        self.servers, self.busy = servers, demand.load / servers
        self.share = erlang_c(servers, demand.load)
        self.mean = mmc_wait(servers, demand.tasks, demand.hours)
        self.p90 = mmc_wait_quantile(servers, demand.tasks, demand.hours, 0.9)

    def document(self) -> dict[str, Any]:
        def seconds(hours: float) -> float | None:
            return None if math.isinf(hours) else round(hours * 3600, 3)

        return {
            "servers": self.servers,
            "busy_share": round(self.busy, 6),
            "waiting_share": round(self.share, 6),
            "wait_seconds": seconds(self.mean),
            "wait_p90_seconds": seconds(self.p90),
        }


class Staffing:
    """Servers for a ``load`` so that at most ``waiting`` of the tasks wait: ``servers`` exactly (Erlang C), and
    ``rule`` = ceil(load + beta sqrt(load)), the square-root rule of Halfin and Whitt (1981), with its ``beta``."""

    __slots__ = ("beta", "load", "rule", "servers", "waiting")

    def __init__(self, load: float, waiting: float = WAITING) -> None:
        self.load, self.waiting, self.beta = load, waiting, _beta(waiting)
        self.rule = max(1, math.ceil(load + self.beta * math.sqrt(load) - _ROUND))
        self.servers, blocked, waits = 0, 1.0, 1.0
        while self.servers <= load or waits > waiting:  # Erlang's recursion, a server at a time
            self.servers += 1
            blocked = load * blocked / (self.servers + load * blocked)
            waits = blocked / (1 - load / self.servers * (1 - blocked)) if self.servers > load else 1.0


def _beta(waiting: float) -> float:
    """The beta at which a share ``waiting`` waits: 1 / (1 + beta Phi(beta) / phi(beta))."""
    low, high = 0.0, 10.0
    for _ in range(60):
        beta = (low + high) / 2
        below = (1 + math.erf(beta / math.sqrt(2))) / 2
        density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
        low, high = (beta, high) if 1 / (1 + beta * below / density) > waiting else (low, beta)
    return (low + high) / 2


class Month:
    """One month ahead: ``number`` (0: now), its ``demand``, and the instances for it, with headroom, and at a peak."""

    __slots__ = ("demand", "headroom", "number", "peak", "required")

    def __init__(self, number: int, demand: Demand) -> None:
        self.number, self.demand = number, demand
        self.required, self.headroom, self.peak = (demand.required(f) for f in (1.0, HEADROOM, PEAK))

    def document(self) -> dict[str, Any]:
        return {
            "month": self.number,
            "tasks_per_hour": round(self.demand.tasks, 3),
            "tasks_at_once": round(self.demand.load, 3),
            "required": self.required,
            "required_with_headroom": self.headroom,
            "required_at_peak": self.peak,
        }


def months(demand: Demand, growth: float, number: int) -> list[Month]:
    """Now and each of ``number`` months, with ``growth`` a month (0.1: a tenth more)."""
    return [Month(n, demand.grown((1 + growth) ** n)) for n in range(number + 1)]


def outgrown(rows: list[Month], hosts: int, what: str = "required") -> int | None:
    """The first month in which more than ``hosts`` instances are needed; None: in none of them."""
    return next((row.number for row in rows if getattr(row, what) > hosts), None)


class Hardware:
    """What carries ``agents`` at once: on each of ``hosts`` some ``slots`` {resource: slots}, ``memory`` bytes of RAM
    (a size of the matrix; 0: none is enough) and ``cores``; ``need``: bytes used on each at its fullest, the reserve
    left out; ``matrix``: RAM that the guides' matrix has for so many agents a host, None beyond it."""

    __slots__ = ("agents", "cores", "hosts", "matrix", "memory", "need", "slots")

    def __init__(
        self, agents: int, hosts: int, slots: dict[str, int], memory: int, need: int, cores: int, matrix: int | None
    ) -> None:
        self.agents, self.hosts, self.slots, self.memory = agents, hosts, slots, memory
        self.need, self.cores, self.matrix = need, cores, matrix

    def document(self) -> dict[str, Any]:
        return {
            "agents": self.agents,
            "hosts": self.hosts,
            "slots_per_host": self.slots,
            "memory_bytes_per_host": self.memory or None,
            "need_bytes_per_host": self.need,
            "cores_per_host": self.cores,
            "matrix_memory_bytes": self.matrix,
        }


def hardware(demand: Demand, model: Model, cores: int, config: Config, *, factor: float = HEADROOM) -> Hardware:
    """The smallest of the matrix' hosts, or the fewest of its largest, that carry ``factor`` times the demand.

    Agents: load x factor / efficiency. Slots: so many that builds of those agents, at the rate of ``model``, take
    `BUSY` of them. Memory: base x agents + heavy x slots beside the reserve. Cores: as many for a slot as today,
    ``cores`` of this host over its slots.
    """
    agents = max(1, math.ceil(demand.load * factor / demand.efficiency - _ROUND))

    def on(hosts: int) -> Hardware:
        return _each(agents, hosts, model, cores, config)

    high = 1
    while not on(high).memory and high < agents:
        high *= 2
    low = high // 2  # too few, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if on(middle).memory else (middle, high)
    return on(min(high, agents))


def _each(agents: int, hosts: int, model: Model, cores: int, config: Config) -> Hardware:
    """What each of ``hosts`` must have; memory 0 where no size of the matrix is enough."""
    from k1ctl.capacity import formula, twopart

    each, cycle, slots = -(-agents // hosts), model.think + model.no_wait, {}
    for kind, share in zip(model.kinds, model.shares, strict=True):
        busy = each * share * kind.seconds / cycle if cycle else 0.0
        slots[kind.name] = max(1, math.ceil(busy / BUSY - _ROUND))
    need = twopart.base(config)[0] * each + sum(twopart.heavy(config, name)[0] * n for name, n in slots.items())
    fits = (size for size, _ in formula.MATRIX if size - formula.reserve(size, config) >= need)
    wanted = math.ceil(sum(slots.values()) * cores / sum(kind.slots for kind in model.kinds) - _ROUND)
    matrix = next((size for size, carried in formula.MATRIX if carried >= each), None)
    return Hardware(agents, hosts, slots, next(fits, 0), need, max(1, wanted), matrix)
