"""Does a device that does not come back crash? Its console says so, where its USB port is on this host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.device.afterwards import LISTEN_SECONDS
from k1ctl.errors import K1ctlError
from k1ctl.files import write_atomic
from k1ctl.output import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.device.stop import StopRequest

_LONGEST = 200  # characters of a panic that are told; the boot log has the rest
_ENOUGH = 2  # panics, or starts, that are no accident
BOOT_LOG = "boot.log"  # in the run's folder


class Heard(NamedTuple):
    """``there``: its port is on this host; ``crashes``: it panics, or starts over and over; ``what`` it said of that;
    ``path`` of the boot log ("" when it said nothing); ``hint`` what to do where it does not crash."""

    there: bool
    crashes: bool = False
    what: str = ""
    path: str = ""
    hint: str = ""


def look(device: Mapping[str, Any], folder: str, stop: StopRequest, job: Mapping[str, Any]) -> Heard:
    """Listen on the device's console without a reset, and keep what it says in ``folder``. Raises nothing."""
    from k1ctl.device.console import listen

    seconds = float(job.get("listen_seconds", LISTEN_SECONDS))
    try:
        heard = listen(
            device,
            seconds,
            enough=lambda h: len(h.panics) >= _ENOUGH or len(h.resets) > _ENOUGH or stop.requested,
            folder=str(job.get("host_dir") or ""),
        )
    except (K1ctlError, OSError) as exc:
        absent = isinstance(exc, K1ctlError) and exc.code in ("usb-absent", "no-mac")
        if not absent:
            return Heard(True, hint=f"its console could not be listened to: {exc}")
        hint = "look at the device. With its USB cable on this host, its boot log would tell whether the image crashes"
        return Heard(False, hint=f"{hint}, and k1ctl device rollback could go that way ({exc})")
    path = _kept(os.path.join(folder, BOOT_LOG), heard.data)
    loops = len(heard.resets) >= _ENOUGH
    starts = f"{len(heard.resets)} starts while it was listened to" if loops else ""
    what = clean(str(heard.panics[-1]))[:_LONGEST] if heard.panics else starts
    hint = (
        "its console shows no crash: is it on the Wi-Fi?" if heard.data else "its console says nothing: does it hang?"
    )
    return Heard(True, bool(heard.panics) or loops, what, path, f"{hint} k1ctl device console shows more")


def _kept(path: str, data: bytes) -> str:
    """``path`` with the data in it; "" for none, or where the disk is full."""
    try:
        if data:
            write_atomic(path, data, mode=0o600)
            return path
    except OSError:
        pass
    return ""
