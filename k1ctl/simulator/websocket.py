"""The device's WebSocket ``/ws`` (RFC 6455, webserver.cpp): a welcome, the state each 250 ms, an echo of each text."""

from __future__ import annotations

import hashlib
import itertools
import select
import socket
import struct
import time
from base64 import b64encode
from typing import Any

from k1ctl.jsontext import dumps
from k1ctl.simulator import documents
from k1ctl.simulator.documents import Api
from k1ctl.simulator.settings import HIDDEN, SAVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/ws"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_LIMIT = 4096  # bytes of a message that is echoed
_TOLD = (*SAVED[: -len(HIDDEN)], "dithering", *HIDDEN)
_clients = itertools.count(1)


def accepted(key: str) -> bytes:
    """The answer to a client that asks with ``key`` to go on as a WebSocket."""
    digest = b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    return head + b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"


def frame(kind: int, data: bytes) -> bytes:
    """One unmasked frame, as servers send it."""
    size = len(data)
    if size < 126:
        return bytes([0x80 | kind, size]) + data
    return bytes([0x80 | kind, 126]) + struct.pack(">H", size) + data


def realtime(api: Api) -> dict[str, Any]:
    """What every client gets all the time."""
    told = documents.performance(api)
    names = ("fps", "frame_time_us", "render_avg_us", "quantize_avg_us", "rmt_wait_avg_us", "rmt_tx_avg_us")
    audio: dict[str, Any] = dict.fromkeys(("vu_level", "vu_level_raw", "tempo_confidence", "locked_tempo_bpm"), 0.0)
    api.settings.settle()
    return {
        "type": "realtime",
        "timestamp": api.device.uptime_ms(),
        "performance": {name: told[name] for name in (*names, "cpu_percent", "memory_percent", "memory_free_kb")},
        "audio": {**audio, "tempo_lock_state": "UNLOCKED"},
        "parameters": {name: api.settings.parameters[name] for name in _TOLD},
        "current_pattern": api.settings.pattern,
    }


def serve(link: socket.socket, key: str, api: Api, going_on: Callable[[], bool]) -> None:
    """Be the WebSocket of one client until it closes or ``going_on`` says no. Raises OSError."""
    link.sendall(accepted(key))
    welcome = {"type": "welcome", "client_id": next(_clients), "timestamp": api.device.uptime_ms()}
    link.sendall(frame(_TEXT, dumps(welcome).encode()))
    link.settimeout(2.0)
    told, data = time.monotonic(), b""
    while going_on():
        if select.select([link], [], [], 0.02)[0]:
            piece = link.recv(65536)
            if not piece:
                return
            data += piece
            while (found := _taken(data)) is not None:
                kind, message, data = found
                if not _answered(link, api, kind, message):
                    return
        config = api.settings.realtime
        if config["enabled"] and (time.monotonic() - told) * 1000 >= config["interval_ms"]:
            told = time.monotonic()
            link.sendall(frame(_TEXT, dumps(realtime(api)).encode()))


def _answered(link: socket.socket, api: Api, kind: int, message: bytes) -> bool:
    """Answer one message; False when it was the last."""
    if kind == _TEXT:
        said = message.decode("utf-8", "replace")
        link.sendall(
            frame(_TEXT, dumps({"type": "echo", "message": said, "timestamp": api.device.uptime_ms()}).encode())
        )
    elif kind == _PING:
        link.sendall(frame(_PONG, message))
    elif kind == _CLOSE:
        link.sendall(frame(_CLOSE, message[:2]))
        return False
    return True


def _taken(data: bytes) -> tuple[int, bytes, bytes] | None:
    """(Kind, message, what follows) of the first whole frame of a client; None when there is none yet.

    Raises ConnectionError for a frame that is not masked or too long.
    """
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size == 126:
        if len(data) < 4:
            return None
        size, at = struct.unpack(">H", data[2:4])[0], 4
    if not data[1] & 0x80 or size == 127 or size > _LIMIT:  # 127: a length of 64 bits follows
        raise ConnectionError("not a frame of a client")
    if len(data) < at + 4 + size:
        return None
    mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
    message = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
    return data[0] & 0x0F, message, data[at + 4 + size :]
