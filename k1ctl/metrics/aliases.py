"""The names of the annexes, made of the same figures: Annex B's metrics and Annex C's ``conductor_*``.

A figure that is not known has no sample: an alias is never a guess.
"""

from __future__ import annotations

from k1ctl.metrics.cardinality import merged
from k1ctl.samples import GAUGE, Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from k1ctl.config import Config

    Families = Mapping[str, Family]

PRESENT = ("running", "waiting", "active")  # statuses of a workspace in which somebody works
# in the order of Annex B: name, what it is
ANNEX_B = {
    "workspace_count_active": "Workspaces that run, wait, or did something lately.",
    "device_upload_queue_length": "Tickets that wait for a device.",
    "build_cache_hit_rate": "Share of the newest builds' steps that came from a cache.",
    "agent_success_rate": "Share of builds, uploads and tests that went well, lately.",
    "mean_time_to_upload": "Mean seconds from asking for an upload to the device's OK, lately.",
    "mean_time_to_compile": "Mean seconds that a build took, lately.",
    "render_fps_min": "Frames a second of the slowest device that answered.",
    "render_fps_target": "Frames a second that a device is to reach ([metrics] fps_target).",
}
DURATIONS = ("mean_time_to_upload", "mean_time_to_compile")
AGENTS = ("build", "upload", "test")  # what counts for agent_success_rate


def figures(families: Families, config: Config) -> dict[str, float | None]:
    """{name of Annex B: its figure}, None where it is not known."""
    known: dict[str, Callable[[], float | None]] = {
        "workspace_count_active": lambda: _sum(families, "k1_workspaces", status=PRESENT),
        "device_upload_queue_length": lambda: _waiting(families),
        "build_cache_hit_rate": lambda: _share(
            _sum(families, "k1_build_recent_cache_hits"), _sum(families, "k1_build_recent_steps")
        ),
        "agent_success_rate": lambda: success(families),
        "mean_time_to_upload": lambda: _sum(families, "k1_recent_mean_seconds", kind=("upload",)),
        "mean_time_to_compile": lambda: _sum(families, "k1_recent_mean_seconds", kind=("build",)),
        "render_fps_min": lambda: _least(families, "k1_device_fps"),
        "render_fps_target": lambda: float(config.get("metrics", "fps_target")) or None,
    }
    return {name: known[name]() for name in ANNEX_B}


def of(families: Families, config: Config) -> list[Family]:
    """The aliases of what the plugins told."""
    values = figures(families, config)
    found = []
    for name, value in values.items():
        if value is not None:
            found.append(Family(name, GAUGE, ANNEX_B[name]).add(value))
    workspaces = Family("conductor_workspace_count", GAUGE, "Workspaces by what they do: k1_workspaces.")
    workspaces.samples = [*families["k1_workspaces"].samples] if "k1_workspaces" in families else []
    found.append(workspaces)
    runs = [("k1_run_duration_seconds", ""), ("k1_build_duration_seconds", ":build")]
    runs.append(("k1_upload_duration_seconds", ":upload"))
    there = [(families[name], suffix) for name, suffix in runs if name in families]
    found.append(merged(there, "conductor_run_duration_seconds", "How long runs took, by run target."))
    for name in ("device_upload_queue_length", "agent_success_rate"):
        value = values[name]
        if value is not None:
            found.append(Family(f"conductor_{name}", GAUGE, ANNEX_B[name]).add(value))
    return found


def document(families: Families, config: Config) -> dict[str, Any]:
    """Annex B's JSON: its keys, durations as text in seconds (``"45s"``), null for what is not known."""
    values = figures(families, config)
    return {name: _told(name, value) for name, value in values.items()}


def _told(name: str, value: float | None) -> Any:
    if value is None:
        return None
    if name in DURATIONS:
        return f"{value:.0f}s" if value >= 10 else f"{value:.1f}s"
    return round(value, 4) if value != int(value) else int(value)


def success(families: Families) -> float | None:
    """Good outcomes' share of good and bad ones."""
    good = _sum(families, "k1_recent_outcomes", kind=AGENTS, verdict=("good",))
    bad = _sum(families, "k1_recent_outcomes", kind=AGENTS, verdict=("bad",))
    return None if good is None or bad is None else _share(good, good + bad)


def _sum(families: Families, name: str, **wanted: tuple[str, ...]) -> float | None:
    if name not in families:
        return None
    rows = families[name].samples
    found = [value for labels, value in rows if all(labels.get(key) in texts for key, texts in wanted.items())]
    return float(sum(found)) if found else None


def _waiting(families: Families) -> float | None:
    if "k1_queue_waiting" not in families:
        return None
    rows = families["k1_queue_waiting"].samples
    return float(sum(value for labels, value in rows if labels.get("resource", "").startswith("device:")))


def _least(families: Families, name: str) -> float | None:
    return min((value for _, value in families[name].samples), default=None) if name in families else None


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
