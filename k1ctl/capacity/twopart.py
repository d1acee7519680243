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
_FIRMWARE_KINDS = ("platformio",)  # kinds of targets whose builds are compilers only


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


def _is_firmware(config: Config, resource: str) -> bool:
    """Whether builds of this resource are a compiler's: by the target's kind, else by its name."""
    target = resource.partition(":")[2]
    if target in config.names("targets"):
        return config.get("targets", target, "kind") in _FIRMWARE_KINDS
    return target == "fw" or target.startswith(("fw-", "fw:", "firmware"))
