"""The ways to a device: over the network, over USB, and whichever reaches it; others come from plugins."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from k1ctl.errors import ConfigError, K1ctlError, UsageError, WrongDataError
from k1ctl.transports import Delivery, Transport

if TYPE_CHECKING:
    from k1ctl.plugins import Plugins

AUTO, OTA, USB = "auto", "ota", "usb"
# -P: a file in the repository that is named like a module must not be imported in its place.
PYTHON = (sys.executable, "-P", "-m")
FULL_SET = ("bootloader.bin", "partitions.bin")  # beside the app; PlatformIO leaves them next to it


class OtaTransport(Transport):
    """ArduinoOTA, by k1ctl's own client."""

    name = OTA
    about = "over the network (ArduinoOTA)"
    kinds = ("app", "filesystem")

    def check(self, delivery: Delivery) -> None:
        device, name = delivery.device, delivery.device["name"]
        if not device["host"]:
            hint = f"set [devices.{name}] host in {delivery.config.path}"
            raise ConfigError(f"device {name} has no host", hint=hint, code="no-host")
        if device["interface"]:
            from k1ctl.device.interface import own_address

            own_address(device["interface"])
        if device["password_file"] or device["password_env"]:
            from k1ctl.device.login import configured

            configured(device)  # the worker reads it anew: it stands in no job, no argument, no record

    def worker(self) -> list[str]:
        return [*PYTHON, "k1ctl.device.flash"]

    def limit(self, delivery: Delivery) -> float | None:
        return last_resort(delivery.config.section("ota"), delivery.device)


class UsbTransport(Transport):
    """esptool on the device's own USB port."""

    name = USB
    about = "over a USB cable (esptool)"
    full = True

    def check(self, delivery: Delivery) -> None:
        from k1ctl.device.esptool import find_esptool
        from k1ctl.device.usb import choose

        if delivery.device["interface"] != delivery.config.section("devices", delivery.device["name"])["interface"]:
            raise UsageError("--interface is for the network, not for USB")
        choose(delivery.device)
        find_esptool(str(delivery.config.get("tools", "esptool")))

    def job(self, delivery: Delivery) -> dict[str, Any]:
        rules = {**delivery.config.section("usb"), "esptool": delivery.config.get("tools", "esptool")}
        return {
            "usb": {**rules, "chip": delivery.settings["chip"]},
            **({"full": _full_set(delivery)} if delivery.full else {}),
        }

    def worker(self) -> list[str]:
        return [*PYTHON, "k1ctl.device.usbflash"]


class AutoTransport(UsbTransport):
    """The network, and USB where that cannot reach the device."""

    name = AUTO
    about = "over the network, and over USB where that cannot reach the device"
    full = False

    def check(self, delivery: Delivery) -> None:
        OtaTransport().check(delivery)

    def job(self, delivery: Delivery) -> dict[str, Any]:
        limit = last_resort(delivery.config.section("ota"), delivery.device)
        return {**super().job(delivery), "last_resort": limit}

    def worker(self) -> list[str]:
        return [*PYTHON, "k1ctl.device.autoflash"]


class CrashingTransport(UsbTransport):
    """USB where the network would be asked first, had the device not been found to crash."""

    about = "over a USB cable (esptool), as what it runs crashes"
    full = False

    def check(self, delivery: Delivery) -> None:
        """That the device alone is there, with an esptool, is why it was chosen."""


def last_resort(ota: dict[str, Any], device: dict[str, Any]) -> float:
    """Seconds after which a worker is stopped from outside, because it keeps none of its own limits.

    Its own: two guards, a probe, the attempt, then the device's restart or the evidence of one.
    """
    return float(3 * ota["attempt_timeout"] + 2 * device["probe_timeout"] + 60)


def find(via: str, delivery: Delivery, plugins: Plugins) -> Transport:
    """The transport of this name, which takes what is to be delivered. Raises UsageError, ConfigError (two plugins
    add one name)."""
    device = delivery.device
    if via == AUTO and delivery.full:
        raise UsageError("--full writes bootloader and partition table, which goes over USB only: add --via usb")
    if via == AUTO and delivery.kind == "app":
        if not device["host"]:
            return UsbTransport() if is_on_usb(device) else OtaTransport()  # which says that there is no host
        if not device["mac"]:
            return OtaTransport()
        from k1ctl.device.reach import only_over_usb

        crashes = only_over_usb(delivery.workspace, delivery.config, device)
        return CrashingTransport() if crashes else AutoTransport()
    chosen = _offered(plugins, OTA if via == AUTO else via)
    if delivery.kind not in chosen.kinds:
        raise UsageError(f"--via {via} takes no image of a {delivery.kind}", hint="leave out --via")
    if delivery.full and not chosen.full:
        raise UsageError(f"--via {via} cannot write the whole set", hint="--full goes with --via usb")
    return chosen


def is_on_usb(device: dict[str, Any]) -> bool:
    """Whether the device, and no other board, is on USB."""
    from k1ctl.device.usb import choose

    try:
        choose(device, alone=True)
    except K1ctlError:
        return False
    return True


def _offered(plugins: Plugins, wanted: str) -> Transport:
    from k1ctl.output import say

    found: dict[str, tuple[Transport, str]] = {}
    for plugin, offered in plugins.each("k1ctl_transports"):
        if isinstance(offered, K1ctlError):
            say(f"plugin {plugin} is left out: {offered.message}")
            continue
        for transport in offered:
            if transport.name in found or transport.name == AUTO:
                other = found[transport.name][1] if transport.name in found else "k1ctl"
                message = f"{other} and plugin {plugin} both add the transport {transport.name!r}"
                raise ConfigError(message, hint="uninstall one of them", code="transport-conflict")
            found[transport.name] = (transport, plugin)
    if wanted not in found:
        raise UsageError(f"there is no transport {wanted!r}", hint=f"there are: {', '.join(sorted([AUTO, *found]))}")
    return found[wanted][0]


def _full_set(delivery: Delivery) -> dict[str, dict[str, str]]:
    """{file: {path, sha256}} of what the artifact has beside the app. Raises WrongDataError."""
    artifact = delivery.artifact
    assert artifact is not None
    files = artifact.manifest["files"]
    missing = [name for name in FULL_SET if name not in files]
    if missing:
        raise WrongDataError(
            f"artifact {artifact.id} has no {' and no '.join(missing)}",
            hint="a build with PlatformIO's espressif32 platform leaves them; --full needs all of one build",
            code="incomplete-set",
        )
    return {n: {"path": os.path.join(artifact.folder, n), "sha256": files[n]["sha256"]} for n in FULL_SET}
