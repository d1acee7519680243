"""The health of a configured device, once or until it is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.device import health as engine
from k1ctl.device.verdict import CODES, HEALTH, INFO, ONLINE, Verdict, judge
from k1ctl.errors import BusyError
from k1ctl.output import LiveLine
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


class Health:
    """A device's settings, the record of the probe that answered, the verdict on it, and, where that is not online,
    who holds the device in the queue: it may be he who has it restart."""

    def __init__(self, device: dict[str, Any], record: dict[str, Any]) -> None:
        self.device, self.record = device, record
        self.verdict: Verdict = judge(record, device)
        self.holder: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints; with an ``error`` of the usual shape unless the device is online."""
        verdict, record = self.verdict, self.record
        document = {
            "ok": verdict.state == ONLINE,
            "device": record["device"],
            "state": verdict.state,
            "limited": verdict.limited,
            "reasons": verdict.reasons,
            "missing": verdict.missing,
            **verdict.values,
            "restarted": record["restarted"],
            "host": record["host"],
            "http_port": record["http_port"],
            "probed_at": record["probed_at"],
            "age_seconds": round(record["age_seconds"], 3),
            "probe_seconds": record["seconds"],
            "prober": record["prober"],
            "holder": self.holder,
            "answers": {path: _told(record["answers"][path]) for path in (INFO, HEALTH)},
        }
        if verdict.state != ONLINE:
            said = {"code": CODES[verdict.state], "message": verdict.message, "hint": verdict.hint}
            document["error"] = {**said, "exit_code": verdict.exit_code}
        return document


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: answer.get(key) for key in ("outcome", "message", "document", "document_at")}


def health(
    workspace: Workspace, config: Config, name: str | None, *, wait: float | None, max_age: float | None
) -> Health:
    """The health of the device ``name`` (default: [defaults] device), asked anew until it is there or ``wait`` is over.

    Raises ConfigError, BusyError (code probe-busy).
    """
    name = name or str(config.get("defaults", "device"))
    device = {**config.named("devices", name), "name": name}
    window = float(config.get("device", "window"))
    patience = float(device["probe_timeout"])
    begun, wait = time.monotonic(), wait or None
    live, found = LiveLine(), None
    while True:
        left = patience if wait is None else min(patience, max(begun + wait - time.monotonic(), 0.001))
        age = 0.0 if found else max_age or 0.0
        try:
            found = Health(device, engine.ask(workspace, device, window=window, max_age=age, timeout=left))
        except BusyError:
            if found is None or wait is None or time.monotonic() - begun < wait:
                raise
        passed = time.monotonic() - begun
        if found.verdict.reachable or wait is None or passed >= wait or not _passing(found.verdict):
            live.clear()
            if found.verdict.state != ONLINE:
                from k1ctl.device.occupancy import of_devices

                found.holder = of_devices(workspace, config, [name])[name]["holder"]
            return found
        why = f"{name}: {found.verdict.state} ({found.verdict.message})"
        live.update(f"{why}; waiting {format_duration(passed)} of {format_duration(wait)}", key=why)
        time.sleep(max(min(window - found.record["age_seconds"], wait - passed), 0.01))


def _passing(verdict: Verdict) -> bool:
    """Whether waiting may help: a device that is another one stays so."""
    return verdict.state != "wrong-device"
