"""The device's REST API: the routes k1ctl asks, with the firmware's field names and rate limits (webserver.cpp)."""

from __future__ import annotations

import select
import socket
import struct
import threading
from typing import Any

from k1ctl.jsontext import dumps
from k1ctl.simulator.device import Device

HEALTH, INFO, PERFORMANCE = "/api/health", "/api/device/info", "/api/device/performance"
# webserver_rate_limiter.h: one window per route for all clients together; an alias has a window of its own.
ROUTES = {
    HEALTH: (HEALTH, 200),
    INFO: (INFO, 1000),
    "/api/device-info": (INFO, 1000),
    PERFORMANCE: (PERFORMANCE, 500),
    "/api/device-performance": (PERFORMANCE, 500),
    "/api/test-connection": ("/api/test-connection", 200),
}
_REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests"}


class HttpServer:
    """Answers on loopback, each request in a thread of its own, closing after each answer."""

    def __init__(self, device: Device, port: int = 0) -> None:
        self.device = device
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
                link.settimeout(2.0)
                if not self.device.answering:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                request = b""
                while b"\r\n\r\n" not in request and len(request) < 8192:
                    piece = link.recv(4096)
                    if not piece:
                        return
                    request += piece
                link.sendall(self.respond(request))
            except OSError:
                pass

    def respond(self, request: bytes) -> bytes:
        """The whole answer to a request's head."""
        words = request.split(b"\r\n", 1)[0].split()
        path = words[1].partition(b"?")[0].decode("ascii", "replace") if len(words) == 3 else ""
        if not words or words[0] != b"GET" or path not in ROUTES:
            return _answer(404, {"error": "Not found"})
        route, window = ROUTES[path]
        wait = self.device.limited(path, window)
        if wait:
            error = {"error": "rate_limited", "message": "Too many requests"}
            body = {**error, "timestamp": self.device.uptime_ms(), "status": 429}
            return _answer(429, body, {"X-RateLimit-Window": window, "X-RateLimit-NextAllowedMs": wait})
        return _answer(200, self._document(route))

    def _document(self, route: str) -> dict[str, Any]:
        device = self.device
        uptime = device.uptime_ms()
        if route == HEALTH:
            return {
                "status": "ok",
                "uptime_ms": uptime,
                "fps": 150.2,
                "cpu_percent": 41.5,
                "memory_free_kb": 165,
                "memory_total_kb": 320,
                "connected": True,
                "wifi": {"ssid": "simulated", "rssi": -48, "ip": "127.0.0.1"},
            }
        if route == INFO:
            build = {"arduino": 10812, "idf_ver": "v4.4.7", "platformio_platform": "espressif32@6.12.0"}
            return {
                "device": device.identity,
                "uptime_ms": uptime,
                "ip": "127.0.0.1",
                "mac": device.mac,
                "build": {**build, "framework": "arduino@3.20017.241212"},
            }
        if route == PERFORMANCE:
            return _performance()
        return {"status": "ok", "timestamp": uptime}


def _performance() -> dict[str, Any]:
    return {
        "fps": 150.2,
        "frame_time_us": 6657.0,
        "render_avg_us": 1210.0,
        "quantize_avg_us": 420.0,
        "rmt_wait_avg_us": 180.0,
        "rmt_tx_avg_us": 4847.0,
        "cpu_percent": 41.5,
        "memory_percent": 48.4,
        "memory_free_kb": 165,
        "memory_total_kb": 320,
        "beat_queue_depth": 0,
        "beat_queue_capacity": 64,
        "beat_overflows_total": 0,
        "fps_history": [150.2] * 16,
    }


def _answer(status: int, body: dict[str, Any], headers: dict[str, int] | None = None) -> bytes:
    text = dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(text)}",
        "Connection: close",
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Methods: GET,POST,OPTIONS",
        "Access-Control-Allow-Headers: Content-Type",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + text
