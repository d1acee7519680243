"""A device's serial port, opened without resetting the device: read, write, reset on demand, and lost at any moment.

How the lines are set is what Espressif's own monitor does (esp-idf-monitor, ``serial_reader.py`` and ``reset.py``):
both asserted as the port is opened, then RTS released and DTR after it; a reset asserts RTS for a moment, as esptool's
``HardReset`` does. On the ESP32-S3's USB-Serial-JTAG RTS without DTR resets the chip, both or none do nothing, and none
clears "enter the loader at the next reset" (ESP32-S3 Technical Reference Manual, "USB Serial/JTAG Controller").
"""

from __future__ import annotations

import errno
import select
import termios
import time
import warnings
from typing import Any

from k1ctl.device import usb
from k1ctl.errors import ConfigError, K1ctlError, UnreachableError, WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BAUD = 115200  # without meaning on the S3's own USB
PIECE = 65536
BUSY = 1.0  # s between two looks at a port that another program has: all processes are asked
_WRITE_SECONDS = 1.0
_RESET_SECONDS = 0.1  # how long esptool holds RTS
_NO_LINES = (errno.ENOTTY, errno.EINVAL)  # a terminal without DTR and RTS
# What pyserial raises where a device is gone: its own errors are OSErrors; TypeError where it was closed meanwhile.
_FAILURES = (OSError, ValueError, TypeError, termios.error)
_SLICE = 0.02  # s of one read of a port that select() cannot watch


class CableLost(Exception):
    """The device, or what was between it and us, is gone."""


def find(device: Mapping[str, Any], lister: Callable[[], Sequence[usb.Port]] = usb.ports) -> usb.Port:
    """The port of a device (its settings and ``name``), for talking to it.

    As `k1ctl.device.usb.choose`, but where no MAC is configured the only ESP32-S3 on USB is taken: nothing is written
    to it. Raises UnreachableError (code usb-absent), WrongDataError (code wrong-device, usb-ambiguous), ConfigError
    (code no-mac).
    """
    if device.get("usb_port"):
        return usb.configured(device, lister)
    if device.get("mac"):
        return usb.choose(device, lister=lister)
    there = list(lister())
    if not there:
        raise UnreachableError(
            f"{device['name']} is not on a USB port of this host: there is no {usb.VENDOR:04X}:{usb.PRODUCT:04X}",
            hint="connect it with a data cable to this host",
            code="usb-absent",
        )
    if len(there) > 1:
        raise ConfigError(
            f"device {device['name']} has no MAC configured, and on USB there is {', '.join(map(str, there))}",
            hint=f"set mac, or usb_port, in [devices.{device['name']}]",
            code="no-mac",
        )
    return there[0]


class Cable:
    """An open port; both lines are released.

    Raises BusyError (code port-busy) naming who has it, UnreachableError (code usb-absent), ConfigError (code
    port-forbidden), WrongDataError (code bad-port).
    """

    def __init__(self, path: str, baud: int = BAUD) -> None:
        import serial

        self.path = path
        usb.check_free(path)  # before it is opened: that sets the lines, and drops what another reader has not read yet
        try:
            self.port = serial.serial_for_url(path, do_not_open=True, baudrate=baud, timeout=0)
            if "://" not in path:
                self.port.exclusive, self.port.write_timeout = True, _WRITE_SECONDS
            self.port.dtr = self.port.rts = True
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # pyserial 3.5's rfc2217 calls Thread.setDaemon
                self.port.open()
        except _FAILURES as exc:
            raise _why(path, exc) from exc
        try:
            self.fd: int = self.port.fileno()
        except (AttributeError, OSError):  # rfc2217 has none: a thread of its reads the socket
            self.fd = -1
            self.port.timeout = _SLICE
        try:
            self.lines = self._set(rts=False) and self._set(dtr=False)
        except CableLost as exc:
            self.close()
            raise _why(path, exc) from exc

    def _set(self, **lines: bool) -> bool:
        """Set DTR or RTS; False on a port that has none."""
        try:
            for name, value in lines.items():
                setattr(self.port, name, value)
        except _FAILURES as exc:
            if getattr(exc, "errno", None) in _NO_LINES:
                return False
            raise CableLost(str(exc)) from exc
        return not self.path.startswith("socket://")  # which takes them and drops them

    def reset(self) -> None:
        """Reset the device into its app. Raises UnreachableError (code no-reset-lines), CableLost."""
        if not self.lines:
            raise UnreachableError(
                f"{self.path} has no DTR and RTS, so the device cannot be reset through it",
                hint="press RESET on the board (simulated: k1ctl sim reset, or sim start --usb-link rfc2217)",
                code="no-reset-lines",
            )
        self._set(dtr=False)
        self._set(rts=True)
        time.sleep(_RESET_SECONDS)
        self._set(rts=False)

    def receive(self, seconds: float, also: Sequence[int] = ()) -> bytes:
        """What the device sent, waiting at most ``seconds`` for it; b"" when it sent nothing, or one of the descriptors
        ``also`` became readable. Raises CableLost."""
        try:
            if self.fd >= 0:
                ready = select.select([self.fd, *also], [], [], seconds)[0]
                return bytes(self.port.read(PIECE)) if self.fd in ready else b""
            end = time.monotonic() + seconds
            while True:
                data = bytes(self.port.read(max(self.port.in_waiting, 1)))
                if data or time.monotonic() >= end or select.select(also, [], [], 0)[0]:
                    return data
        except _FAILURES as exc:
            raise CableLost(str(exc)) from exc

    def send(self, data: bytes) -> bool:
        """Hand ``data`` to the device; False when it does not take it. Raises CableLost."""
        import serial

        try:
            self.port.write(data)
            return True
        except serial.SerialTimeoutException:
            return False
        except _FAILURES as exc:
            raise CableLost(str(exc)) from exc

    def close(self) -> None:
        """Let go of the port; what the device did not take is dropped."""
        try:
            if self.fd >= 0 and "://" not in self.path:
                self.port.reset_output_buffer()  # else a close waits for it
        except _FAILURES:
            pass
        try:
            self.port.close()
        except _FAILURES:
            pass


def _why(path: str, exc: Exception) -> K1ctlError:
    number, text = getattr(exc, "errno", None), str(exc)
    if number in (errno.EAGAIN, errno.EBUSY) or "exclusively lock" in text:
        return usb.busy(path, usb.users(path))
    if number in (errno.EACCES, errno.EPERM):
        return ConfigError(
            f"{path} may not be opened by you",
            hint="on Linux: add yourself to the group that owns it (dialout, or uucp), and log in again",
            code="port-forbidden",
        )
    if isinstance(exc, ValueError):
        return WrongDataError(f"{path} is no serial port: {text}", hint="correct usb_port", code="bad-port")
    return UnreachableError(f"{path} cannot be opened: {text}", hint="is it plugged in?", code="usb-absent")
