"""One request with one deadline over all of it, on a bare socket.

The standard library's timeouts are per read: a device that drips one byte at a time holds such a caller for ever.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from typing import Any

from k1ctl.errors import K1ctlError, UnreachableError
from k1ctl.jsontext import dumps, loads

BODY_LIMIT = 64 * 1024  # bytes; the largest document of the firmware is far below
_HEAD_LIMIT = 8 * 1024
_HEARD_SECONDS = 20.0  # how long what mDNS said is not asked again; the record itself says 120 s (RFC 6762, 10)
_MDNS_SECONDS = 2.0  # a board answers within 0.2 s, and the question is asked three times
_heard: dict[str, tuple[str, float]] = {}  # name: (address, until when it counts, in monotonic seconds)
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


class RateLimited(K1ctlError):
    """HTTP 429: the device is alive; ``wait_seconds`` until it answers this route again."""

    code = "device-rate-limited"
    exit_code = 75

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(f"the device asks to wait {wait_seconds * 1000:.0f} ms", wait_seconds=wait_seconds)
        self.wait_seconds = wait_seconds


class BadAnswer(K1ctlError):
    """The device answers, but not what its firmware answers."""

    code = "device-garbage"
    exit_code = 65

    def __init__(self, message: str, status: int = 0) -> None:
        """``status``: the HTTP status other than 200 that it answered; 0 where it was none."""
        super().__init__(message, hint="is this the device's address and http_port?")
        self.status = status


def resolve(host: str, timeout: float = 5.0) -> str:
    """The IPv4 address of a name or address; IPv6 is not asked (a `.local` name then takes 5 s).

    The resolver has no deadline of its own, so it gets a thread. A `.local` name that it does not know, as on Linux
    without Avahi, is asked for by mDNS where the extra for it is installed. Raises UnreachableError after ``timeout``
    seconds.
    """
    try:
        socket.inet_pton(socket.AF_INET, host)
        return host
    except OSError:
        pass
    import threading

    found: list[str | OSError] = []

    def look() -> None:
        try:
            found.append(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])  # type: ignore[arg-type]
        except (OSError, UnicodeError) as exc:
            found.append(exc if isinstance(exc, OSError) else OSError(str(exc)))

    deadline = time.monotonic() + timeout
    local = host.rstrip(".").lower().endswith(".local")
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(max(timeout / 2 if local else timeout, 0.0))
    if found and isinstance(found[0], str):
        return found[0]
    announced = _announced(host, deadline - time.monotonic()) if local else ""
    if announced:
        return announced
    thread.join(max(deadline - time.monotonic(), 0.0))  # a system that knows the name may be slow to say so
    if found and isinstance(found[0], str):
        return found[0]
    why = "no answer from the resolver" if not found else str(found[0])
    raise UnreachableError(
        f"{host or 'the device'} has no IPv4 address: {why}",
        hint="check `host` in the device's section; try its address instead of its name",
        host=host,
    )


def _announced(host: str, seconds: float) -> str:
    """What a `.local` name is announced as by mDNS; "" for nothing, or where nobody can listen."""
    from k1ctl.device import mdns

    address, until = _heard.get(host, ("", 0.0))
    if time.monotonic() < until:
        return address
    if seconds <= 0 or not mdns.available():
        return ""
    try:
        address = next(iter(mdns.addresses(host, min(seconds, _MDNS_SECONDS))), "")
    except K1ctlError:
        return ""
    if address:
        _heard[host] = (address, time.monotonic() + _HEARD_SECONDS)
    return address


def unreachable(host: str, port: int, exc: OSError) -> UnreachableError:
    """The error to raise for a socket's OSError; a missing permission of macOS is told apart."""
    why = "no answer in time" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)
    if exc.errno in _UNREACHABLE and sys.platform == "darwin":
        return UnreachableError(
            f"{host}:{port}: {why}",
            hint="macOS keeps this program from the local network, or there is no route: "
            "System Settings > Privacy & Security > Local Network",
            code="device-unreachable-permission",
            host=host,
        )
    return UnreachableError(
        f"{host}:{port}: {why}", hint="is the device powered and on this network? check its address", host=host
    )


def get_json(host: str, port: int, path: str, timeout: float) -> Any:
    """The JSON document at ``http://host:port/path``, all of it within ``timeout`` seconds.

    Raises UnreachableError (no connection, no complete answer in time), RateLimited (429), BadAnswer (anything that
    is not HTTP 200 with at most `BODY_LIMIT` bytes of JSON).
    """
    return _document(f"{host}:{port}{path}", _exchange(host, port, "GET", path, None, timeout))


def get_text(host: str, port: int, path: str, timeout: float) -> str:
    """The text at ``http://host:port/path``, as `get_json` has it; bytes that are no UTF-8 are replaced."""
    return _body(f"{host}:{port}{path}", _exchange(host, port, "GET", path, None, timeout)).decode("utf-8", "replace")


def post_json(host: str, port: int, path: str, value: Any, timeout: float) -> Any:
    """Send ``value`` as JSON and return the document that is answered, as `get_json` has it.

    It is not sent again: after UnreachableError or BadAnswer the device may have acted on it. The firmware's server
    hands no form and no empty body to its routes (501), so an object without members is the least to send.
    """
    return _document(f"{host}:{port}{path}", _exchange(host, port, "POST", path, dumps(value).encode(), timeout))


def _exchange(host: str, port: int, method: str, path: str, body: bytes | None, timeout: float) -> bytes:
    """All that is answered, head and body. Raises as `get_json`."""
    deadline = time.monotonic() + timeout
    address = resolve(host, timeout)
    data = b""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(_left(deadline))
            sock.connect((address, port))
            sock.settimeout(_left(deadline))
            # HTTP/1.0, so that no server may answer in chunks.
            head = f"{method} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n"
            if body is not None:
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            sock.sendall(head.encode() + b"\r\n" + (body or b""))
            while not _complete(data):
                sock.settimeout(_left(deadline))
                piece = sock.recv(65536)
                if not piece:
                    break
                data += piece
    except OSError as exc:
        if data and not isinstance(exc, TimeoutError) and exc.errno == errno.ECONNRESET:
            raise BadAnswer(f"{host}:{port}{path}: the connection broke in the middle of the answer") from exc
        if data and isinstance(exc, TimeoutError):
            raise UnreachableError(
                f"{host}:{port}{path}: only {len(data)} bytes of an answer in time",
                hint="something is there, but too slow; is it the device? probe_timeout says how long it may take",
                host=host,
            ) from exc
        raise unreachable(host, port, exc) from exc
    if not data:
        raise unreachable(host, port, OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
    return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _complete(data: bytes) -> bool:
    """Whether no more needs to be read: the announced length is there, or a limit is passed."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return len(data) > _HEAD_LIMIT
    length = _headers(head).get("content-length", "")
    return len(body) > BODY_LIMIT or (length.isdecimal() and len(length) < 10 and len(body) >= int(length))


def _headers(head: bytes) -> dict[str, str]:
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return {k.decode("latin-1").strip().lower(): v.decode("latin-1").strip() for k, _, v in lines}


def _document(where: str, data: bytes) -> Any:
    body = _body(where, data)
    try:
        return loads(body.decode(), bounded=True)
    except (ValueError, RecursionError) as exc:
        raise BadAnswer(f"{where}: the answer is not JSON") from exc


def _body(where: str, data: bytes) -> bytes:
    head, found, body = data.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(None, 2)
    if (
        not found
        or len(words) < 2
        or not words[0].startswith(b"HTTP/")
        or not (words[1].isdigit() and len(words[1]) == 3)
    ):
        raise BadAnswer(f"{where}: the answer is not HTTP")
    headers, status = _headers(head), int(words[1])
    if status == 429:
        told = headers.get("x-ratelimit-nextallowedms", "")
        raise RateLimited(min(int(told), 60_000) / 1000 if told.isdecimal() and len(told) < 10 else 1.0)
    if status != 200:
        raise BadAnswer(f"{where}: HTTP {status}", status)
    length = headers.get("content-length", "")
    if len(body) > BODY_LIMIT:
        raise BadAnswer(f"{where}: the answer is longer than {BODY_LIMIT} bytes")
    if length.isdecimal() and len(body) < int(length):
        raise BadAnswer(f"{where}: the answer ends after {len(body)} of {length} bytes")
    return body
