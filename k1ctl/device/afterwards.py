"""How a device can be after a flash: the states of a verification, and how long one may take. `verify` finds out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OK, NOT_BACK, WRONG_DEVICE, WRONG_BUILD = "ok", "not-back", "wrong-device", "wrong-build"
NEEDS_USB, SOAK_FAILED, SKIPPED = "needs-usb", "soak-failed", "skipped"
BOOT_SECONDS, PROBE_SECONDS = 30.0, 5.0  # where a job's device has no such settings
LISTEN_SECONDS = 6.0  # to a console: a panic, its restart and the next panic take an ESP32-S3 one to three
_MARGIN = 10.0


def blank() -> dict[str, Any]:
    """A verification that has seen nothing yet."""
    return {
        "state": SKIPPED,
        "message": "",
        "hint": "",
        "back_seconds": None,
        "restarted": None,
        "build_id": "",
        "soak": None,
        "boot_log": "",
    }


def skipped(message: str, hint: str = "") -> dict[str, Any]:
    """The verification that did not take place, or not to its end."""
    return {**blank(), "message": message, "hint": hint}


def most_seconds(device: Mapping[str, Any], soak: float) -> float:
    """Seconds after which a verification is over, whatever the device does."""
    asked = 3 * float(device.get("probe_timeout", PROBE_SECONDS))
    return float(device.get("boot_timeout", BOOT_SECONDS)) + asked + soak + LISTEN_SECONDS + _MARGIN
