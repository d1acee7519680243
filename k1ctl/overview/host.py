"""The host: memory that is there and that was promised, what stalls, the disk."""

from __future__ import annotations

from k1ctl.overview.parts import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.overview.parts import Sources


def look(sources: Sources) -> Part:
    """Facts: ``cores``, ``load_1m``, ``memory_bytes``, ``available_bytes``, ``used_percent``, ``promised_bytes``,
    ``limit_bytes`` that may be promised, ``promises``, ``level`` (0 calm to 4) with its ``reason`` and the watermarks
    ``admit_percent`` and ``build_percent``, ``stalled_percent`` (memory, 10 s, Linux) or ``pressure_level`` (macOS),
    and of the root's ``disk`` {total_bytes, free_bytes, used_percent} with ``stop_percent``."""
    from k1ctl.capacity import facts, levels, limits
    from k1ctl.disk import use

    host, config = facts.read(), sources.config
    level = levels.seen(host, config)
    held = [promise for promise in sources.promises if not promise.waiting]
    memory = host.pressure.get("memory") or {}
    return Part(
        facts={
            "cores": host.cores,
            "load_1m": host.load,
            "memory_bytes": host.memory,
            "available_bytes": host.available,
            "used_percent": round(host.used_percent, 1),
            "promised_bytes": sum(promise.units.get("mem", 0) for promise in held) * limits.MIB,
            "limit_bytes": limits.of(config, host).memory,
            "promises": len(held),
            "level": level.number,
            "reason": level.reason,
            **{key: level.marks.get(number) for number, key in levels.WATERMARKS.items()},
            "stalled_percent": memory.get("some_avg10"),
            "pressure_level": host.level,
            "disk": use(sources.workspace.root).document(),
            "stop_percent": config.get("disk", "stop_percent") or None,
        }
    )
