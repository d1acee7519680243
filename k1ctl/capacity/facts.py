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
_LEAST = 'it is JSON with at least {"cores": 14, "memory_bytes": 51539607552}'


class Facts:
    """One look at the host. Sizes in bytes; None where the system does not tell.

    ``system`` (linux, macos), ``cores``, ``memory`` and ``available`` (what can be had without swapping), ``swap`` and
    ``swap_used``, ``load`` (1 minute), ``pressure`` {memory|cpu|io: {some_avg10, some_avg60, full_avg10, full_avg60 in
    percent, some_total_us, full_total_us}} (Linux PSI), ``level`` (normal, warn, critical: macOS's own), ``thermal``
    (nominal, moderate, heavy, trapping, sleeping) and ``celsius`` (the hottest place), both only when asked for,
    ``oom_kills`` and ``swapped_out_pages`` (counters since boot), ``gpus`` [{name, memory_bytes, used_bytes}] when
    asked for (`k1ctl.capacity.gpu`), ``container`` {version, path, memory_bytes, used_bytes, cpus}: the limits around
    this process, by which the other figures are reduced already, ``origin``: this host's system, or the file.
    """

    __slots__ = (
        "available",
        "celsius",
        "container",
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
        celsius: float | None = None,
        oom_kills: int | None = None,
        swapped_out_pages: int | None = None,
        gpus: list[dict[str, Any]] | None = None,
        container: dict[str, Any] | None = None,
        origin: str = "",
    ) -> None:
        self.system, self.cores, self.memory, self.available = system, cores, memory, available
        self.swap, self.swap_used, self.load, self.pressure = swap, swap_used, load, pressure or {}
        self.level, self.thermal, self.celsius = level, thermal, celsius
        self.oom_kills, self.swapped_out_pages = oom_kills, swapped_out_pages
        self.gpus, self.container, self.origin = gpus or [], container, origin or system

    @property
    def used(self) -> int:
        """Bytes of memory that cannot be had without swapping."""
        return max(0, self.memory - self.available)

    @property
    def used_percent(self) -> float:
        return 100.0 * self.used / self.memory if self.memory else 0.0

    def with_free(self, memory: int) -> Facts:
        """The same host when so many more bytes of memory are free."""
        from copy import copy

        after = copy(self)
        after.available = min(self.memory, self.available + memory)
        return after

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
            "celsius": self.celsius,
            "oom_kills": self.oom_kills,
            "swapped_out_pages": self.swapped_out_pages,
            "gpus": self.gpus,
            "container": self.container,
            "origin": self.origin,
        }


def from_document(document: Mapping[str, Any], origin: str = "") -> Facts:
    """The facts of a document as `Facts.document` gives it; only cores and memory_bytes must be there.

    Without available_bytes all memory is. Raises KeyError for what is missing, ValueError, TypeError and
    AttributeError for what is wrong.
    """
    if not isinstance(document, dict):
        raise ValueError("it has no object")
    memory, cores = _count(document, "memory_bytes"), _count(document, "cores")
    if not memory or not cores:
        raise ValueError("a host has memory and at least one core")
    swap = _count(document, "swap_bytes", 0)
    return Facts(
        _word(document, "system") or "linux",
        cores,
        memory,
        min(memory, _count(document, "available_bytes", memory)),
        swap=swap,
        swap_used=min(swap, _count(document, "swap_used_bytes", 0)),
        load=_figure(document, "load_1m"),
        pressure={
            str(kind): {str(key): _figure(figures, key) or 0.0 for key in figures}
            for kind, figures in (document.get("pressure") or {}).items()
        },
        level=_word(document, "pressure_level"),
        thermal=_word(document, "thermal"),
        celsius=_figure(document, "celsius"),
        oom_kills=_count(document, "oom_kills", None),
        swapped_out_pages=_count(document, "swapped_out_pages", None),
        gpus=[
            {
                **gpu,
                "name": _word(gpu, "name") or "GPU",
                "memory_bytes": _count(gpu, "memory_bytes", 0),
                "used_bytes": _count(gpu, "used_bytes", None),
            }
            for gpu in document.get("gpus") or []
        ],
        container=None if document.get("container") is None else dict(document["container"]),
        origin=origin or _word(document, "origin") or "",
    )


_MISSING = object()


def _count(document: Mapping[str, Any], key: str, default: Any = _MISSING) -> Any:
    """A whole number of 0 or more; ``default`` where there is none. Raises KeyError, ValueError."""
    value = document[key] if default is _MISSING else document.get(key)
    if value is None and default is not _MISSING:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 63 or value % 1:
        raise ValueError(f"{key} is no whole number: {value!r}")
    return int(value)


def _figure(document: Mapping[str, Any], key: str) -> float | None:
    value = document.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        raise ValueError(f"{key} is no figure: {value!r}")
    return value


def _word(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} is no word: {value!r}")
    return value


def read(*, gpus: bool = False, thermal: bool = False, environ: Mapping[str, str] | None = None) -> Facts:
    """The facts now, in 0.3 ms at most. ``gpus``: ask nvidia-smi as well, which takes a process and seconds;
    ``thermal``: and how hot it is, which may take some milliseconds. Raises ConfigError, OSError."""
    env = os.environ if environ is None else environ
    path = env.get(FACTS)
    if path:
        return from_file(path)
    if os.path.exists("/proc/meminfo"):
        from k1ctl.capacity import facts_linux

        facts = facts_linux.read(thermal=thermal)
    else:
        from k1ctl.capacity import facts_macos

        facts = facts_macos.read(thermal=thermal)
    if gpus:
        from k1ctl.capacity import gpu

        facts.gpus = gpu.read()
    return facts


def from_file(path: str) -> Facts:
    """The facts of a file, whose ``origin`` is its path. Raises ConfigError (bad-facts)."""
    from k1ctl.jsontext import loads

    try:
        with open(path, encoding="utf-8") as f:
            return from_document(loads(f.read()), origin=path)
    except OSError as exc:
        hint = "k1ctl host health --json | jq .facts prints such a file"
        raise ConfigError(f"{path} cannot be read: {exc.strerror}", hint=hint, code="bad-facts") from exc
    except KeyError as exc:
        raise ConfigError(
            f"{path} is no file of facts: {exc.args[0]} is missing", hint=_LEAST, code="bad-facts"
        ) from exc
    except (TypeError, AttributeError) as exc:
        text = f"{path} is no file of facts: an object or a list in it is something else"
        raise ConfigError(text, hint=_LEAST, code="bad-facts") from exc
    except (ValueError, OverflowError) as exc:
        raise ConfigError(f"{path} is no file of facts: {exc}", hint=_LEAST, code="bad-facts") from exc
