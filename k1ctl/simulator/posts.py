"""What the REST API's POST routes do and answer (webserver.cpp)."""

from __future__ import annotations

from typing import Any

from k1ctl.simulator.documents import Api, Refused, diag, params, realtime
from k1ctl.simulator.lights import rmt
from k1ctl.simulator.settings import EASINGS, PARAMETERS, PATTERNS, SAVED, TRANSITIONS, as_float

_STRESS_MS, _USUAL_MS = 150, 250  # webserver.cpp, realtime presets


def _whole(value: Any) -> int:
    """A JSON value as ArduinoJson's as<int>() gives it: 0 for what no int holds."""
    number = as_float(value)
    return int(number) if abs(number) < 1 << 31 else 0


def post_params(api: Api) -> dict[str, Any]:
    api.settings.set_parameters(api.body)
    return params(api)


def select(api: Api) -> dict[str, Any]:
    if "index" in api.body:
        index = _whole(api.body["index"])
    elif "id" in api.body:
        index = next((i for i, pattern in enumerate(PATTERNS) if pattern[1] == api.body["id"]), 255)
    else:
        raise Refused(400, "missing_field", "Missing index or id")
    if not 0 <= index < len(PATTERNS):
        raise Refused(404, "pattern_not_found", "Pattern not found")
    if not api.settings.select(index, transition=api.body.get("transition") is True):
        raise Refused(404, "pattern_not_found", "Invalid pattern index or ID")
    api.device.selected()
    name, word = PATTERNS[api.shown][:2]
    return {"current_pattern": api.settings.pattern, "id": word, "name": name}


def reset(api: Api) -> dict[str, Any]:
    """Resets parameters, not the chip."""
    api.settings.parameters = {name: default for name, (default, _, _) in PARAMETERS.items()}
    return params(api)


def audio_config(api: Api) -> dict[str, Any]:
    audio = api.settings.audio
    for name, least, most in (("microphone_gain", 0.5, 2.0), ("vu_floor_pct", 0.5, 0.98)):
        if name in api.body:
            value = as_float(api.body[name])
            if not least <= value <= most:
                raise Refused(400, "invalid_value", "Value out of valid range")
            audio[name] = value
    if "active" in api.body:
        audio["active"] = api.body["active"] is True
    return {"microphone_gain": audio["microphone_gain"], "active": audio["active"]}


def noise_calibrate(api: Api) -> dict[str, Any]:
    return {"status": "started", "frames": 512}


def link_options(api: Api) -> dict[str, Any]:
    for name in api.settings.link:
        if name in api.body:
            api.settings.link[name] = api.body[name] is True
    return {"success": True, **api.settings.link}


def credentials(api: Api) -> dict[str, Any]:
    ssid = api.body.get("ssid")
    if not isinstance(ssid, str):
        raise Refused(400, "invalid_param", "ssid is required and must be string")
    key = next((key for key in ("password", "pass") if key in api.body), "")
    password = api.body[key] if key else ""
    if not isinstance(password, str):
        raise Refused(400, "invalid_param", f"{key} must be string")
    if not 0 < len(ssid.encode()) <= 63:
        raise Refused(400, "invalid_param", "ssid length must be 1..63")
    if len(password.encode()) > 63:
        raise Refused(400, "invalid_param", "password length must be 0..63")
    api.settings.credentials = {"ssid": ssid, "password_len": len(password.encode())}
    return {"success": True, **api.settings.credentials}


def scan(api: Api) -> dict[str, Any]:
    api.settings.scan = [{"ssid": "simulated", "rssi_dbm": -48, "auth_mode": 3}]
    where = "Check results in 2-3 seconds with GET /api/wifi/scan/results"
    return {"status": "scan_initiated", "message": f"WiFi network scan started (async). {where}"}


def reassociate(api: Api) -> dict[str, Any]:
    return {"success": True}


def tx_power(api: Api) -> dict[str, Any]:
    if "power_dbm" not in api.body:
        raise Refused(400, "invalid_param", "power_dbm required")
    return {"applied_dbm": min(max(as_float(api.body["power_dbm"]), 8.0), 19.5)}


def power_save(api: Api) -> dict[str, Any]:
    if "enable" not in api.body:
        raise Refused(400, "invalid_param", "enable required")
    return {"power_save": api.body["enable"] is True}


def channel(api: Api) -> dict[str, Any]:
    if "channel" not in api.body:
        raise Refused(400, "invalid_param", "channel required")
    return {"channel": int(min(max(as_float(api.body["channel"]), 1), 13))}


def band_steering(api: Api) -> dict[str, Any]:
    return {"enabled": api.body.get("enable") is True}


def preset(api: Api) -> dict[str, Any]:
    interval = _STRESS_MS if api.body.get("name") == "stress-low" else _USUAL_MS
    api.settings.realtime = {"enabled": True, "interval_ms": interval}
    return realtime(api)


def realtime_config(api: Api) -> dict[str, Any]:
    given = {name: api.body[name] for name in ("enabled", "interval_ms") if name in api.body}
    if not isinstance(given.get("enabled", True), bool):
        raise Refused(400, "invalid_param", "enabled must be boolean")
    api.settings.realtime.update({key: value for key, value in given.items() if key == "enabled"})
    if "interval_ms" in given:
        interval = given["interval_ms"]
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 0:
            raise Refused(400, "invalid_param", "interval_ms must be integer")
        if not 100 <= interval <= 5000:
            raise Refused(400, "invalid_param", "interval_ms must be between 100 and 5000")
        api.settings.realtime["interval_ms"] = interval
    if not given:
        raise Refused(400, "no_fields", "Provide enabled and/or interval_ms")
    return realtime(api)


def post_diag(api: Api) -> dict[str, Any]:
    if "enabled" in api.body:
        api.settings.diag["enabled"] = api.body["enabled"] is True
    if "interval_ms" in api.body:
        api.settings.diag["interval_ms"] = max(_whole(api.body["interval_ms"]), 0) or 5000
    return diag(api)


def restore(api: Api) -> dict[str, Any]:
    if "version" not in api.body or "parameters" not in api.body:
        raise Refused(400, "invalid_backup_format", "Missing required fields: version, parameters")
    given = api.body["parameters"] if isinstance(api.body["parameters"], dict) else {}
    right = api.settings.set_parameters({name: given.get(name, PARAMETERS[name][0]) for name in SAVED})
    index = api.body.get("current_pattern", -1)
    there = isinstance(index, int) and 0 <= index < len(PATTERNS)
    if there:
        api.settings.select(index, transition=False)
    told = {"success": True, "parameters_restored": right, "pattern_restored": there}
    warning = {} if right else {"warning": "Some parameters were clamped to valid ranges"}
    return {**told, "timestamp": api.device.uptime_ms(), **warning}


def transitions(api: Api) -> dict[str, Any]:
    now, body = api.settings.transitions, api.body
    if "enabled" in body:
        now["enabled"] = body["enabled"] is True
    if body.get("default_type") in TRANSITIONS:
        now["default_type"] = body["default_type"]
    if "default_duration_ms" in body and 100 <= as_float(body["default_duration_ms"]) <= 10_000:
        now["default_duration_ms"] = _whole(body["default_duration_ms"])
    if body.get("default_easing") in EASINGS:
        now["default_easing"] = body["default_easing"]
    return now


def rmt_reset(api: Api) -> dict[str, Any]:
    counters = rmt(api)
    for name, value in counters.items():
        if isinstance(value, dict):
            counters[name] = {key: count for key, count in value.items() if key != "last_empty_us"}
    return counters
