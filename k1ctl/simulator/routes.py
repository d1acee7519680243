"""The REST API's routes in the order in which the firmware registers them, and how its web server picks one.

Sources: webserver.cpp (`init_webserver`), webserver_request_handler.h, webserver_rate_limiter.h; for the choice of a
route and the 501 the pinned ESPAsyncWebServer 23ae702 (3.5.1).
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from k1ctl.jsontext import dumps, loads
from k1ctl.simulator import audio, lights
from k1ctl.simulator import documents as get
from k1ctl.simulator import posts as post
from k1ctl.simulator.documents import Api, Refused
from k1ctl.simulator.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.simulator.device import Device

BODY_LIMIT = 64 * 1024  # bytes of a POST body: K1_MAX_REQUEST_BODY_SIZE
JSON_LIMIT = 1024  # bytes of memory for the parsed body: StaticJsonDocument<1024>
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET,POST,OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Allow-Credentials": "false",
}
PAGE = "<!DOCTYPE html>\n<html><head><title>K1.reinvented</title></head><body><h1>K1.reinvented</h1></body></html>\n"


class Route(NamedTuple):
    """One route: ``window_ms`` is the time in which it answers once, for all clients together (0: no limit)."""

    method: str
    path: str
    window_ms: int
    answer: Callable[[Api], dict[str, Any] | str]
    file: str = ""  # name under which a browser keeps the answer

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Answer(NamedTuple):
    """What goes back: ``route`` is the name of the route that answered, "" when none did."""

    status: int
    kind: str
    body: str
    headers: dict[str, object]
    route: str = ""


ROUTES = (
    Route("GET", "/api/patterns", 1000, get.patterns),
    Route("GET", "/api/params", 150, get.params),
    Route("GET", "/api/palettes", 2000, get.palettes),
    Route("GET", "/api/device/info", 1000, get.info),
    Route("GET", "/api/device-info", 1000, get.info),
    Route("GET", "/api/device/performance", 500, get.performance),
    Route("GET", "/api/device-performance", 500, get.performance),
    Route("GET", "/api/frame-metrics", 500, get.frame_metrics),
    Route("GET", "/api/test-connection", 200, get.connection),
    Route("GET", "/api/health", 200, get.health),
    Route("GET", "/api/leds/frame", 200, lights.led_frame),
    Route("POST", "/api/params", 300, post.post_params),
    Route("POST", "/api/select", 200, post.select),
    Route("POST", "/api/reset", 1000, post.reset),
    Route("POST", "/api/audio-config", 300, post.audio_config),
    Route("POST", "/api/wifi/link-options", 300, post.link_options),
    Route("POST", "/api/wifi/credentials", 1500, post.credentials),
    Route("POST", "/api/wifi/scan", 5000, post.scan),
    Route("POST", "/api/config/restore", 2000, post.restore),
    Route("POST", "/api/diag", 300, post.post_diag),
    Route("POST", "/api/audio/noise-calibrate", 1000, post.noise_calibrate),
    Route("GET", "/api/diag", 200, get.diag),
    Route("GET", "/api/beat-events/info", 200, audio.beats_info),
    Route("GET", "/api/led-tx/info", 200, lights.led_tx_info),
    Route("GET", "/api/latency/probe", 200, lights.latency_probe),
    Route("GET", "/api/latency/align", 200, lights.latency_align),
    Route("GET", "/api/beat-events/recent", 300, audio.beats),
    Route("GET", "/api/led-tx/recent", 300, lights.led_tx_recent),
    Route("GET", "/api/rmt", 200, lights.rmt),
    Route("GET", "/api/audio/tempo", 200, audio.tempo),
    Route("GET", "/api/audio/snapshot", 300, audio.snapshot),
    Route("GET", "/api/wifi/status", 500, get.wifi_status),
    Route("GET", "/api/wifi/scan/results", 0, get.scan_results),
    Route("GET", "/api/pattern/current", 200, get.pattern_current),
    Route("GET", "/metrics", 200, get.metrics),
    Route("GET", "/api/metrics", 200, get.metrics),
    Route("GET", "/api/wifi/ap-mode", 500, get.ap_mode),
    Route("POST", "/api/wifi/reassociate", 500, post.reassociate),
    Route("GET", "/api/wifi/scan/results/json", 5000, get.scan_results_json),
    Route("POST", "/api/wifi/tx-power", 500, post.tx_power),
    Route("POST", "/api/wifi/power-save", 500, post.power_save),
    Route("GET", "/api/wifi/metrics", 500, get.wifi_metrics),
    Route("POST", "/api/wifi/channel", 500, post.channel),
    Route("POST", "/api/wifi/band-steering", 500, post.band_steering),
    Route("POST", "/api/realtime/preset", 300, post.preset),
    Route("GET", "/api/audio/metrics", 200, audio.audio_metrics),
    Route("GET", "/api/beat-events/dump", 500, audio.beats, "beat-events.json"),
    Route("GET", "/api/led-tx/dump", 500, lights.led_tx, "led-tx-events.json"),
    Route("GET", "/api/audio/arrays", 200, audio.arrays),
    Route("GET", "/api/realtime/config", 200, get.realtime),
    Route("POST", "/api/realtime/config", 300, post.realtime_config),
    Route("POST", "/api/rmt/reset", 500, post.rmt_reset),
    Route("GET", "/api/transitions/config", 500, get.transitions),
    Route("POST", "/api/transitions/config", 300, post.transitions),
    Route("GET", "/api/transitions/status", 200, get.transition_status),
    Route("GET", "/api/audio-config", 500, audio.audio_config),
    Route("GET", "/api/params/bounds", 200, get.params_bounds),
    Route("GET", "/api/config/backup", 2000, get.backup, "k1-config-backup.json"),
    Route("GET", "/api/wifi/link-options", 500, get.link_options),
    Route("GET", "/api/wifi/credentials", 500, get.credentials),
)


def find(method: str, path: str) -> Route | None:
    """The first route whose path is ``path`` or a folder above it: ``/api/params`` also answers /api/params/bounds."""
    for route in ROUTES:
        if route.method == method and (path == route.path or path.startswith(route.path + "/")):
            return route
    return None


def answer(
    device: Device, settings: Settings, method: str, target: str, kind: str = "", body: bytes | int = b""
) -> Answer:
    """Answer one request; ``body`` is what was sent, or its announced length when that is beyond `BODY_LIMIT`."""
    path, _, query = target.partition("?")
    route = find(method, path)
    if method == "OPTIONS":
        return Answer(204, "", "", dict(CORS))
    if route is None:
        if method == "GET" and path in ("/", "/ui", "/ui/", "/ui/index.html"):
            return Answer(200, "text/html", PAGE, {})
        return Answer(404, "application/json", '{"error":"Not found"}', dict(CORS))
    if method == "POST":
        if isinstance(body, int) and body > BODY_LIMIT:
            large = {"error": "payload_too_large", "max_size": BODY_LIMIT}
            return Answer(413, "application/json", dumps(large), dict(CORS), route.name)
        # Forms never reach the function that takes a body in, and nothing else answers.
        if not body or kind.lower().startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
            return Answer(501, "text/plain", "Handler did not handle the request", {}, route.name)
    busy = device.faults.value("busy", 1) is not None
    scale = device.faults.value("windows", 1)
    window = route.window_ms if scale is None else int(route.window_ms * scale)
    wait = route.window_ms if busy and route.window_ms else device.limited(route.name, window)
    if wait is not None:
        limits = {"X-RateLimit-Window": window, "X-RateLimit-NextAllowedMs": wait}
        return _error(device, route, Refused(429, "rate_limited", "Too many requests"), limits)
    try:
        sent = _parsed(body) if method == "POST" and isinstance(body, bytes) else {}
        document = route.answer(Api(device, settings, _query(query), sent))
    except Refused as refused:
        return _error(device, route, refused)
    headers: dict[str, object] = {**CORS}
    if route.file:
        headers["Content-Disposition"] = f'attachment; filename="{route.file}"'
    kind = "text/plain" if isinstance(document, str) else "application/json"
    return Answer(200, kind, get.text(document), headers, route.name)


def _error(device: Device, route: Route, refused: Refused, headers: dict[str, int] | None = None) -> Answer:
    error = {"error": refused.error, "message": refused.message, "timestamp": device.uptime_ms()}
    body = dumps({**error, "status": refused.status})
    return Answer(refused.status, "application/json", body, {**CORS, **(headers or {})}, route.name)


def _parsed(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; any other JSON is one without members. Raises Refused."""
    try:
        value = loads(body.decode())
        if get.weight(value) > JSON_LIMIT:
            raise ValueError("no memory")
    except (ValueError, RecursionError) as exc:
        raise Refused(400, "invalid_json", "Request body contains invalid JSON") from exc
    return value if isinstance(value, dict) else {}


def _query(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split("&") if pair)
    found: dict[str, str] = {}
    for name, _, value in pairs:
        found.setdefault(unquote_plus(name), unquote_plus(value))  # getParam gives the first of a name
    return found
