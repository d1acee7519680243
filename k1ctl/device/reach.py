"""Which way leads to a device that is known to crash."""

from __future__ import annotations

from k1ctl.device import images
from k1ctl.device.afterwards import NEEDS_USB
from k1ctl.errors import K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def only_over_usb(workspace: Workspace, config: Config, device: Mapping[str, Any]) -> bool:
    """Whether a device (its settings and ``name``) is to be flashed over USB at once: what it runs crashes by our
    record, nothing but it is on USB, and there is an esptool.

    One that crashes and answers now and then takes updates in over the network that it does not live to end.
    """
    current = images.read(workspace, str(device["name"]))["current"]
    if not device["mac"] or current is None or current["verification"] != NEEDS_USB:
        return False
    from k1ctl.device.esptool import find_esptool
    from k1ctl.device.usb import choose

    try:
        choose(device, alone=True)
        find_esptool(str(config.get("tools", "esptool")))
    except K1ctlError:
        return False
    return True
