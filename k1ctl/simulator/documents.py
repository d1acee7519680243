"""What the REST API's GET routes tell: the firmware's field names (webserver.cpp); the values are plausible ones."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from k1ctl.jsontext import dumps
from k1ctl.simulator.settings import HIDDEN, LEDS, PALETTES, PATTERNS, SAVED, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.simulator.device import Device

_SSID, _IP, _CHANNELS = "simulated", "127.0.0.1", ("ch1", "ch2")
_TIMES_US = {"render": 1210.0, "quantize": 420.0, "rmt_wait": 180.0, "rmt_tx": 4847.0}
_TOTAL_US = sum(_TIMES_US.values())
_TX_PERIOD_US = 6667  # between two transmissions to the LEDs at 150 frames a second
_HEAP_TOTAL_KB, _HEAP_FREE_KB, _FPS, _RSSI = 320, 165, 150.2, -48


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
    def fps(self) -> float:
        return self.fault("fps", _FPS)

    @property
    def heap(self) -> int:
        return int(self.fault("heap", _HEAP_FREE_KB * 1024))

    @property
    def mac(self) -> str:
        if self.device.faults.value("wrong-mac", 1) is None:
            return self.device.mac
        return self.device.mac[:-2] + ("FE" if self.device.mac[-2:].upper() == "FF" else "FF")


def health(api: Api) -> dict[str, Any]:
    return {
        "status": "ok",
        "uptime_ms": api.device.uptime_ms(),
        "fps": api.fps,
        "cpu_percent": 41.5,
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
        "build": {**build, "framework": "arduino@3.20017.241212"},
    }


def performance(api: Api) -> dict[str, Any]:
    return {
        "fps": api.fps,
        "frame_time_us": _TOTAL_US,
        **{f"{name}_avg_us": value for name, value in _TIMES_US.items()},
        "cpu_percent": 41.5,
        "memory_percent": round(100 * (1 - api.heap / 1024 / _HEAP_TOTAL_KB), 1),
        "memory_free_kb": api.heap // 1024,
        "memory_total_kb": _HEAP_TOTAL_KB,
        "beat_queue_depth": 0,
        "beat_queue_capacity": 128,
        "beat_overflows_total": 0,
        "fps_history": [api.fps] * 16,
    }


def frame_metrics(api: Api) -> dict[str, Any]:
    times = {f"{name}_us": int(value) for name, value in _TIMES_US.items()}
    frame = {**times, "total_us": int(_TOTAL_US), "heap_free": api.heap, "fps": api.fps}
    averages = {f"avg_{name}_us": value for name, value in {**_TIMES_US, "total": _TOTAL_US}.items()}
    return {"frame_count": 64, "buffer_size": 64, **averages, "frames": [frame] * 64}


def connection(api: Api) -> dict[str, Any]:
    return {"status": "ok", "timestamp": api.device.uptime_ms()}


def metrics(api: Api) -> str:
    values = {
        "fps": f"{api.fps:.2f}",
        "frame_time_us": f"{_TOTAL_US:.2f}",
        "cpu_percent": "41.50",
        "memory_free_kb": str(api.heap // 1024),
        "beat_events_count": "0",
        "tempo_confidence": "0.00",
    }
    return "".join(f"k1_{name} {value}\n" for name, value in values.items())


def audio_metrics(api: Api) -> dict[str, Any]:
    known = {"fps": api.fps, "frame_time_us": _TOTAL_US, "cpu_percent": 41.5, "memory_free_kb": api.heap // 1024}
    audio = {"audio_update_counter": 0, "audio_timestamp_us": 0}
    return {**known, "beat_events_count": 0, "tempo_confidence": 0.0, **audio}


def patterns(api: Api) -> dict[str, Any]:
    api.settings.settle()
    keys = ("name", "id", "description", "audio_reactive")
    found = [{"index": i, **dict(zip(keys, pattern, strict=True))} for i, pattern in enumerate(PATTERNS)]
    return {"patterns": found, "current_pattern": api.settings.pattern}


def pattern_current(api: Api) -> dict[str, Any]:
    api.settings.settle()
    name, word, _, reactive = PATTERNS[api.settings.pattern]
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


def led_frame(api: Api) -> dict[str, Any]:
    asked = api.number("n")
    limit = asked if 0 < asked < LEDS else LEDS
    form = api.query.get("fmt", "hex")
    form = form if form in ("hex", "rgb") else "hex"
    data: list[Any] = ["000000"] * limit if form == "hex" else [[0, 0, 0]] * limit
    return {"count": LEDS, "limit": limit, "format": form, "data": data}


def tempo(api: Api) -> dict[str, Any]:
    empty = {"idx": 0, "bpm": 48.0, "magnitude": 0.0, "phase": 0.0, "beat": 0.0}
    return {
        "tempo_confidence": 0.0,
        "tempi_power_sum": 0.0,
        "silence_detected": True,
        "silence_level": 1.0,
        "max_tempo_range": 1.0,
        "snapshot_valid": True,
        "confidence_metrics": dict.fromkeys(("peak_ratio", "entropy", "temporal_stability", "combined"), 0.0),
        "tempo_lock_state": "UNLOCKED",
        "time_in_state_ms": api.device.uptime_ms(),
        "locked_tempo_bpm": 0.0,
        "top_bins": [empty] * 5,
    }


def snapshot(api: Api) -> dict[str, Any]:
    levels = dict.fromkeys(("vu_level", "vu_level_raw", "tempo_confidence"), 0.0)
    return {**levels, "update_counter": 0, "timestamp_us": 0, "is_valid": True}


def arrays(api: Api) -> dict[str, Any]:
    bins, tempi = 64, 192
    count = min(max(api.number("count", 16), 4), 64)
    offset = min(api.number("offset"), bins - 1)
    stride = min(api.number("stride") or bins // count or 1, bins)
    wanted = {name: api.query.get(name) in ("1", "true", "True") for name in ("include_chromagram", "include_novelty")}
    history = api.query.get("history") in ("1", "true", "True")
    slots = [0.0] * len(range(offset, bins, stride)[:count])
    answer: dict[str, Any] = {"spectrogram_history": [slots] * 4, "frames": 4} if history else {"spectrogram": slots}
    answer["tempi"] = [0.0] * len(range(offset, tempi, stride)[:count])
    if wanted["include_chromagram"]:
        answer["chromagram"] = [0.0] * 12
    if wanted["include_novelty"]:
        many = min(max(api.number("novelty_count") or 64, 16), 256)
        order = "oldest" if api.query.get("order") in ("oldest", "asc") else "newest"
        answer |= {"novelty_curve": [0.0] * many, "novelty_count": many, "novelty_total": 1024, "order": order}
    source = {"source_bins": bins, "source_tempi": tempi, "history": history}
    return {**answer, "count": count, "offset": offset, "stride": stride, **source, **wanted}


def audio_config(api: Api) -> dict[str, Any]:
    return api.settings.audio


def beats_info(api: Api) -> dict[str, Any]:
    return {"count": 0, "capacity": 128}


def beats(api: Api) -> dict[str, Any]:
    return {"count": 0, "capacity": 128, "events": []}


def _sent(api: Api) -> list[int]:
    """When the LEDs were written, newest first, in microseconds of the device's 32-bit clock."""
    now = api.device.uptime_ms() * 1000
    return [(now - i * _TX_PERIOD_US) % (1 << 32) for i in range(256) if now >= i * _TX_PERIOD_US]


def led_tx_info(api: Api) -> dict[str, Any]:
    return {"count": len(_sent(api)), "capacity": 256}


def led_tx(api: Api, limit: int = 256) -> dict[str, Any]:
    since, until = api.number("since_us"), api.number("until_us")
    around, delta = api.number("around_us"), api.number("max_delta_us")
    chosen = [
        t
        for t in _sent(api)
        if (not since or t > since) and (not until or t < until) and not (around and delta and abs(t - around) > delta)
    ][:limit]
    oldest = api.query.get("order") in ("oldest", "asc")
    asked = {"since_us": since, "until_us": until}
    if around and delta:
        asked |= {"around_us": around, "max_delta_us": delta}
    told = {name: value for name, value in asked.items() if value}
    events = [{"timestamp_us": t} for t in (reversed(chosen) if oldest else chosen)]
    return {**led_tx_info(api), **told, "order": "oldest" if oldest else "newest", "events": events}


def led_tx_recent(api: Api) -> dict[str, Any]:
    return led_tx(api, min(api.number("limit") or 16, 64))


def latency_probe(api: Api) -> dict[str, Any]:
    return {"active": False, "last_latency_ms": 0.0, "timestamp_us": 0, "last_led_tx_us": (_sent(api) or [0])[0]}


def latency_align(api: Api) -> dict[str, Any]:
    if "t_us" not in api.query:
        raise Refused(400, "invalid_param", "missing t_us (uint32)")
    wanted, most = api.number("t_us"), api.number("max_delta_us")
    side = {"older": "older", "before": "older", "newer": "newer", "after": "newer"}.get(api.query.get("strategy", ""))
    sent = [t for t in _sent(api) if t == wanted or side not in ({"newer"} if t < wanted else {"older"})]
    best = min(sent, key=lambda t: abs(t - wanted), default=None)
    delta = 0 if best is None else abs(best - wanted)
    return {
        **led_tx_info(api),
        "t_us": wanted,
        **({"max_delta_us": most} if most else {}),
        **({"strategy": side} if side else {}),
        "nearest_timestamp_us": best or 0,
        "delta_us": delta,
        "found": best is not None and (not most or delta <= most),
    }


def rmt(api: Api) -> dict[str, Any]:
    counters = {"empty": 0, "maxgap_us": 0, "trans_done": 0, "last_empty_us": 0}
    return {"wait_timeouts": 0, **dict.fromkeys(_CHANNELS, counters)}


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
        "current_pattern": api.settings.pattern,
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
