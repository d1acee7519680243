"""The documented formula, ``max(1, floor((RAM - reserve) / per_agent))``, and the decision matrix of the guides.

Both give an agent one figure, which is off by a factor of four in either direction (an agent that waits takes 0.4 to
0.8 GB, one that runs a test suite up to 10): `k1ctl.capacity.twopart` is the better answer, these are the known ones.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config

GIB = 1 << 30
RESERVE, RESERVE_PERCENT = 8 * GIB, 15  # nobody's: 8 GiB or 15 %, whichever is more
PER_AGENT = 4 * GIB  # bytes of one agent until there is a measurement
AGENTS = ("agent", "large", "medium", "small")  # classes of the history: whole agents, all they start included
MATRIX = ((16 * GIB, 2), (32 * GIB, 4), (64 * GIB, 8), (128 * GIB, 12))  # (RAM in bytes, agents), as the guides print


class Row:
    """One row of the matrix: ``memory`` and the ``reserve`` it implies at `PER_AGENT`, in bytes; ``agents`` it says;
    ``formula``: agents by the formula with its own reserve."""

    __slots__ = ("agents", "formula", "memory", "reserve")

    def __init__(self, memory: int, agents: int) -> None:
        self.memory, self.agents = memory, agents
        self.reserve = memory - agents * PER_AGENT
        self.formula = safe_agents(memory, default_reserve(memory), PER_AGENT)

    def document(self) -> dict[str, int]:
        return {
            "memory_bytes": self.memory,
            "agents": self.agents,
            "implied_reserve_bytes": self.reserve,
            "formula_agents": self.formula,
        }


def default_reserve(memory: int) -> int:
    """The larger of 8 GiB and 15 % of ``memory``, in bytes."""
    return max(RESERVE, memory * RESERVE_PERCENT // 100)


def reserve(memory: int, config: Config) -> int:
    """Bytes of ``memory`` that are nobody's: capacity.reserve, else `default_reserve`."""
    return int(config.get("capacity", "reserve")) or default_reserve(memory)


def safe_agents(memory: int, reserve: int, per_agent: int) -> int:
    """Agents that fit beside the reserve, all in bytes; never fewer than one."""
    return max(1, (memory - reserve) // max(1, per_agent))


def per_agent(config: Config) -> tuple[int, str]:
    """(bytes of one agent, where the figure comes from): capacity.per_agent; the first of `AGENTS` with five runs or
    more; else 4 GiB."""
    configured = int(config.get("capacity", "per_agent"))
    if configured:
        return configured, f"configured ({setting('per_agent', config)})"
    for class_ in AGENTS:
        measured = from_history(class_)
        if measured is not None:
            return measured
    return PER_AGENT, "default of the guides"


def let_in(config: Config, memory: int) -> int:
    """Agents that the gate lets in on a host with ``memory`` bytes: capacity.agents; 0: they are not counted.

    With capacity.per_agent set, no more than the formula gives, also where nobody set a number: 8 GiB an agent on a
    host of 16 are one agent.
    """
    wanted, each = int(config.get("capacity", "agents")), int(config.get("capacity", "per_agent"))
    if not each:
        return wanted
    safe = safe_agents(memory, reserve(memory, config), each)
    return min(wanted, safe) if wanted else safe


def are_counted(config: Config) -> bool:
    """Whether `let_in` has a number, on whatever host."""
    return bool(config.get("capacity", "agents") or config.get("capacity", "per_agent"))


def setting(name: str, config: Config) -> str:
    """A setting of [capacity] and where it is set: ``capacity.per_agent in /r/ops/k1ctl.toml``."""
    place = name.split(".", 1)
    origin = config.origin("capacity", *place)
    name = ".".join(f'"{part}"' if ":" in part else part for part in place)  # as the file has it
    if origin == "environment":
        return f"capacity.{name}, from the environment"
    return f"capacity.{name} in {config.path}" if origin == "file" else f"capacity.{name}"


def from_history(class_: str) -> tuple[int, str] | None:
    """(what the history says to promise for a class, in bytes; how many runs it is from): p95 and 15 %, from five runs
    on; None with fewer."""
    from k1ctl.capacity import histogram

    estimate = histogram.of(class_)
    if estimate is None or estimate.confidence == "low":
        return None
    return estimate.target, f"measured: p95 of {estimate.runs} runs of class {class_}, and 15 %"


def matrix() -> list[Row]:
    """The decision matrix with the reserve that each row implies at 4 GiB an agent."""
    return [Row(memory, agents) for memory, agents in MATRIX]


def between(memory: int) -> tuple[Row | None, Row | None]:
    """The rows at or below ``memory`` and above it; the first is None below the matrix, the second beyond it."""
    rows = matrix()
    below = [row for row in rows if row.memory <= memory]
    above = [row for row in rows if row.memory > memory]
    return below[-1] if below else None, above[0] if above else None


def by_matrix(memory: int) -> tuple[int, int]:
    """(fewest, most) agents that the matrix has for ``memory`` bytes: those of its row where one is within 5 % (of 16
    GiB a system shows 15.6), else of the rows around. Below the first it is 1 or more, beyond the last it ends."""
    for size, agents in MATRIX:
        if abs(memory - size) * 20 <= size:
            return agents, agents
    below, above = between(memory)
    most = above.agents if above is not None else MATRIX[-1][1]
    return (1 if below is None else below.agents), most
