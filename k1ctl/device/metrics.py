"""Every figure the device tells about itself, collected within one deadline; what is missing is told with its reason.

Each endpoint is asked once, at most once more where it failed. None gets more than its share of the time that is
left, so one that stalls leaves the others theirs; they are asked one after the other, as the firmware's server has few
connections.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from k1ctl.device.http import BadAnswer, RateLimited, get_json, get_text, resolve
from k1ctl.errors import K1ctlError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Document = dict[str, Any]


class Endpoint(NamedTuple):
    """A route that tells figures: ``name`` stands in their names; ``window`` seconds in which it answers once."""

    path: str
    name: str
    window: float
    text: bool = False


# webserver.cpp and webserver_rate_limiter.h; aliases, settings and lists of past events are left out.
ENDPOINTS = (
    Endpoint("/api/device/performance", "performance", 0.5),
    Endpoint("/api/frame-metrics", "frame", 0.5),
    Endpoint("/metrics", "metrics", 0.2, text=True),
    Endpoint("/api/audio/metrics", "audio", 0.2),
    Endpoint("/api/audio/tempo", "tempo", 0.2),
    Endpoint("/api/audio/snapshot", "sound", 0.3),
    Endpoint("/api/beat-events/info", "beat_events", 0.2),
    Endpoint("/api/led-tx/info", "led_tx", 0.2),
    Endpoint("/api/latency/probe", "latency", 0.2),
    Endpoint("/api/rmt", "rmt", 0.2),
    Endpoint("/api/wifi/status", "wifi_status", 0.5),
    Endpoint("/api/wifi/metrics", "wifi", 0.5),
)
LIST_LIMIT, DEPTH_LIMIT, MEMBER_LIMIT, TEXT_LIMIT = 64, 6, 128, 256
LINE_LIMIT = 256  # of a text with metrics
_NUMBER_LIMIT = 1e15  # no 32-bit chip counts further
_LEAST = 0.25  # seconds that an endpoint gets at least while there are any left


def collect(device: Mapping[str, Any], deadline: float) -> tuple[dict[str, Document], list[dict[str, Any]]]:
    """({path: document}, [{path, code, message}]) of all `ENDPOINTS` until ``deadline`` (monotonic seconds).

    A text with metrics becomes {name: value}. Never raises what the device is to blame for.
    """
    limit = float(device["probe_timeout"])
    try:
        host = resolve(str(device["host"]), min(limit, deadline - time.monotonic()))
    except UnreachableError as exc:
        return {}, [{"path": e.path, "code": exc.code, "message": exc.message} for e in ENDPOINTS]
    found: dict[str, Document] = {}
    failed: dict[str, K1ctlError] = {}
    again: list[Endpoint] = []
    asked: dict[str, float] = {}
    for endpoints, last in ((list(ENDPOINTS), False), (again, True)):
        for number, endpoint in enumerate(endpoints):
            left = deadline - time.monotonic()
            share = max(left / (len(endpoints) - number), min(_LEAST, left))
            if share <= 0:
                failed.setdefault(endpoint.path, UnreachableError("no time was left", code="no-time"))
                continue
            try:
                wait = asked.get(endpoint.path, 0.0) + endpoint.window - time.monotonic()
                found[endpoint.path] = _ask(host, int(device["http_port"]), endpoint, min(share, limit), wait)
                failed.pop(endpoint.path, None)
            except (UnreachableError, RateLimited, BadAnswer) as exc:
                failed[endpoint.path] = exc
                if not last and not (isinstance(exc, BadAnswer) and exc.status):
                    again.append(endpoint)
            asked[endpoint.path] = time.monotonic()
    ordered = {e.path: found[e.path] for e in ENDPOINTS if e.path in found}
    missing = [e.path for e in ENDPOINTS if e.path not in found]
    return ordered, [{"path": path, "code": failed[path].code, "message": failed[path].message} for path in missing]


def _ask(host: str, port: int, endpoint: Endpoint, seconds: float, wait: float) -> Document:
    """Its document within ``seconds``, after ``wait`` seconds of them; a 429 is waited out once."""
    end = time.monotonic() + seconds
    if wait > 0:
        time.sleep(min(wait, seconds))
    get: Callable[[str, int, str, float], Any] = get_text if endpoint.text else get_json
    try:
        answer = get(host, port, endpoint.path, max(end - time.monotonic(), 0.001))
    except RateLimited as busy:
        nap = max(busy.wait_seconds, 0.05)
        if time.monotonic() + nap >= end:
            raise
        time.sleep(nap)
        answer = get(host, port, endpoint.path, max(end - time.monotonic(), 0.001))
    found = exposition(answer) if endpoint.text else bounded(answer)
    if not isinstance(found, dict) or not found:
        raise BadAnswer(f"{host}:{port}{endpoint.path}: the answer has no metrics")
    return found


def bounded(value: Any, depth: int = DEPTH_LIMIT) -> Any:
    """``value`` without what no device has to tell: depth, length and texts are cut, impossible numbers are null."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value if abs(value) < _NUMBER_LIMIT else None
    if isinstance(value, str):
        return value[:TEXT_LIMIT]
    if depth <= 0:
        return None
    if isinstance(value, list):
        return [bounded(item, depth - 1) for item in value[:LIST_LIMIT]]
    if isinstance(value, dict):
        members = list(value.items())[:MEMBER_LIMIT]
        return {str(key)[:TEXT_LIMIT]: bounded(item, depth - 1) for key, item in members}
    return None


def exposition(text: str) -> dict[str, float]:
    """{name: value} of lines ``name value``, as the firmware's /metrics has them; what is none is passed over."""
    found: dict[str, float] = {}
    for line in text.splitlines()[:LINE_LIMIT]:
        words = line.split()
        if len(words) != 2 or not is_name(words[0]) or len(words[0]) > TEXT_LIMIT:
            continue
        try:
            value = float(words[1])
        except ValueError:
            continue
        if math.isfinite(value) and abs(value) < _NUMBER_LIMIT:
            found[words[0]] = value
    return found


def is_name(text: str) -> bool:
    """Whether Prometheus takes ``text`` for the name of a metric."""
    return text.isascii() and text.replace("_", "a").replace(":", "a").isalnum() and not text[:1].isdigit()


def figures(name: str, document: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(``k1_NAME_KEY``, value) of each number and truth value in a document; lists are of frames and times past."""
    for key, value in document.items():
        word = "".join(c if c.isascii() and c.isalnum() else "_" for c in key)
        whole = f"{name}_{word}"
        if isinstance(value, dict):
            yield from figures(whole, value)
        elif isinstance(value, int | float):
            yield f"k1_{whole}", float(value)
