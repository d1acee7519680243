"""A repository whose uploads go to a device that is simulated, for the tests that flash."""

from __future__ import annotations

import hashlib
import json
import threading
import weakref
from pathlib import Path
from typing import Any

from k1ctl import artifacts
from k1ctl.artifacts import Artifact
from k1ctl.simulator.device import Device
from k1ctl.simulator.ota import _Update
from k1ctl.testing import SimulatedDevice
from tests.device.fakes import make_image
from tests.kit import Project

# Short waits, but long enough for a machine that is busy with other tests.
OTA: dict[str, float] = {
    "attempts": 3,
    "attempt_timeout": 30,
    "retry_delay": 0.1,
    "idle_timeout": 5,
    "invitations": 10,
    "invitation_interval": 0.5,
}
_FACTS = {"commit": None, "dirty": None, "environment": "", "tools": {}, "seconds": None, "run": ""}


def firmware(marker: str, size: int = 40_000, chip: str = "esp32s3") -> bytes:
    """A valid image of about ``size`` bytes that no other marker gives."""
    seed = hashlib.sha256(marker.encode()).digest()
    return make_image([marker.encode() + seed * (size // len(seed))], chip)


def sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


def hold(device: SimulatedDevice, gate: threading.Event) -> None:
    """Where a fault (pace, stall) lets the device pause, it pauses until ``gate`` is set: a stage lasts as needed."""
    _GATES[device.device] = gate


def _wait(update: _Update, seconds: float) -> None:
    if update.device in _GATES:
        _GATES[update.device].wait(60)
    _PAUSE(update, seconds)


_GATES: weakref.WeakKeyDictionary[Device, threading.Event] = weakref.WeakKeyDictionary()
_PAUSE = _Update._sleep
_Update._sleep = _wait  # type: ignore[method-assign]


def configure(project: Project, *devices: SimulatedDevice | str, target: str = "", more: str = "", **ota: float) -> str:
    """Write ``ops/k1ctl.toml`` with the target ``fw``, the devices (sections as text, or simulated ones as k1, k2, ...)
    and the rules of an upload; returns the text."""
    lines = [more, "[targets.fw]", target, "[ota]", *(f"{key} = {value}" for key, value in {**OTA, **ota}.items())]
    for number, device in enumerate(devices, 1):
        lines.append(device if isinstance(device, str) else device.toml(f"k{number}") + "probe_timeout = 5\n")
    text = "\n".join(lines) + "\n"
    project.configure(text)
    return text


def keep(project: Project, image: bytes, tree: Path | None = None) -> Artifact:
    """Store ``image`` as what a build in ``tree`` (default: the root) made last."""
    source = project.root.parent / f"{sha256(image)[:12]}.bin"
    source.write_bytes(image)
    return artifacts.store(project.facts(tree), "fw", {"firmware.bin": str(source)}, _FACTS)


def error_of(project: Project, exit_code: int, *args: str, **kwargs: Any) -> dict[str, Any]:
    """The error document of an upload that must fail with this exit code."""
    error: dict[str, Any] = project.run("upload", *args, "--json", **kwargs).assert_fails(exit_code).json["error"]
    assert error["exit_code"] == exit_code
    return error


def runs(project: Project, workspace: str = "", kind: str = "upload") -> list[dict[str, Any]]:
    """The records of runs, oldest first; every one must be whole JSON. ``folder`` is added."""
    found = []
    for path in sorted((project.ops / "runs").glob("*/run.json")):
        record = json.loads(path.read_text())
        if record["kind"] == kind and workspace in ("", record["workspace"]):
            found.append({**record, "folder": path.parent})
    return found


def left_word(run: dict[str, Any]) -> dict[str, Any]:
    """What the flash worker of a run wrote last; {} when nothing. It must be whole JSON."""
    path = run["folder"] / "flash-outcome.json"
    try:
        word: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return word


def overlaps(flashes: list[dict[str, Any]]) -> int:
    """How many of a device's flashes began before the one before them had ended."""
    ordered = sorted(flashes, key=lambda f: f["start"])
    return sum(
        later["start"] < max(f["end"] for f in ordered[:number]) for number, later in enumerate(ordered) if number
    )
