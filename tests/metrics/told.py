"""A repository in which something happened, and what its plugins tell of it."""

from __future__ import annotations

import json
import time

from k1ctl.config import load
from k1ctl.metrics.gathering import Gathered, gather
from k1ctl.plugins import Plugins
from k1ctl.units import rfc3339
from tests.kit import Project

CONFIGURATION = """
[devices.k1]
host = "127.0.0.1"
http_port = 1
fps_min = 120
[targets.fw]
kind = "platformio"
[budget]
day = "1M"
[budget.providers.acme]
models = ["a"]
"""


def event(name: str, age: float, **fields: object) -> str:
    """A line of an events file, of so many seconds ago."""
    return json.dumps({"at": rfc3339(time.time() - age), "event": name, "workspace": "oslo", **fields}) + "\n"


def lived(project: Project) -> Project:
    """A configured device that answered, builds and uploads, an artifact with cache hits, a worktree."""
    project.configure(CONFIGURATION)
    ended = {"target": "fw", "seconds": 90.0}
    builds = [event("build.finished", 600 - n, run=f"b{n}", exit_code=int(n == 3), **ended) for n in range(4)]
    uploads = [
        event("queue.granted", 300, run="u1", resources={"device:k1": 1}, wait_seconds=5.0),
        event("upload.finished", 260, run="u1", target="fw", outcome="installed", code="installed", soak_seconds=0.0),
        event("queue.granted", 200, run="u2", resources={"device:k1": 1}, wait_seconds=0.0),
        event("upload.finished", 190, run="u2", target="fw", outcome="refused", code="image-refused", exit_code=65),
    ]
    day = rfc3339()[:10]
    project.write(f"ops/events/{day}.jsonl", "".join([*builds, *uploads]))
    manifest = {"id": "0" * 16, "image": "f", "sha256": "0", "files": {"f": {"bytes": 1, "sha256": "0"}}}
    told = json.dumps({**manifest, "steps": 40, "cache_hits": 30})
    project.write(f"ops/artifacts/fw/{manifest['id']}/manifest.json", told)
    info = {"outcome": "answered", "document": {"device": "K1.reinvented", "uptime_ms": 60_000}}
    health = {"fps": 148.5, "memory_free_kb": 165, "wifi": {"rssi": -48}, "uptime_ms": 60_000}
    answers = {"/api/device/info": info, "/api/health": {"outcome": "answered", "document": health}}
    record = {"device": "k1", "host": "127.0.0.1", "http_port": 1, "wall": time.time(), "answers": answers}
    project.write("ops/device/k1.json", json.dumps(record))
    return project


def gathered(project: Project, *, aliases: bool | None = None, plugins: Plugins | None = None) -> Gathered:
    """What all plugins tell."""
    workspace = project.facts()
    return gather(plugins or Plugins(), workspace, load(workspace), aliases=aliases)


def value(found: Gathered, family: str, /, **labels: str) -> float | None:
    """The sample of a family with just these labels."""
    rows = [value for given, value in found.family(family).samples if given == labels]
    return rows[0] if rows else None
