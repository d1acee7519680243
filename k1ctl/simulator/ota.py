"""The device's side of ArduinoOTA (arduino-esp32, libraries/ArduinoOTA: _runUpdate), with faults."""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import time
from typing import NamedTuple

from k1ctl.simulator.device import APP, FILESYSTEM, Device
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WINDOW = 16 * 1024  # bytes taken in unread: the device's stack takes in few, this host's by default some hundred kB
_READ = 1460  # bytes: the buffer of the real device
_RECEIVE_SECONDS = 1.0  # it waits so long for bytes, and three times more once some came
_TRIES = 3
_KINDS = {b"0": APP, b"100": FILESYSTEM}  # U_FLASH, U_SPIFFS


class _Invited(NamedTuple):
    """What an invitation said, and the nonce it was answered with."""

    kind: str
    host_port: int
    size: int
    md5: str
    nonce: str = ""


class OtaServer:
    """Listens for invitations on loopback and takes one update at a time, as the real main loop does."""

    def __init__(self, device: Device, port: int = 0) -> None:
        self.device = device
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", port))
        self.udp.setblocking(False)
        self.port: int = self.udp.getsockname()[1]
        self.flash = self.before = len(device.flashes())  # flashes begun so far; before this start
        self.dropped = 0
        self.asked: _Invited | None = None  # an invitation that waits for its login
        self.refused_logins = 0
        self.link: socket.socket | None = None
        self.inviter: tuple[str, int] | None = None

    def abort(self) -> None:
        """End an update under way, as a power cut does; for the thread that stops the server."""
        link = self.link
        if link is not None:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def serve(self, stop_fd: int) -> None:
        """Serve until ``stop_fd`` becomes readable."""
        poll = select.poll()
        poll.register(self.udp, select.POLLIN)
        poll.register(stop_fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == stop_fd:
                    self.udp.close()
                    return
                try:
                    datagram, peer = self.udp.recvfrom(256)
                except OSError:
                    continue
                if not self.device.answering:
                    self.asked = None
                    continue
                said = self._invited(datagram, peer) if self.asked is None else self._answered(datagram, peer)
                if said:
                    self._update(said, peer, stop_fd)

    def _invited(self, datagram: bytes, peer: tuple[str, int]) -> _Invited | None:
        """The invitation in ``datagram``, when it is one and may begin at once."""
        words = datagram.split()
        if len(words) != 4 or words[0] not in _KINDS or not (words[1].isdigit() and words[2].isdigit()):
            return None
        if len(words[3]) != 32:
            return None
        if self.dropped < (self.device.faults.value("drop", self.flash - self.before + 1) or 0):
            self.dropped += 1
            return None
        said = _Invited(_KINDS[words[0]], int(words[1]), int(words[2]), words[3].decode("ascii", "replace"))
        if self.device.login is None:
            self.udp.sendto(b"OK", peer)
            return said
        self.asked = said._replace(nonce=self.device.login.nonce())
        self.udp.sendto(b"AUTH " + self.asked.nonce.encode(), peer)
        return None

    def _answered(self, datagram: bytes, peer: tuple[str, int]) -> _Invited | None:
        """The invitation that waited, when ``datagram`` logs in for it, from whatever port.

        Whatever came, it waits no more; to what is no login at all, also an invitation, nothing is said.
        """
        said, self.asked = self.asked, None
        assert said is not None and self.device.login is not None
        right = self.device.login.accepts(said.nonce, datagram.split())
        if right:
            self.udp.sendto(b"OK", peer)
            return said
        if right is False:
            self.refused_logins += 1
            self.udp.sendto(b"Authentication Failed", peer)
        return None

    def _update(self, said: _Invited, peer: tuple[str, int], stop_fd: int) -> None:
        if said.size > self.device.room(said.kind):
            return  # Update.begin failed: the real device has said OK already and never connects
        link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(2.0)
        self.link, self.inviter = link, peer  # before the sender can know that it is connected, and have it aborted
        try:
            link.connect((peer[0], said.host_port))
        except OSError:
            self.link = None
            link.close()
            return
        self.flash, self.dropped = self.flash + 1, 0
        with link:
            _Update(self, link, said, f"{peer[0]}:{said.host_port}", stop_fd).run()
        self.link = None
        self.ignored()

    def ignored(self) -> int:
        """Drop the invitations that came during an update, as the device does; how many others sent."""
        count = 0
        while True:
            try:
                _, peer = self.udp.recvfrom(256)
            except OSError:
                return count
            count += peer != self.inviter


class _Update:
    """One update: takes the bytes, judges them, tells the truth to the history and perhaps to the sender."""

    def __init__(self, server: OtaServer, link: socket.socket, said: _Invited, peer: str, stop_fd: int) -> None:
        self.server, self.device, self.link = server, server.device, link
        self.kind, self.size, self.md5, self.stop_fd = said.kind, said.size, said.md5, stop_fd
        self.faults, self.number = server.device.faults, server.flash - server.before
        self.started, self.started_at = time.monotonic(), rfc3339()
        self.peer = peer  # a sender that has gone again by now is no peer of the link any more
        self.data = bytearray()
        self.restarts = False

    def run(self) -> None:
        """Receive and judge; never raises on account of the sender."""
        why = self._receive()
        if self.kind == FILESYSTEM:  # there is one partition for it, which is written as the bytes come
            before = self.device.image(FILESYSTEM) or b""
            self.device.install(bytes(self.data) + before[len(self.data) :], FILESYSTEM)
        ending = self.faults.ending(self.number)
        if why:
            said = "ERROR[8]: Wrong Magic Byte" if why == "wrong-magic" else ""
            self._finish("not-installed", why, said)
        elif hashlib.md5(self.data, usedforsecurity=False).hexdigest() != self.md5:
            self._finish("not-installed", "wrong-md5", "ERROR[7]: MD5 Check Failed")
        elif ending == "refuse":
            self._finish("not-installed", "refuse", "ERROR[7]: MD5 Check Failed")
        elif ending == "eof":
            self._finish("not-installed", "eof", "")
        elif ending == "no-install":
            self.restarts = True
            self._finish("not-installed", "no-install", "")
        elif ending == "rolled-back":
            self.restarts = True
            self._finish("not-installed", "rolled-back", "OK")
        else:
            self.restarts = True
            if self.kind == APP:
                self.device.install(bytes(self.data))
            self._finish("installed", ending, "" if ending == "lost-ok" else "OK")

    def _receive(self) -> str:
        """Take in the bytes; "" when all came, else why not."""
        pace = self.faults.value("pace", self.number)
        cut = self.faults.value("cut", self.number)
        stall = self.faults.value("stall", self.number)
        cut_at = self.size * cut if cut is not None else None
        self.link.settimeout(_RECEIVE_SECONDS)
        tries, count = 0, b""
        buffer = memoryview(bytearray(_READ))
        while len(self.data) < self.size:
            if cut_at is not None and len(self.data) >= cut_at:
                self._reset()
                return "cut"
            if stall is not None and len(self.data) >= self.size / 2:
                self._sleep(stall)
                stall = None
            try:
                got = self.link.recv_into(buffer)
                if not got:
                    return "aborted"
                if not self.data and self.kind == APP and buffer[0] != 0xE9:
                    return "wrong-magic"
                self.data += buffer[:got]
                tries, count = 0, b"%d" % got
                if pace:
                    self._sleep(self.started + len(self.data) / pace - time.monotonic())
                self.link.send(count)
            except TimeoutError:
                tries += 1
                if not count or tries > _TRIES:
                    return "receive-failed"
                self._repeat(count)
            except OSError:
                return "aborted"
        return ""

    def _repeat(self, count: bytes) -> None:
        try:
            self.link.send(count)
        except OSError:
            pass

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            select.select([self.stop_fd], [], [], min(seconds, 1e6))

    def _finish(self, outcome: str, why: str, said: str) -> None:
        self.device.remember(**self._flash(outcome, why, said))
        if self.restarts:
            self.device.restart(self.number)  # before the last word, so that no probe after it meets the old uptime
        if why == "cut":
            return  # the close that follows is a reset
        try:
            if said:
                self.link.sendall(said.encode())
            self.link.shutdown(socket.SHUT_WR)
            self._drain()
        except OSError:
            pass

    def _drain(self) -> None:
        """Read what is still coming, or the close would be a reset that destroys our last words on their way."""
        self.link.settimeout(0.5)
        end = time.monotonic() + 0.5
        while time.monotonic() < end and self.link.recv(65536):
            pass

    def _flash(self, outcome: str, why: str, said: str) -> dict[str, Any]:
        return {
            "flash": len(self.device.flashes()) + 1,
            "transport": "ota",
            "kind": self.kind,
            "start": self.started,
            "end": time.monotonic(),
            "started_at": self.started_at,
            "ended_at": rfc3339(),
            "outcome": outcome,
            "why": why,
            "said": said,
            "size": self.size,
            "received": len(self.data),
            "md5": self.md5,
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "peer": self.peer,
            "ignored_invitations": self.server.ignored(),
        }

    def _reset(self) -> None:
        self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
