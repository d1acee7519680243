"""One GET, one deadline; a device that answers nonsense is told apart from one that does not answer."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.device import mdns
from k1ctl.device.http import BODY_LIMIT, BadAnswer, RateLimited, get_json, resolve, unreachable
from k1ctl.device.probe import probe
from k1ctl.errors import UnreachableError
from k1ctl.testing import SimulatedDevice
from tests.device.fakes import http_server


def saying(data: bytes):  # type: ignore[no-untyped-def]
    def answer(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(data)

    return http_server(answer)


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", b""]) + body


def test_a_document_is_returned() -> None:
    """JSON comes back as values, with and without an announced length."""
    for headers in ((), (b"Content-Length: 9",)):
        with saying(ok(b'{"a": 12}', *headers)) as port:
            assert get_json("127.0.0.1", port, "/x", 5) == {"a": 12}


def test_an_open_connection_is_not_waited_for() -> None:
    """When the announced length is there, the answer is complete although the device does not close."""

    def answer(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(ok(b"[1]", b"Content-Length: 3"))
        link.recv(1)

    with http_server(answer) as port:
        assert get_json("127.0.0.1", port, "/", 60) == [1]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\x17 garbage",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n{}",
        b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n{}",
        ok(b""),
        ok(b"<html>"),
        ok(b'{"a":'),
        ok(b"\xff\xfe"),
        ok(b"[" * 60_000),
        ok(b"9" * 10_000),
        ok(b'{"uptime_ms": 1' + b"0" * 400 + b"}"),
        ok(b'{"fps": 1e999}'),
        ok(b"{}", b"Content-Length: 99"),
        ok(b" " * (BODY_LIMIT + 1)),
        b"x" * 100_000,
        b"HTTP/1.1 404 Not Found\r\n\r\n{}",
        b"HTTP/1.1 500 Oops\r\n\r\n",
    ],
    ids=range(17),
)
def test_garbage_is_a_clear_error(data: bytes) -> None:
    """Whatever is not HTTP 200 with JSON is a BadAnswer, never another exception."""
    with saying(data) as port, pytest.raises(BadAnswer):
        get_json("127.0.0.1", port, "/api/device/info", 5)


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.binary(min_size=1, max_size=80), st.binary(max_size=60).map(ok)))
def test_no_answer_can_crash_the_reader(data: bytes) -> None:
    """Random answers give a value or an expected failure."""
    with saying(data) as port:
        try:
            get_json("127.0.0.1", port, "/", 5)
        except (BadAnswer, UnreachableError):
            pass


@pytest.mark.parametrize("piece", [b"x", b"HTTP/1.1 200 OK\r\nX: ", b""])
def test_the_deadline_covers_the_whole_call(piece: bytes) -> None:
    """A device that drips bytes, or says nothing, does not hold the caller past the deadline."""

    def answer(link: socket.socket) -> None:
        link.recv(4096)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if piece:
                link.sendall(piece[:1])
            time.sleep(0.02)
            link.settimeout(0.001)
            try:
                if not link.recv(1):
                    return
            except TimeoutError:
                pass
            link.settimeout(None)

    with http_server(answer) as port:
        started = time.monotonic()
        with pytest.raises(UnreachableError) as caught:
            get_json("127.0.0.1", port, "/", 0.3)
        assert caught.value.code == "device-offline"
        assert ("bytes of an answer" in caught.value.message) == bool(piece)
        assert time.monotonic() - started < 10, "the device was waited for to its end"


def test_429_tells_when_to_ask_again() -> None:
    """A rate limit is no failure of the device, and its own header says how long it lasts."""
    with saying(
        b"HTTP/1.1 429 Too Many\r\nX-RateLimit-Window: 1000\r\nX-RateLimit-NextAllowedMs: 640\r\n\r\n{}"
    ) as port:
        with pytest.raises(RateLimited) as caught:
            get_json("127.0.0.1", port, "/", 5)
    assert caught.value.wait_seconds == 0.64


def test_nobody_listens() -> None:
    """A refused connection is code device-offline, exit 69."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError) as caught:
            get_json("127.0.0.1", free.getsockname()[1], "/", 5)
    assert (caught.value.code, caught.value.exit_code) == ("device-offline", 69)


def test_macos_permission_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """EHOSTUNREACH on macOS may be a missing permission, and the hint says where it is given."""
    failure = OSError(errno.EHOSTUNREACH, "No route to host")
    assert unreachable("192.0.2.1", 80, failure).code == "device-offline"
    monkeypatch.setattr(sys, "platform", "darwin")
    told = unreachable("192.0.2.1", 80, failure)
    assert told.code == "device-unreachable-permission"
    assert "Local Network" in told.hint


def test_names_resolve_to_ipv4() -> None:
    """A name is looked up once, for IPv4; one that does not exist is unreachable."""
    assert resolve("localhost") == "127.0.0.1"
    with pytest.raises(UnreachableError):
        resolve("no-such-host.invalid", 5)
    with pytest.raises(UnreachableError):
        resolve("a" * 300, 5)


def test_a_local_name_that_the_resolver_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for by mDNS, here on loopback; one that nobody announces is unreachable within the time given."""

    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    host = f"k1-resolve-{os.getpid()}"
    with SimulatedDevice(tmp_path, mdns=host) as device:
        assert resolve(f"{host}.local", 20) == "127.0.0.1"
        monkeypatch.setattr(mdns, "addresses", lambda *_: pytest.fail("asked again"))
        assert probe({**device.settings(), "host": f"{host}.local"}).mac == device.device.mac
    monkeypatch.undo()
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UnreachableError):
        resolve(f"{host}-none.local", 0.2)
    with pytest.raises(UnreachableError):
        resolve("\xe9" * 70 + ".local", 0.2)


def test_a_resolver_that_is_slow_to_know_a_local_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the time given is its own where nobody can be asked by mDNS."""
    asked = threading.Event()

    def slow(*_: object) -> list[object]:
        asked.wait(20)
        return [(2, 1, 6, "", ("10.9.8.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(mdns, "available", asked.set)  # None: zeroconf is not installed
    assert resolve("k1-slow.local", 0.8) == "10.9.8.7"
