"""What a device runs by our own record, and what has passed a soak on it: ``ops/device/NAME.images.json``.

Written under the device's lease only: ``pending`` before a flash begins, and the rest once its outcome is known. Whose
supervisor was killed in between leaves ``pending`` behind; what became of it stands in its run's folder, and is looked
up there by whoever reads: unknown, where that is gone. {device, current, pending, soaked}: each entry is {artifact,
target, sha256, run, workspace, at, transport, outcome, verification}; ``soaked``, the last one first, has
``soak_seconds`` and ``fps_min``, too, and ``failed_since``, a state, where it was found not to do later.
"""

from __future__ import annotations

import os

from k1ctl.device.afterwards import NEEDS_USB, NOT_BACK, OK, SOAK_FAILED, WRONG_BUILD
from k1ctl.device.health import state_path
from k1ctl.files import read_json, write_json
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from k1ctl.workspace import Workspace

KEPT = 10  # images that passed a soak
_SENT: dict[str, type | tuple[type, ...]] = dict.fromkeys(
    ("artifact", "target", "sha256", "run", "workspace", "at"), str
)
_CURRENT = {**_SENT, "outcome": str, "verification": str}
_SOAKED = {**_CURRENT, "soak_seconds": (int, float), "fps_min": (int, float, type(None))}
_UNSETTLED = ("sending", "unknown")  # outcomes of a flash after which the device may run either
_FAILED = (NOT_BACK, WRONG_BUILD, NEEDS_USB, SOAK_FAILED)  # verifications of an image that did not do


def path_of(workspace: Workspace, device: str) -> str:
    """The ledger's file."""
    return state_path(workspace, device).removesuffix(".json") + ".images.json"


def read(workspace: Workspace, device: str) -> dict[str, Any]:
    """The ledger as it is now: a flash whose end nobody recorded is looked up in its run."""
    return _folded(workspace, _kept(workspace, device))


def _kept(workspace: Workspace, device: str) -> dict[str, Any]:
    """The ledger's file; what is damaged in it counts as not there, so that nothing fails for it."""
    try:
        found = read_json(path_of(workspace, device))
    except OSError:
        found = None
    found = found if isinstance(found, dict) else {}
    soaked = found.get("soaked")
    return {
        "device": device,
        "current": _sound(found.get("current"), _CURRENT),
        "pending": _sound(found.get("pending"), _SENT),
        "soaked": [entry for entry in (soaked if isinstance(soaked, list) else []) if _sound(entry, _SOAKED)],
    }


def _sound(entry: Any, fields: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any] | None:
    """``entry`` if it is one with these fields, else None."""
    good = isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in fields.items())
    return entry if good else None


def _folded(workspace: Workspace, ledger: dict[str, Any]) -> dict[str, Any]:
    """``ledger`` with what became of its pending flash."""
    pending, ledger["pending"] = ledger["pending"], None
    if pending is not None:
        _book(ledger, pending, _left(workspace.ops_path("runs", pending["run"])))
    return ledger


def _left(folder: str) -> dict[str, Any]:
    """The outcome that a run left; unknown where the run was cleaned away, or what it left is damaged."""
    path = os.path.join(folder, "flash-outcome.json")
    try:
        left = read_json(path)
        began = left is not None or os.path.exists(path) or not os.path.isdir(folder)
    except OSError:
        left, began = None, True
    return left if isinstance(left, dict) else {"outcome": "unknown"} if began else {}


def begin(workspace: Workspace, device: str, entry: Mapping[str, Any]) -> None:
    """A flash of ``entry`` is about to begin. A full disk is no reason not to flash."""
    ledger = read(workspace, device)
    ledger["pending"] = {**entry, "at": rfc3339()}
    _write(workspace, device, ledger)


def settle(workspace: Workspace, device: str, entry: Mapping[str, Any], done: Mapping[str, Any]) -> None:
    """The flash of ``entry`` ended with the outcome document ``done``."""
    ledger = _kept(workspace, device)
    pending = ledger["pending"]
    if pending is None or pending["run"] != entry["run"]:
        _folded(workspace, ledger)
    ledger["pending"] = None
    _book(ledger, {**entry, "at": rfc3339()}, done)
    _write(workspace, device, ledger)


def _book(ledger: dict[str, Any], entry: Mapping[str, Any], done: Mapping[str, Any]) -> None:
    """Note an outcome: what was refused, or never sent, changes nothing."""
    outcome = str(done.get("outcome", ""))
    if outcome != "installed" and outcome not in _UNSETTLED:
        return
    verification = done.get("verification") or {}
    state = str(verification.get("state", ""))
    word = outcome if outcome == "installed" else "unknown"
    booked = {**entry, "transport": done.get("transport", ""), "outcome": word, "verification": state}
    ledger["current"] = booked
    if failed(booked):
        sha256 = booked["sha256"]
        ledger["soaked"] = [{**e, "failed_since": state} if e["sha256"] == sha256 else e for e in ledger["soaked"]]
    soak = verification.get("soak") or {}
    if outcome == "installed" and state == OK and soak.get("seconds"):
        passed = {**booked, "soak_seconds": soak["seconds"], "fps_min": soak.get("fps_min")}
        others = [e for e in ledger["soaked"] if e.get("sha256") != booked["sha256"]]
        ledger["soaked"] = [passed, *others][:KEPT]


def _write(workspace: Workspace, device: str, ledger: Mapping[str, Any]) -> None:
    try:
        write_json(path_of(workspace, device), ledger, fsync=True)
    except OSError:
        pass  # a full disk costs the record; the flash, or its outcome, matters more


def failed(entry: Mapping[str, Any] | None) -> bool:
    """Whether an image was installed and then found not to do."""
    return entry is not None and entry.get("outcome") == "installed" and entry.get("verification") in _FAILED


def good(ledger: Mapping[str, Any]) -> dict[str, Any] | None:
    """The image to go back to: the last one that passed its soak, but not one that has since been found not to do."""
    return next((entry for entry in ledger["soaked"] if not entry.get("failed_since")), None)


def runs(ledger: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether the device runs the image of ``entry``, as far as the ledger knows."""
    current = ledger["current"]
    same = current is not None and current["outcome"] == "installed" and current["sha256"] == entry["sha256"]
    return same and not failed(current)
