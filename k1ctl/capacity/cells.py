"""The cells of a stress matrix: which there are, in what order, which need not run, and when one must stop.

Pure: all it knows of the host are the `Facts` it is given.
"""

from __future__ import annotations

from typing import NamedTuple

from k1ctl.errors import UsageError
from k1ctl.units import format_size, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from k1ctl.capacity.facts import Facts

UNLIMITED = "unlimited"
SWAP_PERCENT = 50  # of the swap: above it the host is no longer measured but suffers
STALL_PERCENT = 10  # of a cell's time in which every runnable process waited for memory (PSI full)
DISK_PERCENT = 10  # free of the disk: below it nothing more is written
SETTLED = 5.0  # s: in a shorter time one hiccup is 10 % of it
_MOST = 1000  # agents


class Cell(NamedTuple):
    """``agents`` copies at once, each limited to ``memory`` bytes and ``cpus`` cores (0.0: unlimited)."""

    agents: int
    memory: int
    cpus: float

    @property
    def name(self) -> str:
        """As in ``4x2G-0.5cpu``, or ``4x2G`` with all cores; good for a file."""
        return f"{self.agents}x{size_word(self.memory)}" + (f"-{self.cpus:g}cpu" if self.cpus else "")

    @property
    def limits(self) -> tuple[int, float]:
        return self.memory, self.cpus

    def document(self) -> dict[str, Any]:
        return {"agents": self.agents, "memory_bytes": self.memory, "cpus": self.cpus or None}


class Limits(NamedTuple):
    """What a cell may take: ``room`` bytes in all; stops when less than ``reserve`` bytes are available."""

    room: int
    reserve: int


class Look(NamedTuple):
    """The host while a cell runs: ``elapsed`` seconds since it began, copies that ran out of memory until now
    (``ooms``, of those ``host_ooms`` killed by the host without having met their limit), free percent of the disk.
    ``ended``: the last look, after all copies are gone. ``failed``: copies that failed, for no want of memory known."""

    facts: Facts
    elapsed: float
    ooms: int
    host_ooms: int
    disk_percent: float
    ended: bool = False
    failed: int = 0


class Stop(NamedTuple):
    """Why a cell was stopped: ``rule`` (oom, host-oom, disk, swap, available, stall), the number and its limit."""

    rule: str
    value: float
    limit: float
    text: str

    @property
    def final(self) -> bool:
        """Whether nothing else can run either."""
        return self.rule == "disk"


class Outcome(NamedTuple):
    """What a finished cell says about others: why it was stopped; ``late``: every run was past the timeout."""

    cell: Cell
    stop: Stop | None
    late: bool = False


def matrix(agents: Iterable[int], memory: Iterable[int], cpus: Iterable[float]) -> list[Cell]:
    """Every combination, smallest first: by agents, then memory, then cores with the unlimited last."""
    cells = {Cell(n, m, c) for n in agents for m in memory for c in cpus}
    return sorted(cells, key=lambda cell: (cell.agents, cell.memory, _cores(cell.cpus)))


def jobs_of(agents: int, jobs: int, repeat: int) -> int:
    """Runs in a cell: ``repeat`` for each copy, else ``jobs`` or two a copy, whichever is more, in whole rounds.

    A last round with fewer copies than the others would make the throughput look smaller than it is.
    """
    return agents * (repeat or max(2, -(-jobs // agents)))


def without_room(cell: Cell, limits: Limits) -> str:
    """Why the host cannot hold the cell at all; "" when it can."""
    if cell.agents * cell.memory <= limits.room:
        return ""
    wanted = f"{cell.agents} x {format_size(cell.memory)} = {format_size(cell.agents * cell.memory)}"
    return (
        f"{wanted} of memory; {format_size(limits.room)} can be had beside the reserve of {format_size(limits.reserve)}"
    )


def pruned(cell: Cell, limits: Limits, finished: Iterable[Outcome]) -> str:
    """Why the cell need not run; "" when it must.

    A copy that ran out of its own limit does so with a smaller one, and in larger company. What the host suffered it
    suffers again from no fewer copies with no smaller limits, and where it killed one, from no fewer with any. What
    takes too long takes no less time with less.
    """
    reason = without_room(cell, limits)
    if reason:
        return reason
    for other, stop, late in finished:
        larger = other.memory >= cell.memory and _cores(other.cpus) >= _cores(cell.cpus) and other != cell
        if late and larger and other.agents <= cell.agents:
            return f"every run was past the timeout at {other.name}"
        smaller = other.agents <= cell.agents and _cores(other.cpus) <= _cores(cell.cpus)
        if stop is None or not smaller or other == cell:
            continue
        if stop.rule == "host-oom":
            return f"the host ran out of memory at {other.name}"
        if stop.rule == "oom" and other.memory >= cell.memory:
            return f"out of memory at {other.name}, which has no more agents and no smaller limit"
        if stop.rule not in ("oom", "disk") and other.memory <= cell.memory:
            return f"{other.name} was stopped: {stop.text}"
    return ""


def stop(before: Facts, look: Look, limits: Limits) -> Stop | None:
    """The first rule that a look at the host breaks, with its number; None while there is none.

    Arguments: ``before`` are the facts as the cell began; for a look before that, the same facts with ``elapsed`` 0.
    """
    facts = look.facts
    # the kernel counts the kills of every limit on the host, too: others' while all of ours went well
    kills = _more(before.oom_kills, facts.oom_kills) if look.ended and look.failed and not look.ooms else 0
    if look.host_ooms or kills:
        count = max(look.host_ooms, kills)
        return Stop("host-oom", count, 0, f"the host killed {count} for want of memory")
    if look.ooms:
        return Stop("oom", look.ooms, 0, f"{look.ooms} ran out of the memory of its limit")
    if look.disk_percent < DISK_PERCENT:
        text = f"{look.disk_percent:.1f} % of the disk is free; the limit is {DISK_PERCENT} %"
        return Stop("disk", round(look.disk_percent, 1), DISK_PERCENT, text)
    swap = swap_percent(facts)
    if swap > SWAP_PERCENT:
        text = f"{swap:.0f} % of the swap is used; the limit is {SWAP_PERCENT} %"
        return Stop("swap", round(swap, 1), SWAP_PERCENT, text)
    if facts.available < limits.reserve:
        had, least = format_size(facts.available), format_size(limits.reserve)
        return Stop(
            "available", facts.available, limits.reserve, f"{had} of memory is available; the reserve is {least}"
        )
    stalled = stall_percent(before, facts, look.elapsed, "full")
    if stalled is not None and stalled > STALL_PERCENT and (look.ended or look.elapsed >= SETTLED):
        text = f"everything waited for memory {stalled:.0f} % of the time; the limit is {STALL_PERCENT} %"
        return Stop("stall", round(stalled, 1), STALL_PERCENT, text)
    return None


def swap_percent(facts: Facts) -> float:
    """Percent of the swap that is used; on macOS, which adds swap files as it needs them (dynamic_pager(8)), of what
    there is or of the memory, whichever is more: a share of the files that are there says nothing."""
    swap = max(facts.swap, facts.memory) if facts.system == "macos" else facts.swap
    return 100.0 * facts.swap_used / swap if swap else 0.0


def stall_percent(before: Facts, after: Facts, seconds: float, kind: str) -> float | None:
    """Percent of ``seconds`` in which some or all (``kind`` some, full) processes waited for memory (PSI totals, so
    nothing is missed between two looks); None where the host does not tell."""
    key = f"{kind}_total_us"
    first, last = before.pressure.get("memory", {}).get(key), after.pressure.get("memory", {}).get(key)
    if first is None or last is None or seconds <= 0:
        return None
    return max(0.0, (last - first) / 1e4 / seconds)


def parse_agents(text: str) -> list[int]:
    """``1,2,4`` as numbers of agents. Raises UsageError."""
    return _list("--agents", text, _count, "1,2,4,6,8")


def parse_memory(text: str) -> list[int]:
    """``2G,512M`` as bytes. Raises UsageError: a copy without a limit can take the host with it."""
    return _list("--mem", text, _size, "2G,4G,6G,8G")


def parse_cpus(text: str) -> list[float]:
    """``0.5,1,unlimited`` as cores, 0.0 for unlimited. Raises UsageError."""
    return _list("--cpu", text, _cpu, "0.5,1,2,unlimited")


def size_word(size: int) -> str:
    """Bytes as `parse_size` reads them without loss: ``2G``, ``1536M``."""
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def cpu_word(cpus: float) -> str:
    """Cores as `parse_cpus` reads them."""
    return f"{cpus:g}" if cpus else UNLIMITED


def _cores(cpus: float) -> float:
    return cpus or float("inf")


def _more(before: int | None, after: int | None) -> int:
    return max(0, after - before) if before is not None and after is not None else 0


def _list(option: str, text: str, parse: Callable[[str], Any], example: str) -> list[Any]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{option} names nothing", hint=f"as in {option} {example}")
    try:
        return sorted({parse(word) for word in words}, key=lambda v: v or float("inf"))
    except ValueError as exc:
        raise UsageError(f"{option}: {exc}", hint=f"as in {option} {example}") from None


def _count(word: str) -> int:
    if not (word.isascii() and word.isdigit() and 0 < int(word) <= _MOST):
        raise ValueError(f"{word!r} is no number of agents from 1 to {_MOST}")
    return int(word)


def _size(word: str) -> int:
    if word == UNLIMITED:
        raise ValueError("a copy without a limit can take the host with it; name a size")
    size = parse_size(word)
    if size < 1 << 20:
        raise ValueError(f"{word!r} is less than a program takes; write 512M or 2G")
    return size


def _cpu(word: str) -> float:
    if word == UNLIMITED:
        return 0.0
    try:
        cpus = float(word)
    except ValueError:
        cpus = -1.0
    if not 0.01 <= cpus < 10_000:
        raise ValueError(f"{word!r} is no number of cores; write 0.5, 2 or {UNLIMITED}")
    return cpus
