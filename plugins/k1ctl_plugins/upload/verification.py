"""What an upload wants verified, what is seen to it where the flash worker did not, and how the answer is told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.device import afterwards
from k1ctl.device.afterwards import most_seconds, skipped
from k1ctl.errors import ConfigError
from k1ctl.files import read_json
from k1ctl.signals import signals
from k1ctl.units import format_duration
from k1ctl_plugins.upload.transports import PYTHON

if TYPE_CHECKING:
    from k1ctl.process.attempt import Ending
    from k1ctl.process.record import Run
    from k1ctl.transports import Delivery

_STOPPED = ("cancelled", "timed-out")  # endings of a run after which nothing more is begun
# state: (exit code, text code) of the upload's error
FAILURES = {
    afterwards.NOT_BACK: (69, "device-not-back"),
    afterwards.WRONG_DEVICE: (65, "wrong-device"),
    afterwards.WRONG_BUILD: (1, "wrong-build"),
    afterwards.NEEDS_USB: (1, "needs-usb"),
    afterwards.SOAK_FAILED: (1, "soak-failed"),
}
NOT_VERIFIED = (77, "not-verified")  # a soak that was asked for and did not take place


def job(delivery: Delivery, soak: float | None) -> dict[str, Any]:
    """What the run's ``flash.json`` has for the verification; ``soak`` of this call, None for the device's.

    Raises ConfigError (a soak, or a build id, without an address; a build_id that is none), WrongDataError.
    """
    from k1ctl.device import buildid

    device, artifact = delivery.device, delivery.artifact
    assert artifact is not None
    seconds = device["soak"] if soak is None else soak
    wanted: dict[str, Any] = {"soak": seconds}
    if device["build_id"] and delivery.kind == "app":
        buildid.place(device["build_id"])
        rule = delivery.settings["build_id"]
        wanted["build"] = {"rule": rule, "ids": buildid.expected(artifact.read(), artifact.manifest, rule)}
    if seconds and not device["host"]:
        raise ConfigError(
            f"a soak asks the device over HTTP, and {device['name']} has no host",
            hint=f"set [devices.{device['name']}] host in {delivery.config.path}",
            code="no-host",
        )
    return wanted


def limit(of_the_worker: float | None, delivery: Delivery, soak: float) -> float | None:
    """Seconds after which the worker is stopped from outside, with the verification behind the transfer."""
    return None if of_the_worker is None else of_the_worker + most_seconds(delivery.device, soak)


def catch_up(run: Run, ending: Ending) -> dict[str, Any]:
    """Verify what a flash worker left unverified: a third party's, or one that was killed after the final OK.

    In a process of its own, in this session and with the descriptors of lease and guard: so the device stays held when
    we are killed, `queue cancel` (TERM) ends it, and what it prints is in the run's log. Called in the supervisor.
    """
    import subprocess

    if ending.code in _STOPPED:
        return skipped("the run was stopped before the device was verified", "k1ctl device health says how it is")
    command = [*PYTHON, "k1ctl.device.verify", run.folder]
    told_to_stop: list[int] = []
    handler = signals.signal(signals.SIGTERM, lambda number, _: told_to_stop.append(number))
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
        signals.signal(signals.SIGTERM, lambda *_: process.terminate())
        if told_to_stop:
            process.terminate()
        status = process.wait()
    finally:
        signals.signal(signals.SIGTERM, handler)
    found = told(run)
    return found or skipped(f"the verification ended with exit code {status}", f"its log is {run.log}")


def told(run: Run) -> dict[str, Any] | None:
    """The verification that stands in the run's outcome file."""
    left = read_json(os.path.join(run.folder, "flash-outcome.json"))
    found = left.get("verification") if isinstance(left, dict) else None
    return found if isinstance(found, dict) else None


def lost() -> dict[str, Any]:
    """The verification of a run whose supervisor and worker were killed after the final OK."""
    return skipped("its processes were killed before the device was verified", "k1ctl device health says how it is")


def text(done: dict[str, Any]) -> str:
    """What was seen after an upload that is well, for people: ``back in 2.1s, soak 20s ok (min 148 fps)``."""
    found = done.get("verification") or {}
    build = f", runs build {found['build_id']}" if found.get("build_id") else ""
    return f"{found['message']}{build}" if found.get("state") == afterwards.OK else ""


def failure(done: dict[str, Any]) -> tuple[int, str] | None:
    """(Exit code, text code) of an upload that was installed, and failed by what was seen afterwards; else None."""
    found = done.get("verification") or {}
    if found.get("state") == afterwards.SKIPPED:
        return NOT_VERIFIED if done.get("soak_seconds") else None
    return FAILURES.get(found.get("state", ""))


def sentence(device: str, done: dict[str, Any]) -> str:
    """Why it failed, beginning with what did not."""
    found = done["verification"]
    if found["state"] == afterwards.SKIPPED:
        soak = format_duration(done["soak_seconds"])
        return f"{device} took the image, but the soak of {soak} did not take place: {found['message']}"
    return f"{device} took the image, but: {found['message']}"
