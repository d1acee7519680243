"""The device's web server: takes requests on loopback, answers as `k1ctl.simulator.routes` says or a fault wants."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time

from k1ctl.simulator import websocket
from k1ctl.simulator.device import Device
from k1ctl.simulator.documents import Api
from k1ctl.simulator.routes import BODY_LIMIT, PAGE, Answer, answer

_HEAD_LIMIT = 8192
_TAKE_SECONDS = 2.0  # a client that is silent for so long is dropped
_DRIP_SECONDS = 0.02  # between two pieces of a slow answer
_ENDLESS = b" " * 1024
_REASONS = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    413: "Payload Too Large",
    429: "Too Many Requests",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class HttpServer:
    """Answers on loopback, each request in a thread of its own, closing after each answer."""

    def __init__(self, device: Device, port: int = 0) -> None:
        self.device = device
        self.number = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]

    def serve(self, stop_fd: int) -> None:
        """Serve until ``stop_fd`` becomes readable."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(stop_fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == stop_fd:
                    self.stopped.set()
                    self.listener.close()
                    return
                try:
                    link, _ = self.listener.accept()
                except OSError:
                    continue
                threading.Thread(target=self._client, args=(link,), daemon=True).start()

    def _client(self, link: socket.socket) -> None:
        with link:
            try:
                link.settimeout(_TAKE_SECONDS)
                if not self.device.answering:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                head, body = _take(link)
                if _header(head, b"upgrade").lower() == "websocket" and _target(head) == ("GET", websocket.PATH):
                    self._websocket(link, head)
                elif head:
                    self._send(link, head, body)
            except OSError:
                pass

    def _websocket(self, link: socket.socket, head: bytes) -> None:
        device, boots = self.device, self.device.boots
        api = Api(device, device.settings, {}, {})
        device.counted(f"GET {websocket.PATH}", 101)
        websocket.serve(
            link,
            _header(head, b"sec-websocket-key"),
            api,
            lambda: not self.stopped.is_set() and device.boots == boots,
        )

    def _send(self, link: socket.socket, head: bytes, body: bytes | int) -> None:
        with self.lock:
            self.number += 1
            number = self.number
            found = self._answer(head, body)
        faults = self.device.faults
        if faults.value("hang", number) is not None:
            self.device.counted(found.route or "other", 0)
            self.stopped.wait()
            return
        status = faults.value("http", number)
        if faults.value("html", number) is not None:
            found = found._replace(status=200, kind="text/html", body=PAGE)
        elif status is not None:
            found = found._replace(status=int(status), kind="text/plain", body="")
        self.device.counted(found.route or "other", found.status)
        endless = faults.value("endless", number) is not None
        self._deliver(link, _written(found, endless=endless), faults.value("drip", number))
        while endless and not self.stopped.is_set():
            self._deliver(link, _ENDLESS, faults.value("drip", number))

    def _answer(self, head: bytes, body: bytes | int) -> Answer:
        method, target = _target(head)
        return answer(self.device, self.device.settings, method, target, _header(head, b"content-type"), body)

    def _deliver(self, link: socket.socket, data: bytes, rate: float | None) -> None:
        """Send it all, at ``rate`` bytes a second when one is given."""
        if rate is None:
            link.sendall(data)
            return
        begun, sent = time.monotonic(), 0
        while sent < len(data) and not self.stopped.wait(_DRIP_SECONDS if rate > 50 else 1 / rate):
            due = max(int((time.monotonic() - begun) * rate), sent + 1 if rate <= 50 else 0)
            link.sendall(data[sent:due])
            sent = max(due, sent)


def _take(link: socket.socket) -> tuple[bytes, bytes | int]:
    """A request's head and body; the announced length for a body beyond the limit; an empty head when none came."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD_LIMIT:
        piece = link.recv(4096)
        if not piece:
            return b"", b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    said = _header(head, b"content-length")
    length = int(said) if said.isdecimal() and len(said) < 10 else 0
    if length > BODY_LIMIT:
        return head, length
    while len(body) < length:
        piece = link.recv(65536)
        if not piece:
            break
        body += piece
    return head, body[:length]


def _target(head: bytes) -> tuple[str, str]:
    """(Method, path with query) of a request; empty when it is none."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split()
    return (words[0], words[1]) if len(words) == 3 else ("", "")


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("latin-1")
    return ""


def _written(found: Answer, *, endless: bool = False) -> bytes:
    body = found.body.encode()
    lines = [f"HTTP/1.1 {found.status} {_REASONS.get(found.status, 'Status')}"]
    if found.kind:
        lines.append(f"Content-Type: {found.kind}")
    if not endless:
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    lines += [f"{name}: {value}" for name, value in found.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
