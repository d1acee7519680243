"""The host for a monitoring stack: memory, what stalls, the load, and the disk of the root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.metrics import shared
from k1ctl.samples import COUNTER, GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.capacity.facts import Facts
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def samples(workspace: Workspace, config: Config) -> list[Family]:
    """What the host tells of itself at this moment. Raises ConfigError, OSError."""
    facts = shared.facts()
    found = [
        Family("k1_host_cores", GAUGE, "Cores that may be used.").add(facts.cores),
        Family("k1_host_memory_bytes", GAUGE, "Memory of the host, or of the container around.").add(facts.memory),
        Family("k1_host_memory_available_bytes", GAUGE, "Memory to be had without swapping.").add(facts.available),
        Family("k1_host_memory_used_ratio", GAUGE, "Share of the memory that is in use.").add(
            round(facts.used_percent / 100, 4)
        ),
        Family("k1_host_swap_used_bytes", GAUGE, "Swap in use.").add(facts.swap_used),
        _watermark(facts, config),
        _stall(facts),
    ]
    load = Family("k1_host_load", GAUGE, "Load of the last minute.")
    kills = Family("k1_host_oom_kills", COUNTER, "Processes killed for want of memory, since boot.")
    for family, figure in ((load, facts.load), (kills, facts.oom_kills)):
        if figure is not None:
            family.add(figure)
    return [*found, load, kills, *_disk(workspace)]


def _watermark(facts: Facts, config: Config) -> Family:
    """By this look alone: k1ctl's own watermark needs two, and keeps them (`k1ctl.capacity.levels.now`)."""
    from k1ctl.capacity import levels

    marks = {number: config.get("capacity", key) for number, key in levels.WATERMARKS.items()}
    passed = [n for n, mark in marks.items() if mark and (facts.used_percent >= mark or levels.told(facts) >= n)]
    about = "Watermark of memory passed: 0 none, 1 no agent is let in, 2 builds wait, 3 runs pause, 4 runs are ended."
    return Family("k1_host_memory_level", GAUGE, about).add(max(passed, default=levels.CALM))


def _stall(facts: Facts) -> Family:
    family = Family(
        "k1_host_stalled_ratio",
        GAUGE,
        "Share of the last minute in which some or all work waited for it (PSI).",
    )
    for resource, figures in sorted((facts.pressure or {}).items()):
        for share in ("some", "full"):
            value = figures.get(f"{share}_avg60")
            if value is not None:
                family.add(round(float(value) / 100, 6), resource=resource, share=share)
    return family


def _disk(workspace: Workspace) -> list[Family]:
    from k1ctl.disk import use

    now = use(workspace.root)
    size = Family("k1_disk_size_bytes", GAUGE, "Size of the disk of the root.").add(now.total)
    free = Family("k1_disk_free_bytes", GAUGE, "Free on the disk of the root, for who is no superuser.").add(now.free)
    used = Family("k1_disk_used_ratio", GAUGE, "Share of the disk of the root that is used.").add(now.percent / 100)
    return [size, free, used]
