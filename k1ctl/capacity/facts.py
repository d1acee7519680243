"""What the host has and how it fares: cores, memory, swap, stall. Read anew at each call, or from a file of facts.

``K1CTL_FACTS`` names a JSON file (the document that `Facts.document` gives) that stands in for this host: for asking
what another host could carry, and for tests.
"""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FACTS = "K1CTL_FACTS"  # environment: a file of facts instead of this host's


class Facts:
    """One look at the host. Sizes in bytes; None where the system does not tell.

    ``system`` (linux, macos), ``cores``, ``memory`` and ``available`` (what can be had without swapping), ``swap`` and
    ``swap_used``, ``load`` (1 minute), ``pressure`` {memory|cpu|io: {some_avg10, some_avg60, full_avg10, full_avg60 in
    percent, some_total_us, full_total_us}} (Linux PSI), ``level`` (normal, warn, critical: macOS's own), ``thermal``
    (nominal, moderate, heavy, trapping, sleeping), ``oom_kills`` and ``swapped_out_pages`` (counters since boot),
    ``gpus`` [{name, memory_bytes, used_bytes}], ``origin``: this host's reader, or the file.
    """

    __slots__ = (
        "available",
        "cores",
        "gpus",
        "level",
        "load",
        "memory",
        "oom_kills",
        "origin",
        "pressure",
        "swap",
        "swap_used",
        "swapped_out_pages",
        "system",
        "thermal",
    )

    def __init__(
        self,
        system: str,
        cores: int,
        memory: int,
        available: int,
        *,
        swap: int = 0,
        swap_used: int = 0,
        load: float | None = None,
        pressure: dict[str, dict[str, float]] | None = None,
        level: str | None = None,
        thermal: str | None = None,
        oom_kills: int | None = None,
        swapped_out_pages: int | None = None,
        gpus: list[dict[str, Any]] | None = None,
        origin: str = "",
    ) -> None:
        self.system, self.cores, self.memory, self.available = system, cores, memory, available
        self.swap, self.swap_used, self.load, self.pressure = swap, swap_used, load, pressure or {}
        self.level, self.thermal, self.oom_kills, self.swapped_out_pages = level, thermal, oom_kills, swapped_out_pages
        self.gpus, self.origin = gpus or [], origin or system

    @property
    def used(self) -> int:
        """Bytes of memory that cannot be had without swapping."""
        return max(0, self.memory - self.available)

    @property
    def used_percent(self) -> float:
        return 100.0 * self.used / self.memory if self.memory else 0.0

    def document(self) -> dict[str, Any]:
        """The facts as JSON, with the unit in each key."""
        return {
            "system": self.system,
            "cores": self.cores,
            "memory_bytes": self.memory,
            "available_bytes": self.available,
            "swap_bytes": self.swap,
            "swap_used_bytes": self.swap_used,
            "load_1m": self.load,
            "pressure": self.pressure or None,
            "pressure_level": self.level,
            "thermal": self.thermal,
            "oom_kills": self.oom_kills,
            "swapped_out_pages": self.swapped_out_pages,
            "gpus": self.gpus,
            "origin": self.origin,
        }


def from_document(document: Mapping[str, Any], origin: str = "") -> Facts:
    """The facts of a document as `Facts.document` gives it; only cores and memory_bytes must be there.

    Without available_bytes all memory is. Raises ValueError, KeyError, TypeError for a wrong one.
    """
    memory = int(document["memory_bytes"])
    return Facts(
        str(document.get("system") or "linux"),
        int(document["cores"]),
        memory,
        int(document.get("available_bytes", memory)),
        swap=int(document.get("swap_bytes") or 0),
        swap_used=int(document.get("swap_used_bytes") or 0),
        load=document.get("load_1m"),
        pressure=document.get("pressure"),
        level=document.get("pressure_level"),
        thermal=document.get("thermal"),
        oom_kills=document.get("oom_kills"),
        swapped_out_pages=document.get("swapped_out_pages"),
        gpus=document.get("gpus"),
        origin=origin or str(document.get("origin") or ""),
    )


def read(*, gpus: bool = False, environ: Mapping[str, str] | None = None) -> Facts:
    """The facts now; ``gpus``: ask nvidia-smi as well, which takes a process. Raises ConfigError, OSError."""
    env = os.environ if environ is None else environ
    path = env.get(FACTS)
    if path:
        return _from_file(path)
    if os.path.exists("/proc/meminfo"):
        from k1ctl.capacity import facts_linux

        return facts_linux.read()
    from k1ctl.capacity import facts_macos

    return facts_macos.read()


def _from_file(path: str) -> Facts:
    from k1ctl.jsontext import loads

    try:
        with open(path, encoding="utf-8") as f:
            return from_document(loads(f.read()), origin=path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}", code="bad-facts") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(
            f"{path} is no file of facts: {type(exc).__name__}: {exc}",
            hint='it is JSON with at least {"cores": 14, "memory_bytes": 51539607552}',
            code="bad-facts",
        ) from exc
