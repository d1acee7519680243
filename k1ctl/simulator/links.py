"""The far end of a serial cable: a pseudo-terminal, or a TCP port on loopback (esptool's ``socket://``).

A host that closes its end is seen; the lines DTR and RTS, which reset the real board, do not exist on either
(rfc2217.py has them).
"""

from __future__ import annotations

import os
import select
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Link(Protocol):
        """What the device's side of a cable can do."""

        @property
        def address(self) -> str:
            """What a host opens: a path, or socket://HOST:PORT."""

        @property
        def is_open(self) -> bool:
            """Whether a host has its end open."""

        @property
        def has_lines(self) -> bool:
            """Whether DTR and RTS exist."""

        def lines(self) -> list[tuple[bool, bool]]:
            """(DTR, RTS) after each change since this was asked last."""

        def receive(self, stop_fd: int, seconds: float) -> bytes | None:
            """What the host sent; b"" when nothing came within ``seconds``, None when it closed its end."""

        def send(self, data: bytes) -> None:
            """Hand ``data`` to the host; what nobody takes is lost, as on the real cable."""

        def lose(self) -> None:
            """Pull the cable: the host's end fails. It is plugged in again at once."""

        @property
        def named(self) -> bool:
            """Whether its address leads here."""

        def name_it(self) -> None:
            """Make its address lead here, after its folder was cleaned away."""

        def close(self) -> None:
            """Free what is held."""


_CLOSED_LOOK = 0.03  # seconds between two looks whether a host has opened the terminal
_SEND_SECONDS = 2.0  # how long a host may leave its input full
_PIECE = 64 * 1024


class PtyLink:
    """A pseudo-terminal; ``link`` is a symbolic link to it that is kept right, so that its name can be configured."""

    has_lines = False

    def __init__(self, link: str = "") -> None:
        self.link, self.is_open = link, False
        self._make()

    @property
    def address(self) -> str:
        return self.link or self.device

    def _make(self) -> None:
        import tty

        self.master, slave = os.openpty()
        tty.setraw(slave)  # stays so between two hosts: the terminal lives as long as its master
        self.device = os.ttyname(slave)
        os.close(slave)  # open only in hosts, so that their closing is seen
        os.set_blocking(self.master, False)
        self.name_it()

    @property
    def named(self) -> bool:
        """Whether ``link`` leads here."""
        try:
            return not self.link or os.readlink(self.link) == self.device
        except OSError:
            return False

    def name_it(self) -> None:
        """Make ``link`` lead here."""
        if self.link:
            fresh = f"{self.link}.{os.getpid()}"
            os.symlink(self.device, fresh)
            os.replace(fresh, self.link)

    def receive(self, stop_fd: int, seconds: float) -> bytes | None:
        end = time.monotonic() + seconds
        while True:
            left = max(end - time.monotonic(), 0.0)
            if self.is_open:
                ready, _, _ = select.select([self.master, stop_fd], [], [], left)
            else:  # a terminal nobody has open is always ready
                ready, _, _ = select.select([stop_fd], [], [], min(_CLOSED_LOOK, left))
            if stop_fd in ready:
                return b""
            try:
                data = os.read(self.master, _PIECE)
            except BlockingIOError:
                data, self.is_open = b"", True
                if not left:
                    return b""
                continue
            except OSError:
                data = b""  # EIO on Linux, end of file on macOS: no host has it open
            if data:
                self.is_open = True
                return data
            was, self.is_open = self.is_open, False
            if was:
                return None
            if not left:
                return b""

    def send(self, data: bytes) -> None:
        end = time.monotonic() + _SEND_SECONDS
        while data and self.is_open:
            try:
                data = data[os.write(self.master, data) :]
            except BlockingIOError:
                left = end - time.monotonic()
                if left <= 0:
                    return
                select.select([], [self.master], [], left)
            except OSError:
                return

    def lines(self) -> list[tuple[bool, bool]]:
        return []

    def lose(self) -> None:
        os.close(self.master)
        self.is_open = False
        self._make()

    def close(self) -> None:
        os.close(self.master)
        if self.link and self.named:  # another device of this folder has made it its own, perhaps
            try:
                os.unlink(self.link)
            except FileNotFoundError:
                pass


class TcpLink:
    """One host at a time on a TCP port of loopback; the next one waits until the one before has closed."""

    has_lines, named = False, True

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(8)
        self.listener.setblocking(False)
        self.address = f"socket://127.0.0.1:{self.listener.getsockname()[1]}"
        self.host: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        return self.host is not None

    def name_it(self) -> None:
        """A port needs no name."""

    def receive(self, stop_fd: int, seconds: float) -> bytes | None:
        heard = (self.host or self.listener).fileno()
        ready, _, _ = select.select([heard, stop_fd], [], [], seconds)
        if not ready or stop_fd in ready:
            return b""
        if self.host is None:
            try:
                self.host, _ = self.listener.accept()
            except OSError:
                return b""
            self.host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.host.settimeout(_SEND_SECONDS)
            return b""
        try:
            data = self.host.recv(_PIECE)
        except OSError:
            data = b""
        if data:
            return data
        self.lose()
        return None

    def send(self, data: bytes) -> None:
        if self.host is not None:
            try:
                self.host.sendall(data)
            except OSError:
                pass  # the next look at it tells that it is gone

    def lines(self) -> list[tuple[bool, bool]]:
        return []

    def lose(self) -> None:
        if self.host is not None:
            self.host.close()
            self.host = None

    def close(self) -> None:
        self.lose()
        self.listener.close()
