"""Builds for a monitoring stack: how they ended, how long they took, and what came from a cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.metrics import outcomes
from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

NEWEST = 20  # artifacts of a target whose steps are looked at
_known: dict[str, tuple[int, int] | None] = {}  # a manifest never changes: its steps and cache hits


def samples(workspace: Workspace) -> list[Family]:
    """Outcomes and durations since the first event; steps and cache hits of the newest artifacts of each target."""
    from k1ctl import artifacts

    steps = Family("k1_build_recent_steps", GAUGE, f"Steps of the builds of a target's {NEWEST} newest artifacts.")
    hits = Family("k1_build_recent_cache_hits", GAUGE, "Of k1_build_recent_steps, those that came from a cache.")
    base = workspace.ops_path("artifacts")
    for shelf in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        found = [each for each in map(_steps, _newest(os.path.join(base, shelf))) if each is not None]
        if found:
            target = artifacts.target_of(shelf)
            steps.add(sum(each[0] for each in found), target=target)
            hits.add(sum(each[1] for each in found), target=target)
    return [*outcomes.families(workspace, "build", "builds"), steps, hits]


def _newest(shelf: str) -> list[str]:
    """The manifests of the newest artifacts on a target's shelf."""
    from k1ctl import artifacts

    aged = []
    for name in artifacts.ids_in(shelf):
        path = os.path.join(shelf, name, artifacts.MANIFEST)
        try:
            aged.append((os.stat(path).st_mtime_ns, path))
        except OSError:
            continue
    return [path for _, path in sorted(aged, reverse=True)[:NEWEST]]


def _steps(path: str) -> tuple[int, int] | None:
    """(Steps, cache hits) of a build with a cache; None of one without."""
    if path not in _known:
        from k1ctl.files import read_json

        manifest = read_json(path)
        facts = manifest if isinstance(manifest, dict) else {}
        steps, hits = facts.get("steps"), facts.get("cache_hits")
        told = isinstance(steps, int) and isinstance(hits, int) and 0 <= hits <= steps
        if len(_known) > 1000:
            _known.clear()
        _known[path] = (steps, hits) if told and steps else None  # type: ignore[assignment]
    return _known[path]
