"""The first half of an update: invite the device, log in when it asks for that, take the connection it makes back.

A device forgets a login that anything else comes between, without a word (arduino-esp32, ArduinoOTA::_onRx), also a
second invitation of ours: so nothing is sent while an answer of ours is judged, and silence begins anew.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import NamedTuple

from k1ctl.device import login
from k1ctl.device.http import unreachable
from k1ctl.errors import BusyError, ConfigError, K1ctlError, UnreachableError, WrongDataError
from k1ctl.output import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.device.stop import StopRequest

_INVITED, _ASKED, _ANSWERED, _REFUSED, _AGREED = "invited", "asked", "answered", "refused", "agreed"


class Limits(NamedTuple):
    """Bounds of every wait, in seconds; ``invitations`` is how many are sent before a device counts as offline.

    ``login`` is as long as the reference client waits: a device takes a second or two for 10000 rounds of PBKDF2.
    """

    invitations: int = 10
    invitation_interval: float = 1.0
    connect: float = 10.0
    idle: float = 20.0
    attempt: float = 300.0
    login: float = 10.0


class Invitation:
    """Invites the device ``host`` at ``address``:``port`` until it connects back, at ``end`` (monotonic) at the latest.

    ``local`` is the address of this host to be connected to ("": the one the route to the device has), ``host_port``
    the TCP port (0: any). Raises K1ctlError when there is no such socket to be had.
    """

    def __init__(
        self,
        address: str,
        port: int,
        host: str,
        limits: Limits,
        end: float,
        stop: StopRequest | None = None,
        *,
        password: login.Password | None = None,
        local: str = "",
        host_port: int = 0,
    ) -> None:
        self.address, self.port, self.host, self.limits, self.end, self.stop = address, port, host, limits, end, stop
        self.password = password
        self.sent, self.allowed = 0, limits.invitations
        self.state = _INVITED
        self.nonce, self.refusals, self.unanswered = "", 0, 0
        self.trouble: OSError | None = None
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if local:
                self.udp.bind((local, 0))
            # A connected datagram socket only hears the device, and knows the local address that leads to it.
            self.udp.connect((address, port))
            if host_port:
                self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.tcp.bind((self.udp.getsockname()[0], host_port))
            self.tcp.listen(4)
        except OSError as exc:
            self.__exit__()
            if host_port and exc.errno == errno.EADDRINUSE:
                raise _port_taken(host_port) from exc
            if host_port and exc.errno == errno.EACCES:
                raise _port_forbidden(host_port) from exc
            raise unreachable(host, port, exc) from exc
        self.udp.setblocking(False)
        self.tcp.setblocking(False)
        self.local: str
        self.host_port: int
        self.local, self.host_port = self.tcp.getsockname()

    def __enter__(self) -> Invitation:
        return self

    def __exit__(self, *exc: object) -> None:
        self.udp.close()
        self.tcp.close()

    def accept(self, datagram: bytes) -> socket.socket:
        """The connection that the device makes. Raises as `k1ctl.device.ota.send` does."""
        poll = select.poll()
        poll.register(self.udp, select.POLLIN)
        poll.register(self.tcp, select.POLLIN)
        if self.stop:
            poll.register(self.stop.fd, select.POLLIN)
        while self.state != _AGREED and self.sent < self.allowed and time.monotonic() < self.end:
            self._invite(datagram)
            link = self._listen(poll, self._patience())
            while link is None and self.state == _ASKED:
                self._log_in()
                link = self._listen(poll, self.limits.login)
            if link:
                return link
            if self.state == _ANSWERED:
                self.unanswered += 1
            elif self.state == _REFUSED:
                self._next_hash()
        if self.state == _AGREED:
            link = self._listen(poll, self.limits.connect)
            if link:
                return link
        raise self._failure()

    def _patience(self) -> float:
        """Seconds to the next invitation; more where one that came too early may have cost us a login."""
        interval = self.limits.invitation_interval
        return interval if not self.unanswered else max(interval, min(interval * 2**self.unanswered, self.limits.login))

    def _invite(self, datagram: bytes) -> None:
        self.sent += 1
        self.state = _INVITED
        try:
            self.udp.send(datagram)
        except OSError as exc:  # also an earlier datagram's ICMP answer: a device that restarts gets further ones
            self.trouble = exc

    def _log_in(self) -> None:
        """Answer the device's nonce."""
        if self.password is None:
            raise login.needed(self.host)
        hashes = login.HASHES[len(self.nonce)]
        reply = login.answer(self.password, self.nonce, hashes[min(self.refusals, len(hashes) - 1)])
        self.state = _ANSWERED
        try:
            self.udp.send(reply)
        except OSError as exc:
            self.trouble = exc

    def _next_hash(self) -> None:
        """After a refusal: the device may keep the password by another hash, for which it is invited anew."""
        self.refusals += 1
        if self.refusals >= len(login.HASHES[len(self.nonce)]):
            raise K1ctlError(
                f"{self.host} refused the login",
                hint="the OTA password is not the one in its firmware; nothing was sent, it runs what it ran before",
                code="ota-login-refused",
            )
        self.allowed = self.sent + self.limits.invitations

    def _listen(self, poll: select.poll, seconds: float) -> socket.socket | None:
        """Wait for the connection; returns early, with None, when the state changed."""
        before, until = self.state, min(time.monotonic() + seconds, self.end)
        while True:
            left = until - time.monotonic()
            if left <= 0 or self.state != before:
                return None
            for fd, _ in poll.poll(left * 1000 + 1):
                if self.stop and fd == self.stop.fd:
                    raise interrupted("stopped before anything was sent")
                if fd == self.tcp.fileno():
                    link = self._take()
                    if link:
                        return link
                elif fd == self.udp.fileno():
                    self._heard()

    def _take(self) -> socket.socket | None:
        try:
            link, peer = self.tcp.accept()
        except OSError:
            return None
        if peer[0] != self.address:
            link.close()
            return None
        return link

    def _heard(self) -> None:
        try:
            text = self.udp.recv(512).decode("ascii", "replace").strip()
        except BlockingIOError:
            return
        except OSError as exc:
            self.trouble = exc
            return
        self.trouble = None
        if self.state == _AGREED:
            return
        if text == "OK":
            self.state = _AGREED
        elif text.startswith("AUTH"):
            self._asked(text[4:].strip())
        elif text == "Authentication Failed" and self.nonce:
            self.state = _REFUSED
        else:
            raise self._nonsense(text)

    def _asked(self, nonce: str) -> None:
        if len(nonce) not in login.HASHES or not set(nonce) <= set("0123456789abcdefABCDEF"):
            raise self._nonsense(f"AUTH {nonce}")
        if nonce != self.nonce:  # the same one again is the network's echo of what was answered
            self.nonce, self.state = nonce, _ASKED

    def _nonsense(self, text: str) -> WrongDataError:
        return WrongDataError(
            f"{self.host}:{self.port} answered the invitation with {clean(text)[:80]!r}",
            hint="that is not ArduinoOTA: is this the device's address and ota_port? nothing was sent",
            code="ota-protocol",
        )

    def _failure(self) -> K1ctlError:
        if self.state == _AGREED:
            return UnreachableError(
                f"{self.host} agreed to an update but did not connect back to {self.local}:{self.host_port}",
                hint="a firewall on this host, the wrong one of its interfaces (`interface` in the device's section, "
                "--interface), or an image larger than its partition; nothing was sent",
                code="ota-no-connect",
            )
        if self.trouble is not None:
            return unreachable(self.host, self.port, self.trouble)
        if self.unanswered:
            return UnreachableError(
                f"{self.host} asked for the OTA password but said nothing to {self.unanswered} of our answers",
                hint="does somebody else invite it at the same time? nothing was sent; try again",
                code="ota-login-unanswered",
            )
        return UnreachableError(
            f"{self.host}:{self.port}: no answer to {self.sent} invitations",
            hint="is the device powered, on this network, and is its firmware listening for OTA?",
        )


def interrupted(why: str) -> UnreachableError:
    """The error of an update that ended before its last byte was handed over."""
    return UnreachableError(
        f"the update did not complete: {why}",
        hint="the device keeps the firmware it had; try again",
        code="ota-interrupted",
    )


def _port_taken(port: int) -> BusyError:
    return BusyError(
        f"port {port} of this host, which the device is to connect to, is in use",
        hint="ota_host_port of the device's section names it; 0 takes any free one",
        code="ota-port-in-use",
    )


def _port_forbidden(port: int) -> ConfigError:
    return ConfigError(
        f"port {port} of this host, which the device is to connect to, is not open to this user",
        hint="set ota_host_port of the device's section to one from 1024 on, or to 0 for any free one",
        code="ota-port-forbidden",
    )
