"""What the REST API's GET routes tell: the firmware's field names (webserver.cpp); the values are plausible ones."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from k1ctl.jsontext import dumps
from k1ctl.simulator.console import build_id
from k1ctl.simulator.settings import HIDDEN, PALETTES, PATTERNS, SAVED, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.simulator.device import Device

CPU_PERCENT = 41.5
_SSID, _IP = "simulated", "127.0.0.1"
_TIMES_US = {"render": 1210.0, "quantize": 420.0, "rmt_wait": 180.0, "rmt_tx": 4847.0}
_HEAP_TOTAL_KB, _HEAP_FREE_KB, _FPS, _RSSI = 320, 165, 150.2, -48
_FRAMES = 64  # frame_metrics.h: the newest ones are kept
# Each pattern of the table costs a little more than the one before it, so that figures tell which one is shown.
_FPS_STEP, _RENDER_STEP_US = 0.7, 130.0


class Refused(Exception):
    """An answer that is an error: status, the firmware's word for it, and its sentence."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message


class Api(NamedTuple):
    """What a route's function works on: the device, what clients have set, the query, and the JSON object sent."""

    device: Device
    settings: Settings
    query: Mapping[str, str]
    body: dict[str, Any]

    def fault(self, name: str, otherwise: float) -> float:
        """The value a fault gives to a figure, else the usual one."""
        value = self.device.faults.value(name, 1)
        return otherwise if value is None else value

    def number(self, name: str, otherwise: int = 0) -> int:
        """A whole number of the query, as strtoul(3) reads it."""
        digits = ""
        for c in self.query.get(name, "").lstrip():
            if not (c.isascii() and c.isdecimal()):
                break
            digits += c
        return int(digits or 0) % (1 << 32) if name in self.query else otherwise

    @property
    def shown(self) -> int:
        """The pattern that is shown."""
        self.settings.settle()
        return self.settings.pattern

    @property
    def fps(self) -> float:
        after = self.device.after_update("fps-after")
        return self.fault("fps", round(_FPS - _FPS_STEP * self.shown, 1)) if after is None else after

    @property
    def times_us(self) -> dict[str, float]:
        """What a frame's stages take, in microseconds."""
        return {**_TIMES_US, "render": self.fault("render", _TIMES_US["render"] + _RENDER_STEP_US * self.shown)}

    @property
    def heap(self) -> int:
        return int(self.fault("heap", _HEAP_FREE_KB * 1024))

    def build_id(self) -> dict[str, str]:
        """What a firmware that tells its build adds to `build`; the K1's own does not."""
        return {} if self.device.faults.value("build-id", 1) is None else {"id": build_id(self.device.image())}

    @property
    def mac(self) -> str:
        if self.device.faults.value("wrong-mac", 1) is None and self.device.after_update("swapped") is None:
            return self.device.mac
        return self.device.mac[:-2] + ("FE" if self.device.mac[-2:].upper() == "FF" else "FF")


def health(api: Api) -> dict[str, Any]:
    return {
        "status": "ok",
        "uptime_ms": api.device.uptime_ms(),
        "fps": api.fps,
        "cpu_percent": CPU_PERCENT,
        "memory_free_kb": api.heap // 1024,
        "memory_total_kb": _HEAP_TOTAL_KB,
        "connected": True,
        "wifi": {"ssid": _SSID, "rssi": int(api.fault("rssi", _RSSI)), "ip": _IP},
    }


def info(api: Api) -> dict[str, Any]:
    build = {"arduino": 10812, "idf_ver": "v4.4.7", "platformio_platform": "espressif32@6.12.0"}
    return {
        "device": api.device.identity,
        "uptime_ms": api.device.uptime_ms(),
        "ip": _IP,
        "mac": api.mac,
        "build": {**build, "framework": "arduino@3.20017.241212", **api.build_id()},
    }


def performance(api: Api) -> dict[str, Any]:
    times = api.times_us
    return {
        "fps": api.fps,
        "frame_time_us": sum(times.values()),
        **{f"{name}_avg_us": value for name, value in times.items()},
        "cpu_percent": CPU_PERCENT,
        "memory_percent": round(100 * (1 - api.heap / 1024 / _HEAP_TOTAL_KB), 1),
        "memory_free_kb": api.heap // 1024,
        "memory_total_kb": _HEAP_TOTAL_KB,
        "beat_queue_depth": 0,
        "beat_queue_capacity": 128,
        "beat_overflows_total": 0,
        "fps_history": [api.fps] * 16,
    }


def frame_metrics(api: Api) -> dict[str, Any]:
    times = {**api.times_us, "total": sum(api.times_us.values())}
    frame = {**{f"{name}_us": int(value) for name, value in times.items()}, "heap_free": api.heap, "fps": api.fps}
    averages = {f"avg_{name}_us": value for name, value in times.items()}
    return {"frame_count": _FRAMES, "buffer_size": _FRAMES, **averages, "frames": [frame] * _FRAMES}


def connection(api: Api) -> dict[str, Any]:
    return {"status": "ok", "timestamp": api.device.uptime_ms()}


def metrics(api: Api) -> str:
    values = {
        "fps": f"{api.fps:.2f}",
        "frame_time_us": f"{sum(api.times_us.values()):.2f}",
        "cpu_percent": f"{CPU_PERCENT:.2f}",
        "memory_free_kb": str(api.heap // 1024),
        "beat_events_count": "0",
        "tempo_confidence": "0.00",
    }
    return "".join(f"k1_{name} {value}\n" for name, value in values.items())


def patterns(api: Api) -> dict[str, Any]:
    keys = ("name", "id", "description", "audio_reactive")
    found = [{"index": i, **dict(zip(keys, pattern, strict=True))} for i, pattern in enumerate(PATTERNS)]
    return {"patterns": found, "current_pattern": api.shown}


def pattern_current(api: Api) -> dict[str, Any]:
    name, word, _, reactive = PATTERNS[api.shown]
    return {"index": api.settings.pattern, "id": word, "name": name, "is_audio_reactive": reactive}


def params(api: Api) -> dict[str, Any]:
    told = {name: value for name, value in api.settings.parameters.items() if name not in HIDDEN}
    return {**told, "mirror_mode": told["mirror_mode"] >= 0.5}


def params_bounds(api: Api) -> dict[str, Any]:
    from k1ctl.simulator.settings import PARAMETERS

    steps = {"palette_id": 1, "led_offset": 1, "frame_min_period_ms": 0.5}
    steps |= dict.fromkeys(("audio_sensitivity", "bass_treble_balance"), 0.05)
    return {
        name: {"min": least, "max": most, "step": steps.get(name, 0.01)}
        for name, (_, least, most) in PARAMETERS.items()
    }


def palettes(api: Api) -> dict[str, Any]:
    def colour(position: int, palette: int) -> dict[str, int]:
        return {"position": position, "r": position, "g": palette * 7 % 256, "b": 255 - position}

    return {
        "palettes": [
            {"id": i, "name": f"palette {i}", "keyframes": 3, "colors": [colour(p, i) for p in (0, 128, 255)]}
            for i in range(PALETTES)
        ]
    }


def diag(api: Api) -> dict[str, Any]:
    return {**api.settings.diag, "probe_logging": api.settings.diag["enabled"]}


def realtime(api: Api) -> dict[str, Any]:
    return api.settings.realtime


def backup(api: Api) -> dict[str, Any]:
    uptime = api.device.uptime_ms()
    return {
        "version": "1.0",
        "device": api.device.identity,
        "timestamp": uptime,
        "uptime_seconds": uptime // 1000,
        "parameters": {name: api.settings.parameters[name] for name in SAVED},
        "current_pattern": api.shown,
        "device_info": {"ip": _IP, "mac": api.mac, "firmware": "v4.4.7"},
    }


def transitions(api: Api) -> dict[str, Any]:
    return api.settings.transitions


def transition_status(api: Api) -> dict[str, Any]:
    settings = api.settings
    settings.settle()
    if settings.under_way is None:
        return {"active": False}
    before, after, begun = settings.under_way
    return {
        "active": True,
        "progress": settings.progress(),
        "from_pattern_index": before,
        "to_pattern_index": after,
        "from_pattern_id": PATTERNS[before][1],
        "to_pattern_id": PATTERNS[after][1],
        "type": settings.transitions["default_type"],
        "duration_ms": settings.transitions["default_duration_ms"],
        "elapsed_ms": int((time.monotonic() - begun) * 1000),
    }


def wifi_status(api: Api) -> dict[str, Any]:
    known = {"ssid": _SSID, "rssi": int(api.fault("rssi", _RSSI)), "ip": _IP, "mac": api.mac, "firmware": "v4.4.7"}
    return {**known, **api.settings.link}


def wifi_metrics(api: Api) -> dict[str, Any]:
    rssi = int(api.fault("rssi", _RSSI))
    return {"ssid": _SSID, "rssi_dbm": rssi, "tx_power_dbm": 19.5, "connected": True}


def link_options(api: Api) -> dict[str, Any]:
    return api.settings.link


def credentials(api: Api) -> dict[str, Any]:
    return api.settings.credentials


def scan_results(api: Api) -> dict[str, Any]:
    text = "WiFi scan results logged to serial output. Check device logs."
    return {"status": "complete", "message": text}


def scan_results_json(api: Api) -> dict[str, Any]:
    found, api.settings.scan = api.settings.scan, None
    if found is None:
        return {"status": "idle"}
    return {"results": found, "count": len(found), "status": "complete"}


def ap_mode(api: Api) -> dict[str, Any]:
    return {"ap_mode": False}


def weight(value: Any) -> int:
    """About what ArduinoJson 6 takes for ``value``: 16 bytes for each member, and the copied texts."""
    if isinstance(value, dict):
        return sum(16 + len(key.encode()) + 1 + weight(inner) for key, inner in value.items())
    if isinstance(value, list):
        return sum(16 + weight(inner) for inner in value)
    return len(value.encode()) + 1 if isinstance(value, str) else 0


def text(document: dict[str, Any] | str) -> str:
    """A document as it is sent."""
    return document if isinstance(document, str) else dumps(document)
