"""A serial port on TCP with DTR and RTS: RFC 2217, as pyserial's ``rfc2217://`` and so esptool speak it.

The telnet side is pyserial's own `serial.rfc2217.PortManager`; here is the port it manages. Each change of the two
lines is kept until the device has looked at it.
"""

from __future__ import annotations

import socket
from typing import Any

from k1ctl.simulator.links import TcpLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class _Pins:
    """What a PortManager manages: only DTR and RTS mean anything on a chip's own USB."""

    cts = dsr = ri = cd = False
    baudrate, bytesize, parity, stopbits = 115200, 8, "N", 1
    xonxoff = rtscts = break_condition = False

    def __init__(self, changed: Callable[[bool, bool], None]) -> None:
        self.changed = changed
        self.lines = [False, False]

    @property
    def dtr(self) -> bool:
        return self.lines[0]

    @dtr.setter
    def dtr(self, value: bool) -> None:
        self.lines[0] = value
        self.changed(*self.lines)

    @property
    def rts(self) -> bool:
        return self.lines[1]

    @rts.setter
    def rts(self, value: bool) -> None:
        self.lines[1] = value
        self.changed(*self.lines)

    def reset_input_buffer(self) -> None:
        """Nothing is kept here."""

    def reset_output_buffer(self) -> None:
        """Nothing is kept here."""


class _Host:
    """Where a PortManager writes its own words."""

    def __init__(self, host: socket.socket) -> None:
        self.host = host

    def write(self, data: bytes) -> None:
        try:
            self.host.sendall(data)
        except OSError:
            pass  # the next look at it tells that it is gone


class Rfc2217Link(TcpLink):
    """One host at a time, over RFC 2217."""

    has_lines = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.address = f"rfc2217://127.0.0.1:{self.listener.getsockname()[1]}"
        self.manager: Any = None
        self.seen: list[tuple[bool, bool]] = []

    def receive(self, stop_fd: int, seconds: float) -> bytes | None:
        from serial.rfc2217 import PortManager

        data = super().receive(stop_fd, seconds)
        if data is None:
            self.manager = None
            self.seen.append((False, False))  # a port that is closed drops both
        elif self.host is not None and self.manager is None:
            pins: Any = _Pins(lambda dtr, rts: self.seen.append((dtr, rts)))
            host: Any = _Host(self.host)
            self.manager = PortManager(pins, host)
        elif data:
            return b"".join(self.manager.filter(data))
        return data

    def lines(self) -> list[tuple[bool, bool]]:
        changes, self.seen = self.seen, []
        return changes

    def send(self, data: bytes) -> None:
        if self.manager is not None:
            super().send(b"".join(self.manager.escape(data)))

    def lose(self) -> None:
        super().lose()
        self.manager = None
