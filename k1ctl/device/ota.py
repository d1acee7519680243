"""An ArduinoOTA client that says what happened: installed, refused, unknown, or nothing sent.

Protocol (arduino-esp32, libraries/ArduinoOTA): one UDP datagram ``COMMAND TCPPORT SIZE MD5`` invites; the device
answers ``OK`` (or ``AUTH NONCE``: k1ctl.device.login) and connects back by TCP. Each of its reads is acknowledged with
the decimal byte count, without any separator; when all is in and the MD5 fits it says ``OK``, often glued to the last
count (``1024OK``), and restarts; else it says an error text. What it does not say leaves the outcome unknown.
"""

from __future__ import annotations

import hashlib
import re
import select
import socket
import struct
import time
from typing import NamedTuple

from k1ctl.device.http import resolve
from k1ctl.device.invitation import Invitation, Limits, interrupted
from k1ctl.output import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.device.login import Password
    from k1ctl.device.stop import StopRequest
    from k1ctl.errors import UnreachableError

__all__ = ["DEFAULT_LIMITS", "FILESYSTEM", "FIRMWARE", "Limits", "Outcome", "send"]

FIRMWARE, FILESYSTEM = 0, 100  # commands of an invitation: U_FLASH and U_SPIFFS (whatever the filesystem is)
# A firmware goes into the slot that is not running, a filesystem into the only one there is (esp32, Updater.cpp).
FILESYSTEM_LOST = (
    "the device's filesystem is overwritten in part and stays so until an upload of it succeeds: try again"
)
_PIECE = 16 * 1024  # bytes handed to the kernel at once
_SEND_BUFFER = 16 * 1024  # bytes; what waits here was not sent yet, and the progress shown must not run ahead
_LOOK = 0.05  # seconds between two looks at the acknowledgements while there is no room to send
# One count is what one read of the device took, at most its buffer of 1460 bytes; nothing stands between two counts.
_COUNT = re.compile(rb"1[0-3]\d\d|14[0-5]\d|1460|[1-9]\d{0,2}")
_TEXT_LIMIT = 2048  # bytes of an error text that are kept
_TEXT_PAUSE = 0.5  # seconds without a byte after which an error text counts as complete


class Outcome(NamedTuple):
    """How a transfer ended: ``outcome`` is installed, refused or unknown; ``message`` the device's or our words.

    ``transfer_seconds`` runs from the first byte sent to the final answer.
    """

    outcome: str
    message: str
    transfer_seconds: float
    bytes: int
    md5: str
    invitations: int
    host_port: int


DEFAULT_LIMITS = Limits()


def send(
    host: str,
    port: int,
    image: bytes,
    *,
    command: int = FIRMWARE,
    limits: Limits = DEFAULT_LIMITS,
    password: Password | None = None,
    local: str = "",
    host_port: int = 0,
    progress: Callable[[int, int], None] | None = None,
    taken: Callable[[int, int], None] | None = None,
    connected: Callable[[], None] | None = None,
    stop: StopRequest | None = None,
) -> Outcome:
    """Send ``image`` to the device at ``host`` whose ArduinoOTA listens on UDP ``port``.

    ``command`` says what it is: `FIRMWARE` or `FILESYSTEM`. ``password`` is for a device that asks for one. The device
    connects back to ``local``, an IPv4 address of this host ("": the one the route has), and ``host_port`` (0: any).
    ``progress(sent, total)`` is called as bytes are handed to the kernel, ``taken(bytes, total)`` as the device says
    that it took them, ``connected()`` before the first one leaves; ``stop`` ends the attempt up to the last byte, after
    which only the answer or a limit does.

    Raises UnreachableError when the device certainly runs what it ran before (a filesystem is overwritten in place: of
    that, ota-interrupted tells in its hint): code device-offline (no answer to the
    invitations), ota-login-unanswered, ota-no-connect (never connected back), ota-interrupted (stopped or cut before
    the last byte). Nothing was sent either when it raises ConfigError ota-password-needed or ota-port-forbidden,
    K1ctlError ota-login-refused, WrongDataError ota-protocol (it answers something else), BusyError ota-port-in-use.
    """
    end = time.monotonic() + limits.attempt
    address = resolve(host, min(limits.attempt, 10.0))
    md5 = hashlib.md5(image, usedforsecurity=False).hexdigest()
    invitation = Invitation(address, port, host, limits, end, stop, password=password, local=local, host_port=host_port)
    with invitation:
        link = invitation.accept(b"%d %d %d %s\n" % (command, invitation.host_port, len(image), md5.encode()))
    with link:
        if connected:
            connected()
        transfer = _Transfer(link, image, command, limits.idle, end, stop)
        transfer.counts = _Counts(len(image), taken) if taken else None
        outcome, message = transfer.run(progress)
    return Outcome(outcome, message, transfer.seconds, len(image), md5, invitation.sent, invitation.host_port)


class _Counts:
    """Adds up what the device says that it took: close to the truth, as where one count ends is not always certain,
    never less than before and never more than was sent."""

    def __init__(self, total: int, taken: Callable[[int, int], None]) -> None:
        self.total, self.taken, self.sum, self.told, self.rest = total, taken, 0, 0, b""

    def add(self, digits: bytes, sent: int) -> None:
        """Take in further digits of a device that was sent ``sent`` bytes; the last count may go on in later ones."""
        counts = _COUNT.findall(self.rest + digits)
        if counts:
            self.rest = counts.pop()
            self.sum += sum(map(int, counts))
            self._tell(min(self.sum + int(self.rest), sent))

    def all(self) -> None:
        """The device has everything: it said so."""
        self._tell(self.total)

    def _tell(self, bytes_taken: int) -> None:
        if bytes_taken > self.told:
            self.told = bytes_taken
            self.taken(bytes_taken, self.total)


class _Transfer:
    """Sends without waiting for each acknowledgement, and reads what the device says meanwhile."""

    def __init__(
        self, link: socket.socket, image: bytes, command: int, idle: float, end: float, stop: StopRequest | None
    ) -> None:
        self.link, self.image, self.command = link, image, command
        self.idle, self.end, self.stop = idle, end, stop
        self.sent, self.text, self.closed = 0, b"", False
        self.counts: _Counts | None = None
        link.setblocking(False)
        self._set(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._set(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.started = self.moved = time.monotonic()
        self.seconds = 0.0

    def run(self, progress: Callable[[int, int], None] | None) -> tuple[str, str]:
        """(outcome, message). Raises UnreachableError when the last byte was not handed over."""
        try:
            complete = self._push(progress)
            self._await_text()
        except BaseException:
            self._abort()
            raise
        self.seconds = time.monotonic() - self.started
        if not (complete and self.text.startswith(b"OK")):
            self._abort()  # what is still in our buffers must not arrive after we have given up
        return self._verdict(complete)

    def _push(self, progress: Callable[[int, int], None] | None) -> bool:
        """Hand all bytes to the kernel; False when the device said something before that."""
        poll, view, total = select.poll(), memoryview(self.image), len(self.image)
        poll.register(self.link, select.POLLOUT)
        if self.stop:
            poll.register(self.stop.fd, select.POLLIN)
        while self.sent < total:
            if self.stop and self.stop.requested:
                raise self._interrupted(f"stopped after {self.sent} of {total} bytes")
            try:
                self.sent += self.link.send(view[self.sent : self.sent + _PIECE])
                self.moved = time.monotonic()
                if progress:
                    progress(self.sent, total)
            except BlockingIOError:
                self._check_limits(f"after {self.sent} of {total} bytes")
                poll.poll(_LOOK * 1000)
            except OSError as exc:
                self._read()  # the words of a device that hung up lie in our buffer still
                self.closed = True
                return self._said_or_cut(exc.strerror or str(exc))
            self._read()
            if self.sent == total:
                break  # what was said in this very moment is the answer to all of it
            if self.text and self.text != b"O":
                return False
            if self.closed:
                return self._said_or_cut("the device closed the connection")
        return True

    def _said_or_cut(self, why: str) -> bool:
        if not self.text:
            raise self._interrupted(f"the link was cut after {self.sent} of {len(self.image)} bytes: {why}")
        return False

    def _read(self) -> None:
        """Take in what the device has said so far; counts are dropped, words are kept."""
        while not self.closed:
            try:
                piece = self.link.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                self.closed = True
                return
            if not piece:
                self.closed = True
                return
            self.moved = time.monotonic()
            if self.text:
                self.text = (self.text + piece)[:_TEXT_LIMIT]
                continue
            words = piece.lstrip(b"0123456789\r\n ")
            self.text = words[:_TEXT_LIMIT]
            if self.counts:
                self.counts.add(piece[: len(piece) - len(words)], self.sent)

    def _await_text(self) -> None:
        """Wait for the final words, however the counts trickle in before them."""
        poll = select.poll()
        poll.register(self.link, select.POLLIN)
        while True:
            self._read()
            if self.closed or self.text.startswith(b"OK"):
                return
            until = min(self.end, self.moved + (_TEXT_PAUSE if self.text else self.idle))
            left = until - time.monotonic()
            if left <= 0:
                return
            poll.poll(left * 1000 + 1)

    def _interrupted(self, why: str) -> UnreachableError:
        error = interrupted(why)
        if self.command == FILESYSTEM and self.sent:
            error.hint = FILESYSTEM_LOST
        return error

    def _check_limits(self, where: str) -> None:
        now = time.monotonic()
        if now >= self.end:
            raise self._interrupted(f"the attempt ran past its limit {where}")
        if now >= self.moved + self.idle:
            raise self._interrupted(f"nothing moved for {self.idle:g} s {where}")

    def _verdict(self, complete: bool) -> tuple[str, str]:
        if self.text.startswith(b"OK"):
            if complete:
                if self.counts:
                    self.counts.all()
                return "installed", "OK"
            return "unknown", f"the device said OK after {self.sent} of {len(self.image)} bytes"
        if self.text and self.text != b"O":
            return "refused", clean(self.text.decode("ascii", "replace").strip())[:200]
        if self.closed:
            return "unknown", "the device closed the connection without a final word"
        why = "the attempt's limit passed" if time.monotonic() >= self.end else f"nothing moved for {self.idle:g} s"
        return "unknown", f"all bytes were sent, but no final word came: {why}"

    def _abort(self) -> None:
        """Make the coming close a reset, so that the device learns of it at once and buffered bytes are dropped."""
        self._set(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _set(self, level: int, option: int, value: int | bytes) -> None:
        try:
            self.link.setsockopt(level, option, value)
        except OSError:
            pass  # the device is gone already, which the next send or recv tells
