"""The simulated device's WebSocket: the handshake of RFC 6455, welcome, realtime, echo, ping, close."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.simulator.websocket import accepted
from k1ctl.testing import SimulatedDevice

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3


class Client:
    """A WebSocket's client side, as far as the tests need it."""

    def __init__(self, port: int) -> None:
        self.link = socket.create_connection(("127.0.0.1", port))
        self.link.settimeout(20)
        head = f"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
        self.link.sendall((head + "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        self.data = b""
        self.head = self._until(lambda: self.data.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in self.data else 0)

    def _until(self, whole: Any) -> bytes:
        while not whole():
            piece = self.link.recv(65536)
            if not piece:
                raise EOFError
            self.data += piece
        found, self.data = self.data[: whole()], self.data[whole() :]
        return found

    def take(self) -> tuple[int, bytes]:
        """(Kind, content) of the next frame."""
        top = self._until(lambda: 2 if len(self.data) >= 2 else 0)
        size = top[1]
        if size == 126:
            size = struct.unpack(">H", self._until(lambda: 2 if len(self.data) >= 2 else 0))[0]
        return top[0] & 15, self._until(lambda: size if len(self.data) >= size else 0) if size else b""

    def take_json(self, kind: str) -> dict[str, Any]:
        """The next message of this type."""
        while True:
            message: dict[str, Any] = json.loads(self.take()[1])
            if message["type"] == kind:
                return message

    def send(self, kind: int, content: bytes) -> None:
        mask = b"\x01\x02\x03\x04"
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))
        self.link.sendall(bytes([0x80 | kind, 0x80 | len(content)]) + mask + masked)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SimulatedDevice]:
    with SimulatedDevice(tmp_path, "fps=99") as device:
        yield device


@pytest.fixture
def client(device: SimulatedDevice) -> Iterator[Client]:
    client = Client(device.http_port)
    with client.link:
        yield client


def test_the_handshake_of_the_rfc() -> None:
    """The key of RFC 6455's example gives the answer of its example."""
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in accepted(KEY)


def test_welcome_realtime_echo(client: Client) -> None:
    """A client is welcomed, gets the state again and again, and its texts back."""
    assert client.head.startswith(b"HTTP/1.1 101 ")
    assert set(client.take_json("welcome")) == {"type", "client_id", "timestamp"}
    first, second = client.take_json("realtime"), client.take_json("realtime")
    assert set(first) == {"type", "timestamp", "performance", "audio", "parameters", "current_pattern"}
    assert first["performance"]["fps"] == 99 and len(first["parameters"]) == 13
    assert second["timestamp"] >= first["timestamp"]
    client.send(TEXT, "hello \u00e9".encode())
    assert client.take_json("echo")["message"] == "hello \u00e9"


def test_ping_and_close(client: Client) -> None:
    """A ping is answered with its content, a close with a close, and then the connection ends."""
    client.send(PING, b"are you there")
    while (found := client.take())[0] == TEXT:
        pass
    assert found == (PONG, b"are you there")
    client.send(CLOSE, struct.pack(">H", 1000))
    while (found := client.take())[0] == TEXT:
        pass
    assert found == (CLOSE, struct.pack(">H", 1000))
    with pytest.raises(EOFError):
        client.take()


def test_a_restart_ends_it(device: SimulatedDevice, client: Client) -> None:
    """The connection does not outlive the device's start."""
    client.take_json("welcome")
    device.device.restart()
    with pytest.raises((EOFError, ConnectionError)):
        for _ in range(40):
            client.take()


@pytest.mark.parametrize("data", [b"\x81\x05hello", b"\x81\xff" + bytes(8), b"\x81\xfe\xff\xff"])
def test_what_no_client_sends_ends_it(client: Client, data: bytes) -> None:
    """Frames without a mask, or far too long, end the connection."""
    client.link.sendall(data)
    with pytest.raises((EOFError, ConnectionError)):
        for _ in range(40):
            client.take()
