"""What the REST API's GET routes tell of the LEDs: colours, transmissions, latencies (webserver.cpp)."""

from __future__ import annotations

from typing import Any

from k1ctl.simulator.documents import Api, Refused
from k1ctl.simulator.settings import LEDS

_CHANNELS = ("ch1", "ch2")
_TX_PERIOD_US = 6667  # between two transmissions to the LEDs at 150 frames a second


def led_frame(api: Api) -> dict[str, Any]:
    asked = api.number("n")
    limit = asked if 0 < asked < LEDS else LEDS
    form = api.query.get("fmt", "hex")
    form = form if form in ("hex", "rgb") else "hex"
    data: list[Any] = ["000000"] * limit if form == "hex" else [[0, 0, 0]] * limit
    return {"count": LEDS, "limit": limit, "format": form, "data": data}


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
