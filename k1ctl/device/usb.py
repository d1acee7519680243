"""Which serial port is the device: found by vendor, product and MAC, never by its path.

The ESP32-S3's built-in USB-Serial-JTAG is 303A:1001 and tells its MAC as the USB serial number (ESP32-S3 technical
reference, "USB Serial/JTAG Controller"). What a port says of itself chooses it; the chip's own answer is checked again
before anything is written.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from k1ctl.device.identity import normal_mac
from k1ctl.errors import BusyError, ConfigError, UnreachableError, WrongDataError
from k1ctl.programs import find_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

VENDOR, PRODUCT = 0x303A, 0x1001
_LSOF_SECONDS = 5.0
_NAMED = 5  # programs that an error names


class Port(NamedTuple):
    """A serial port: its path, and the MAC it tells ("" when it tells none)."""

    path: str
    mac: str

    def __str__(self) -> str:
        return f"{self.path} ({self.mac or 'no MAC told'})"


def ports() -> list[Port]:
    """The ports of this host that are an ESP32-S3's USB-Serial-JTAG."""
    from serial.tools.list_ports import comports

    found = [p for p in comports() if p.vid == VENDOR and p.pid == PRODUCT]
    return sorted(Port(p.device, spelled(p.serial_number or "")) for p in found)


def spelled(mac: str) -> str:
    """A MAC as ``aa:bb:cc:dd:ee:ff``; "" for what is none."""
    plain = normal_mac(mac)
    if len(plain) != 12 or not set(plain) <= set("0123456789abcdef"):
        return ""
    return ":".join(plain[at : at + 2] for at in range(0, 12, 2))


def choose(device: Mapping[str, Any], *, alone: bool = False, lister: Callable[[], Sequence[Port]] = ports) -> Port:
    """The port of ``device`` (its settings and ``name``): the configured ``usb_port``, else the one with its MAC.

    A configured port that tells another MAC is refused unopened: opening one may reset the board. A port that tells no
    MAC is taken when it is the only one. ``alone`` refuses wherever another board is plugged in, or several could be
    the device. Raises ConfigError (code no-mac: without one nothing tells the right board),
    UnreachableError (code usb-absent), WrongDataError (codes wrong-device and usb-ambiguous) naming ports and MACs.
    """
    name, mac = device["name"], spelled(str(device["mac"]))
    if not mac:
        raise ConfigError(
            f"device {name} has no MAC configured, so nothing says which board on USB it is",
            hint=f"set mac in [devices.{name}]; it is printed on the board's box and by /api/device/info",
            code="no-mac",
        )
    if device.get("usb_port"):
        return configured(device, lister)
    there = list(lister())
    own, silent = [p for p in there if p.mac == mac], [p for p in there if not p.mac]
    foreign = [p for p in there if p.mac and p.mac != mac]
    listed = ", ".join(map(str, there))
    if not there:
        raise UnreachableError(
            f"{name} ({mac}) is not on a USB port of this host: there is no {VENDOR:04X}:{PRODUCT:04X}",
            hint="connect it with a data cable to this host",
            code="usb-absent",
        )
    candidates = own or silent
    if not candidates or (alone and foreign):
        raise WrongDataError(
            f"{name} has the MAC {mac}; on USB there is {listed}",
            hint=f"unplug the other board{', or name the way: --via usb' if candidates else ', or correct `mac`'}",
            code="wrong-device",
        )
    if len(candidates) > 1 or (alone and len(there) > 1):
        raise WrongDataError(
            f"more than one port could be {name} ({mac}): {listed}",
            hint=f"unplug the others, or set usb_port in [devices.{name}]",
            code="usb-ambiguous",
        )
    return candidates[0]


def configured(device: Mapping[str, Any], lister: Callable[[], Sequence[Port]] = ports) -> Port:
    """The port that ``usb_port`` of a device names (a file, or an address as ``socket://``), with the MAC it tells.

    Raises UnreachableError (code usb-absent), WrongDataError (code wrong-device: that is another than the device's).
    """
    name, path, mac = device["name"], str(device["usb_port"]), spelled(str(device.get("mac") or ""))
    if os.path.isabs(path) and not os.path.exists(path):
        raise UnreachableError(
            f"{name} is not on a USB port of this host: {path} is not there",
            hint=f"connect it, or correct usb_port in [devices.{name}]",
            code="usb-absent",
        )
    found = Port(path, told_at(path, () if "://" in path else lister()))
    if mac and found.mac and found.mac != mac:
        raise WrongDataError(
            f"usb_port of {name} is {path}, where the MAC {found.mac} is; {name} is configured as {mac}",
            hint="it is another board: unplug it, or correct `mac` or `usb_port` (without it the MAC finds the port)",
            code="wrong-device",
        )
    return found


def told_at(path: str, there: Sequence[Port]) -> str:
    """The MAC that the port ``path``, or what it is a link to, tells; "" when it is not in ``there`` or tells none."""
    return next((port.mac for port in there if _node(port.path) == _node(path)), "")


def _node(path: str) -> str:
    """What a path leads to, by one of the two names that macOS has for a port."""
    return os.path.realpath(path).replace("/dev/tty.", "/dev/cu.")


def check_free(path: str) -> None:
    """Raise BusyError (code port-busy) when another program has the port open, also one that locks nothing, as most
    monitors: two readers take each other's bytes."""
    others = [] if "://" in path else users(path, but=os.getpid())
    if others:
        raise busy(path, others)


def busy(path: str, others: Sequence[str]) -> BusyError:
    """The error for a port that ``others`` have open."""
    named = [*others[:_NAMED], *([f"{len(others) - _NAMED} others"] if len(others) > _NAMED else [])]
    return BusyError(
        f"{path} is in use by {', '.join(named) or 'another program'}",
        hint="close the serial monitor that has it open (k1ctl never closes a program that is not its own)",
        code="port-busy",
    )


def users(path: str, *, but: int = 0) -> list[str]:
    """Who has the port open, as ``name (pid 4711)``, ``but`` one process; those of other users may be missing."""
    pids = _pids(os.path.realpath(path)) - {but}
    if not pids:
        return []
    import psutil

    found = []
    for pid in sorted(pids):
        try:
            found.append(f"{psutil.Process(pid).name()} (pid {pid})")
        except psutil.Error:
            continue
    return found


def _pids(path: str) -> set[int]:
    if os.path.isdir("/proc/self/fd"):
        return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _has_open(pid, path)}
    import subprocess

    lsof = find_tool("lsof")  # macOS brings it
    if not lsof:
        return set()
    argv = [lsof, "-t", "-w", "-n", "-P", "--", *_twins(path)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_LSOF_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {int(line) for line in done.stdout.split() if line.isdigit()}


def _twins(path: str) -> list[str]:
    """A port's names: macOS has two for each, of which an open one makes the other busy."""
    for one, other in (("/dev/cu.", "/dev/tty."), ("/dev/tty.", "/dev/cu.")):
        if path.startswith(one) and os.path.exists(twin := other + path.removeprefix(one)):
            return [path, twin]
    return [path]


def _has_open(pid: str, path: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{fd}") == path for fd in os.listdir(folder))
    except OSError:  # it ended, or is somebody else's
        return False
