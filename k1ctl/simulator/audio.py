"""What the REST API's GET routes tell of sound: levels, tempo, beats (webserver.cpp); it hears silence."""

from __future__ import annotations

from typing import Any

from k1ctl.simulator.documents import CPU_PERCENT, Api


def audio_metrics(api: Api) -> dict[str, Any]:
    times = {"fps": api.fps, "frame_time_us": sum(api.times_us.values())}
    known = {**times, "cpu_percent": CPU_PERCENT, "memory_free_kb": api.heap // 1024}
    audio = {"audio_update_counter": 0, "audio_timestamp_us": 0}
    return {**known, "beat_events_count": 0, "tempo_confidence": 0.0, **audio}


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
