"""How many agents fit when an agent is two things: a small base, always, and a heavy phase, which takes a slot.

    base x N + heavy x slots <= RAM - reserve

One figure per agent pays for N heavy phases although the queue lets only as many run as there are slots. The gain is
there only while every heavy phase (build, test suite, browser) takes one: ``k1ctl build`` does, ``k1ctl queue run
build:web -- npm test`` and ``k1ctl capacity run`` make others do.
"""

from __future__ import annotations

from k1ctl.capacity.formula import from_history, setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config

BASE = "base"  # class of the history: peaks of agents that wait and think, without their builds
BASE_P95, BASE_P50 = 900_000_000, 660_000_000  # bytes
BASE_SOURCE = "default: 0.44 to 0.76 GB seen of waiting agents, modelled as lognormal, median 0.66 GB, p95 0.9 GB"
FIRMWARE = 11 * (1 << 30) // 10  # bytes
FIRMWARE_SOURCE = "default: 998 MB measured of make -j4 with g++, and 15 %"
HEAVY = 22 * (1 << 30) // 10  # bytes
HEAVY_SOURCE = "default: median of the heavy phases seen, which go from 0.6 to 9.6 GB; measure yours"
BURST_SOURCE = "default: median of the waiting agents seen (0.66 GB)"
_MOST = 1000  # slots of a pool that are looked at one by one
_FIRMWARE_KINDS = ("platformio",)  # kinds of targets whose builds are compilers only


class Pool:
    """The slots of one resource: ``slots`` of them, each busy one takes ``each`` bytes, which is from ``origin``."""

    __slots__ = ("each", "origin", "resource", "slots")

    def __init__(self, resource: str, slots: int, each: int, origin: str) -> None:
        self.resource, self.slots, self.each, self.origin = resource, slots, each, origin

    @property
    def total(self) -> int:
        """Bytes with all slots busy."""
        return self.slots * self.each


class Fit:
    """``agents`` that fit while ``slots`` are busy, the heaviest first, with ``heavy`` bytes. ``fits``: these are as
    many as the slots at least; fewer could not keep them busy, since an agent is in one heavy phase at a time."""

    __slots__ = ("agents", "fits", "heavy", "slots")

    def __init__(self, slots: int, heavy: int, room: int, base: int) -> None:
        self.slots, self.heavy = slots, heavy
        self.agents = max(0, (room - heavy) // max(1, base))
        self.fits = self.agents >= slots


def heavy(config: Config, resource: str) -> tuple[int, str]:
    """(bytes that one busy slot of ``resource`` takes, where the figure comes from).

    capacity.heavy."<resource>" wins; then the history of the class of that name, from five runs on; then 1.1 GiB for
    firmware, 2.2 GiB for anything else. A resource that is no ``build:*`` and has neither takes nothing of its own.
    """
    configured = int(config.get("capacity", "heavy", resource))
    if configured:
        return configured, f"configured ({setting(f'heavy.{resource}', config)})"
    measured = from_history(resource)
    if measured is not None:
        return measured
    if not resource.startswith("build:"):
        return 0, "default: nothing of its own; capacity.heavy says otherwise"
    return (FIRMWARE, FIRMWARE_SOURCE) if _is_firmware(config, resource) else (HEAVY, HEAVY_SOURCE)


def base(config: Config) -> tuple[int, str]:
    """(bytes of an agent that waits or thinks, for steady work, where the figure comes from): capacity.base, the
    history of class "base" from five runs on, or 0.9 GB."""
    configured = int(config.get("capacity", "base"))
    if configured:
        return configured, f"configured ({setting('base', config)})"
    return from_history(BASE) or (BASE_P95, BASE_SOURCE)


def burst_base(config: Config) -> tuple[int, str]:
    """As `base` for a burst, in which few agents are at their largest at the same time: capacity.base, the median of
    the history, or 0.66 GB."""
    from k1ctl.capacity import histogram

    configured = int(config.get("capacity", "base"))
    if configured:
        return configured, f"configured ({setting('base', config)})"
    estimate = histogram.of(BASE)
    if estimate is None or estimate.confidence == "low":
        return BASE_P50, BURST_SOURCE
    return estimate.p50, f"measured: median of {estimate.runs} runs of class {BASE}"


def pools(config: Config) -> list[Pool]:
    """The resources whose slots take memory, the heaviest slot first: builds of the targets, what [queue.slots] and
    [capacity.heavy] name, and the default target's build where nothing is configured."""
    names = [f"build:{target}" for target in config.names("targets")]
    names += [*config.names("queue", "slots"), *config.names("capacity", "heavy")]
    if not any(name.startswith("build:") for name in names):
        names.append(f"build:{config.get('defaults', 'target')}")
    found = [Pool(name, config.slots(name), *heavy(config, name)) for name in dict.fromkeys(names)]
    return sorted((pool for pool in found if pool.each), key=lambda pool: (-pool.each, pool.resource))


def fits(room: int, base: int, pools: list[Pool]) -> list[Fit]:
    """Agents for S = 0, 1, ... busy slots; ``room`` is RAM - reserve, ``base`` an agent's own, in bytes."""
    found, heavy = [Fit(0, 0, room, base)], 0
    for pool in pools:
        for _ in range(min(pool.slots, _MOST)):
            heavy += pool.each
            found.append(Fit(len(found), heavy, room, base))
    return found


def agents(fits: list[Fit]) -> int:
    """Agents that fit whatever they do: with all slots busy, or, where that is fewer than there are slots, so many that
    each may be in a heavy phase. Never fewer than one, which then may be one too many (`alone_fits`)."""
    if fits[-1].fits:
        return max(1, fits[-1].agents)
    return max(1, *(fit.slots for fit in fits if fit.fits))


def alone_fits(fits: list[Fit]) -> bool:
    """Whether a single agent in the heaviest phase there is has room."""
    return fits[min(1, len(fits) - 1)].agents >= 1


def _is_firmware(config: Config, resource: str) -> bool:
    """Whether builds of this resource are a compiler's: by the target's kind, else by its name."""
    target = resource.partition(":")[2]
    if target in config.names("targets"):
        return config.get("targets", target, "kind") in _FIRMWARE_KINDS
    return target == "fw" or target.startswith(("fw-", "fw:", "firmware"))
