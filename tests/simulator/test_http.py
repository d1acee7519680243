"""The simulated REST API answers as the firmware's source says: routes, fields, limits, errors, and its oddities."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from k1ctl.simulator.device import requests
from k1ctl.simulator.routes import ROUTES, find
from k1ctl.simulator.settings import Settings
from k1ctl.testing import SimulatedDevice
from tests.kit import REPOSITORY, wait_until

# Field names read in webserver.cpp, apart from the simulator's own table.
SHAPES = {
    "GET /api/health": "status uptime_ms fps cpu_percent memory_free_kb memory_total_kb connected wifi",
    "GET /api/test-connection": "status timestamp",
    "GET /api/device/info": "device uptime_ms ip mac build",
    "GET /api/device-info": "device uptime_ms ip mac build",
    "GET /api/device/performance": "fps frame_time_us render_avg_us quantize_avg_us rmt_wait_avg_us rmt_tx_avg_us "
    "cpu_percent memory_percent memory_free_kb memory_total_kb beat_queue_depth beat_queue_capacity "
    "beat_overflows_total fps_history",
    "GET /api/frame-metrics": "frame_count buffer_size avg_render_us avg_quantize_us avg_rmt_wait_us avg_rmt_tx_us "
    "avg_total_us frames",
    "GET /api/patterns": "patterns current_pattern",
    "GET /api/pattern/current": "index id name is_audio_reactive",
    "GET /api/params": "brightness softness color color_range saturation warmth background dithering mirror_mode "
    "led_offset speed palette_id beat_threshold beat_squash_power audio_responsiveness audio_sensitivity "
    "bass_treble_balance color_reactivity brightness_floor frame_min_period_ms",
    "GET /api/palettes": "palettes",
    "GET /api/audio-config": "microphone_gain vu_floor_pct active",
    "GET /api/audio/tempo": "tempo_confidence tempi_power_sum silence_detected silence_level max_tempo_range "
    "snapshot_valid confidence_metrics tempo_lock_state time_in_state_ms locked_tempo_bpm top_bins",
    "GET /api/audio/snapshot": "vu_level vu_level_raw tempo_confidence update_counter timestamp_us is_valid",
    "GET /api/audio/arrays": "spectrogram tempi count offset stride source_bins source_tempi history "
    "include_chromagram include_novelty",
    "GET /api/audio/metrics": "fps frame_time_us cpu_percent memory_free_kb beat_events_count tempo_confidence "
    "audio_update_counter audio_timestamp_us",
    "GET /api/beat-events/info": "count capacity",
    "GET /api/beat-events/recent": "count capacity events",
    "GET /api/beat-events/dump": "count capacity events",
    "GET /api/led-tx/info": "count capacity",
    "GET /api/led-tx/recent": "count capacity order events",
    "GET /api/led-tx/dump": "count capacity order events",
    "GET /api/latency/probe": "active last_latency_ms timestamp_us last_led_tx_us",
    "GET /api/leds/frame": "count limit format data",
    "GET /api/rmt": "wait_timeouts ch1 ch2",
    "GET /api/diag": "enabled interval_ms probe_logging",
    "GET /api/realtime/config": "enabled interval_ms",
    "GET /api/config/backup": "version device timestamp uptime_seconds parameters current_pattern device_info",
    "GET /api/transitions/config": "enabled default_type default_duration_ms default_easing",
    "GET /api/transitions/status": "active",
    "GET /api/wifi/status": "ssid rssi ip mac firmware force_bg_only force_ht20",
    "GET /api/wifi/link-options": "force_bg_only force_ht20",
    "GET /api/wifi/credentials": "ssid password_len",
    "GET /api/wifi/scan/results": "status message",
    "GET /api/wifi/ap-mode": "ap_mode",
    "GET /api/wifi/metrics": "ssid rssi_dbm tx_power_dbm connected",
    "POST /api/select": "current_pattern id name",
    "POST /api/audio-config": "microphone_gain active",
    "POST /api/audio/noise-calibrate": "status frames",
    "POST /api/rmt/reset": "wait_timeouts ch1 ch2",
    "POST /api/diag": "enabled interval_ms probe_logging",
    "POST /api/realtime/config": "enabled interval_ms",
    "POST /api/realtime/preset": "enabled interval_ms",
    "POST /api/config/restore": "success parameters_restored pattern_restored timestamp",
    "POST /api/transitions/config": "enabled default_type default_duration_ms default_easing",
    "POST /api/wifi/link-options": "success force_bg_only force_ht20",
    "POST /api/wifi/credentials": "success ssid password_len",
    "POST /api/wifi/scan": "status message",
    "POST /api/wifi/reassociate": "success",
    "POST /api/wifi/tx-power": "applied_dbm",
    "POST /api/wifi/power-save": "power_save",
    "POST /api/wifi/channel": "channel",
    "POST /api/wifi/band-steering": "enabled",
}
SHAPES["GET /api/device-performance"] = SHAPES["GET /api/device/performance"]
SHAPES["POST /api/params"] = SHAPES["POST /api/reset"] = SHAPES["GET /api/params"]
BODIES: dict[str, Any] = {
    "/api/select": {"id": "lava"},
    "/api/realtime/config": {"interval_ms": 500},
    "/api/config/restore": {"version": "1.0", "parameters": {"speed": 0.25}, "current_pattern": 2},
    "/api/wifi/credentials": {"ssid": "workshop", "pass": "longenough"},
    "/api/wifi/tx-power": {"power_dbm": 30},
    "/api/wifi/power-save": {"enable": True},
    "/api/wifi/channel": {"channel": 99},
}
TEXT = ("GET /metrics", "GET /api/metrics")
UNREACHABLE = {"/api/params/bounds": "/api/params", "/api/wifi/scan/results/json": "/api/wifi/scan/results"}


class Said(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(device: SimulatedDevice, method: str, path: str, body: Any = None, kind: str = "application/json") -> Said:
    """One request; a ``body`` that is not bytes is sent as JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: k1\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", device.http_port)) as link:
        link.settimeout(20)
        link.sendall(head.encode() + data)
        got = b""
        while piece := link.recv(65536):
            got += piece
    top, _, rest = got.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    return Said(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), rest)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SimulatedDevice]:
    with SimulatedDevice(tmp_path, "uptime=10m") as device:
        yield device


def test_every_route_has_the_firmwares_fields(device: SimulatedDevice) -> None:
    """Each registered route that can be reached answers 200 with exactly the fields that webserver.cpp writes."""
    reached = {}
    for route in ROUTES:
        if route.path in UNREACHABLE:
            continue
        body = BODIES.get(route.path, {}) if route.method == "POST" else None
        query = "?t_us=1" if route.path == "/api/latency/align" else ""
        said = ask(device, route.method, route.path + query, body)
        assert said.status == 200, (route, said)
        reached[route.name] = set() if route.name in TEXT else set(said.json)
    aligned = "count capacity t_us nearest_timestamp_us delta_us found"
    expected = {name: set(fields.split()) for name, fields in SHAPES.items()}
    assert reached == {**expected, **{name: set() for name in TEXT}, "GET /api/latency/align": set(aligned.split())}


def test_metrics_are_text(device: SimulatedDevice) -> None:
    """Both metrics routes give Prometheus' text format with the firmware's six names."""
    for path in ("/metrics", "/api/metrics"):
        said = ask(device, "GET", path)
        assert said.headers["Content-Type"] == "text/plain"
        names = [line.split()[0] for line in said.body.decode().splitlines()]
        assert names == [
            f"k1_{n}"
            for n in (
                "fps", "frame_time_us", "cpu_percent", "memory_free_kb", "beat_events_count", "tempo_confidence",
            )
        ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(UNREACHABLE))
def test_shadowed_routes(device: SimulatedDevice, path: str) -> None:
    """A route below an earlier one is answered by that one: the web server compares with `path + "/"`."""
    assert path in {route.path for route in ROUTES}
    route = find("GET", path)
    assert route is not None and route.path == UNREACHABLE[path]
    fields = SHAPES[f"GET {UNREACHABLE[path]}"].split()
    assert set(ask(device, "GET", path).json) == set(fields)


def test_rate_limits_are_per_route_and_method(device: SimulatedDevice) -> None:
    """The second asker within a window gets 429, the two headers and the error; aliases and methods are apart."""
    assert ask(device, "GET", "/api/device/info").status == 200
    said = ask(device, "GET", "/api/device/info")
    assert said.status == 429
    assert said.headers["X-RateLimit-Window"] == "1000"
    assert 0 < int(said.headers["X-RateLimit-NextAllowedMs"]) <= 1000
    assert {k: v for k, v in said.json.items() if k != "timestamp"} == {
        "error": "rate_limited", "message": "Too many requests", "status": 429,
    }  # fmt: skip
    assert ask(device, "GET", "/api/device-info").status == 200
    assert ask(device, "POST", "/api/params", {}).status == ask(device, "GET", "/api/params").status == 200
    assert ask(device, "GET", "/api/wifi/scan/results").status == 200
    assert ask(device, "GET", "/api/wifi/scan/results").status == 200, "this one has no limit"
    counts = requests(device.device.folder)
    assert counts["GET /api/device/info"] == {"asked": 2, "200": 1, "429": 1}
    assert counts["POST /api/params"] == {"asked": 1, "200": 1}


def test_windows_are_those_of_the_source() -> None:
    """A sample of the table in webserver_rate_limiter.h."""
    windows = {route.name: route.window_ms for route in ROUTES}
    for name, window in {
        "GET /api/health": 200, "GET /api/params": 150, "POST /api/params": 300, "GET /api/palettes": 2000,
        "POST /api/wifi/scan": 5000, "POST /api/wifi/credentials": 1500, "POST /api/reset": 1000,
        "GET /api/led-tx/recent": 300, "GET /api/config/backup": 2000, "POST /api/config/restore": 2000,
    }.items():  # fmt: skip
        assert windows[name] == window, name


def test_a_limit_over_the_wrap_of_the_clock(tmp_path: Path) -> None:
    """Where the 32-bit clock wraps within a window, the firmware says 0 ms and still refuses."""
    with SimulatedDevice(tmp_path, "uptime=4294967") as device:
        assert ask(device, "GET", "/api/palettes").status == 200
        said = ask(device, "GET", "/api/palettes")
        assert (said.status, said.headers["X-RateLimit-NextAllowedMs"]) == (429, "0")


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/params", b"{", 400, "invalid_json"),
        ("/api/params", b"  ", 400, "invalid_json"),
        ("/api/params", {"x": "y" * 1100}, 400, "invalid_json"),
        ("/api/select", {}, 400, "missing_field"),
        ("/api/select", [], 400, "missing_field"),
        ("/api/select", {"index": 200}, 404, "pattern_not_found"),
        ("/api/select", {"id": "nothing"}, 404, "pattern_not_found"),
        ("/api/audio-config", {"microphone_gain": 3}, 400, "invalid_value"),
        ("/api/realtime/config", {}, 400, "no_fields"),
        ("/api/realtime/config", {"interval_ms": 99}, 400, "invalid_param"),
        ("/api/realtime/config", {"enabled": 1}, 400, "invalid_param"),
        ("/api/config/restore", {"version": "1.0"}, 400, "invalid_backup_format"),
        ("/api/wifi/credentials", {"ssid": ""}, 400, "invalid_param"),
        ("/api/wifi/channel", {}, 400, "invalid_param"),
    ],
)
def test_errors(device: SimulatedDevice, path: str, body: Any, status: int, error: str) -> None:
    """A bad body is told in the firmware's words: {error, message, timestamp, status}."""
    said = ask(device, "POST", path, body)
    assert (said.status, said.json["error"], said.json["status"]) == (status, error, status)
    assert set(said.json) == {"error", "message", "timestamp", "status"}
    assert said.headers["Access-Control-Allow-Origin"] == "*"


def test_nobody_handles_forms_and_empty_bodies(device: SimulatedDevice) -> None:
    """A POST without body, or with curl's default type, is 501 and touches no limit; too large a body is 413."""
    for body, kind in ((None, "application/json"), (b"a=1", "application/x-www-form-urlencoded")):
        said = ask(device, "POST", "/api/reset", body, kind)
        assert (said.status, said.body) == (501, b"Handler did not handle the request")
    assert ask(device, "POST", "/api/reset", {}).status == 200
    head = b"POST /api/params HTTP/1.1\r\nContent-Length: 65537\r\n\r\n"
    with socket.create_connection(("127.0.0.1", device.http_port)) as link:
        link.sendall(head)
        got = b""
        while piece := link.recv(4096):
            got += piece
    assert got.startswith(b"HTTP/1.1 413 ") and got.endswith(b'{"error":"payload_too_large","max_size":65536}')


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/version", 404),
        ("GET", "/api/pattern/lava", 404),
        ("GET", "/update", 404),
        ("GET", "/api/select", 404),
        ("POST", "/api/health", 404),
        ("HEAD", "/api/health", 404),
        ("GET", "/ws", 404),
        ("OPTIONS", "/api/params", 204),
        ("OPTIONS", "/nowhere", 204),
    ],
)
def test_what_is_not_there(device: SimulatedDevice, method: str, path: str, status: int) -> None:
    """No such route, or not with this method: 404 with the firmware's body; OPTIONS is 204 everywhere."""
    said = ask(device, method, path, {} if method == "POST" else None)
    assert said.status == status
    assert said.body == (b'{"error":"Not found"}' if status == 404 else b"")
    assert said.headers["Access-Control-Allow-Methods"] == "GET,POST,OPTIONS"


def test_the_page(device: SimulatedDevice) -> None:
    """The root and /ui are HTML; assets that were not uploaded are 404."""
    assert all(ask(device, "GET", path).headers["Content-Type"] == "text/html" for path in ("/", "/ui", "/ui/"))
    assert ask(device, "GET", "/ui/app.js").status == ask(device, "GET", "/css/x.css").status == 404


def test_settings_are_kept_in_their_ranges(device: SimulatedDevice) -> None:
    """What is set is told, moved to the border of its range; a reset restores defaults; a restart forgets RAM only."""
    said = ask(device, "POST", "/api/params", {"brightness": 7, "palette_id": 99, "mirror_mode": False, "nothing": 1})
    assert (said.json["brightness"], said.json["palette_id"], said.json["mirror_mode"]) == (1, 0, False)
    endless = b'{"index": 1e999, "interval_ms": 1%s}' % bytes(b"0" * 400)
    assert ask(device, "POST", "/api/select", endless).json["current_pattern"] == 0, "as<int>() of it is 0"
    assert ask(device, "POST", "/api/diag", endless).json["interval_ms"] == 5000
    assert ask(device, "POST", "/api/realtime/config", {"enabled": False}).json["enabled"] is False
    device.device.settings.select(3, transition=False)
    device.device.restart()
    wait_until(lambda: device.device.answering)
    assert ask(device, "GET", "/api/params").json["mirror_mode"] is True
    assert ask(device, "GET", "/api/pattern/current").json["index"] == 0
    assert ask(device, "GET", "/api/realtime/config").json["enabled"] is False


def test_a_transition_takes_its_time(device: SimulatedDevice) -> None:
    """A transition is under way until its duration is over, and the pattern changes with its end."""
    assert ask(device, "POST", "/api/transitions/config", {"default_duration_ms": 10_000}).json["enabled"] is True
    assert ask(device, "POST", "/api/select", {"index": 2, "transition": True}).json["current_pattern"] == 0
    status = ask(device, "GET", "/api/transitions/status").json
    assert (status["active"], status["from_pattern_id"], status["to_pattern_id"]) == (True, "departure", "twilight")
    before, after, begun = device.device.settings.under_way or (0, 0, 0.0)
    device.device.settings.under_way = before, after, begun - 10  # as if so long had passed
    assert ask(device, "GET", "/api/pattern/current").json["index"] == 2


def test_a_transition_has_the_last_word() -> None:
    """While one is under way no other begins, and what is selected at once is gone when it ends."""
    settings = Settings()
    settings.transitions["default_duration_ms"] = 3_600_000
    assert settings.select(2, transition=True) and not settings.select(3, transition=True)
    assert settings.select(1, transition=False) and settings.pattern == 1
    settings.transitions["default_duration_ms"] = 1e-9
    settings.settle()
    assert settings.pattern == 2 and not settings.select(2, transition=True)


def test_each_pattern_has_figures_of_its_own(device: SimulatedDevice) -> None:
    """Frames a second and drawing times are those of the pattern that is shown; a restart forgets the choice."""
    first = ask(device, "GET", "/api/device/performance").json
    assert ask(device, "POST", "/api/select", {"id": "bloom"}).json["id"] == "bloom"
    frame = ask(device, "GET", "/api/frame-metrics").json["frames"][0]
    assert frame["render_us"] > first["render_avg_us"] and frame["fps"] < first["fps"]
    device.device.restart()
    assert device.device.settings.pattern == 0


def test_queries(device: SimulatedDevice) -> None:
    """The query's options choose what is told, in the firmware's ranges."""
    frame = ask(device, "GET", "/api/leds/frame?n=3&fmt=rgb").json
    assert (frame["count"], frame["limit"], frame["data"]) == (160, 3, [[0, 0, 0]] * 3)
    recent = ask(device, "GET", "/api/led-tx/recent?limit=2&order=oldest").json
    assert recent["order"] == "oldest" and len(recent["events"]) == 2
    assert recent["events"][0]["timestamp_us"] < recent["events"][1]["timestamp_us"]
    assert ask(device, "GET", "/api/latency/align").json["error"] == "invalid_param"
    arrays = ask(device, "GET", "/api/audio/arrays?count=8&include_chromagram=1&history=true").json
    assert len(arrays["chromagram"]) == 12 and {len(f) for f in arrays["spectrogram_history"]} == {8}
    backup = ask(device, "GET", "/api/config/backup")
    assert backup.headers["Content-Disposition"] == 'attachment; filename="k1-config-backup.json"'


def test_the_clock_wraps(tmp_path: Path) -> None:
    """uptime_ms counts in 32 bits: 49.7 days after the start it begins at 0."""
    with SimulatedDevice(tmp_path, "uptime=4294867.296") as device:
        began = time.monotonic() - 0.1
        assert ask(device, "GET", "/api/test-connection").json["timestamp"] >= 4_294_867_296
        device.device.booted -= 100  # as if so long had passed
        assert ask(device, "GET", "/api/health").json["uptime_ms"] <= (time.monotonic() - began) * 1000


def test_figures_as_told(tmp_path: Path) -> None:
    """fps, heap and rssi are told as the faults say, wherever they are told; the MAC is another one."""
    with SimulatedDevice(tmp_path, "fps=12.5", "heap=20k", "rssi=-91", "wrong-mac") as device:
        health = ask(device, "GET", "/api/health").json
        assert (health["fps"], health["memory_free_kb"], health["wifi"]["rssi"]) == (12.5, 20, -91)
        assert b"k1_fps 12.50\n" in ask(device, "GET", "/metrics").body
        assert ask(device, "GET", "/api/device/info").json["mac"] == "02:4B:31:00:00:FF" != device.settings()["mac"]


def test_bad_answers_are_limited_to_the_first_requests(tmp_path: Path) -> None:
    """`http=503:1` and `html:2` hit that many requests since the start, then the device answers as usual."""
    with SimulatedDevice(tmp_path, "http=503:1", "html:2") as device:
        first, second, third = (ask(device, "GET", f"/api/{p}") for p in ("rmt", "diag", "test-connection"))
    assert (first.status, second.status, third.status) == (200, 200, 200)
    assert first.body.startswith(b"<!DOCTYPE") and second.body.startswith(b"<!DOCTYPE") and third.json["status"] == "ok"
    with SimulatedDevice(tmp_path, "http=503:1") as device:
        assert [ask(device, "GET", p).status for p in ("/api/rmt", "/api/diag")] == [503, 200]


def test_an_endless_body_has_no_end(tmp_path: Path) -> None:
    """More comes than any document has, without a length."""
    with SimulatedDevice(tmp_path, "endless") as device:
        with socket.create_connection(("127.0.0.1", device.http_port)) as link:
            link.sendall(b"GET /api/health HTTP/1.0\r\n\r\n")
            got = b""
            while len(got) < 200_000:
                got += link.recv(65536)
    assert b"Content-Length" not in got


def test_a_slow_answer_comes_whole(tmp_path: Path) -> None:
    """Dripping takes at least as long as the rate says, and the answer is complete."""
    with SimulatedDevice(tmp_path, "drip=2k") as device:
        began = time.monotonic()
        said = ask(device, "GET", "/api/health")
        assert said.json["status"] == "ok"
        assert time.monotonic() - began >= len(said.body) / 2048


def test_windows_are_as_long_as_told(tmp_path: Path) -> None:
    """`windows=0` limits nothing, `windows=30` makes each window so many times as long."""
    for fault, status, told in (("windows=0", 200, None), ("windows=30", 429, "30000")):
        with SimulatedDevice(tmp_path, fault) as device:
            assert ask(device, "GET", "/api/patterns").status == 200
            said = ask(device, "GET", "/api/patterns")
            assert (said.status, said.headers.get("X-RateLimit-Window")) == (status, told)


def test_others_use_up_the_limits(tmp_path: Path) -> None:
    """With `busy` every limited route is 429, also when nobody asked before."""
    with SimulatedDevice(tmp_path, "busy") as device:
        assert [ask(device, "GET", p).status for p in ("/api/health", "/api/device/info")] == [429, 429]


def test_the_page_lists_every_route() -> None:
    """No route stands twice, and docs/simulator.md has each with its windows."""
    page = (REPOSITORY / "docs" / "simulator.md").read_text()
    windows = {route.name: str(route.window_ms or "no limit") for route in ROUTES}
    assert len(windows) == len(ROUTES)
    for path in {route.path for route in ROUTES}:
        get, post = (windows.get(f"{method} {path}", "-") for method in ("GET", "POST"))
        assert f"| `{path}` | {get} | {post} |\n" in page
