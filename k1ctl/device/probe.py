"""Is the device there, and is it the one that is meant?"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from k1ctl.device.http import BadAnswer, RateLimited, get_json
from k1ctl.device.identity import difference
from k1ctl.device.identity import normal_mac as normal_mac
from k1ctl.errors import UnreachableError, WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

INFO = "/api/device/info"  # firmware, webserver.cpp: {device, uptime_ms, ip, mac, build{}}, one answer a second
OTHER_INFO = "/api/device-info"  # the same document, with a rate limit of its own


MILLIS = 1 << 32  # uptime_ms is millis(), which counts in 32 bits: after 49.7 days it begins at 0 again
_DRIFT = 0.001  # of the time between two probes, for clocks that do not agree
_LATENCY = 15.0  # seconds by which what lies between two answers may exceed the time told
_AGAIN = 0.05  # seconds at least before a device that said 429 is asked again


class Probe(NamedTuple):
    """What the device said: ``uptime_ms`` since its last start; ``rate_limited`` alive, but it said nothing else."""

    reachable: bool
    identity: str
    mac: str
    uptime_ms: int | None
    ip: str
    rate_limited: bool
    seconds: float


def probe(device: Mapping[str, Any], timeout: float | None = None) -> Probe:
    """Ask the device who it is; ``device`` is ``Config.section("devices", NAME)``.

    All of it ends within ``timeout`` seconds (default: the device's ``probe_timeout``). A 429 is waited out as long
    as there is time. Raises UnreachableError (code device-offline), BadAnswer.
    """
    started = time.monotonic()
    limit = float(device["probe_timeout"]) if timeout is None else timeout
    try:
        answer = document(device, INFO, limit)
    except RateLimited:
        return Probe(True, "", "", None, "", True, time.monotonic() - started)
    return read(f"{device['host']}:{device['http_port']}", answer, time.monotonic() - started)


def document(device: Mapping[str, Any], path: str, timeout: float) -> Any:
    """What a route of the device answers within ``timeout`` seconds; a 429 is waited out as long as there is time.

    Raises RateLimited where there is none, UnreachableError (code device-offline), BadAnswer.
    """
    host, port = str(device["host"]), int(device["http_port"])
    if not host:
        raise UnreachableError(
            f"no address is configured for device {device.get('name', '')}".rstrip(),
            hint="set `host` in its section of ops/k1ctl.toml",
            code="device-offline",
        )
    end = time.monotonic() + timeout
    while True:
        try:
            return get_json(host, port, path, max(end - time.monotonic(), 0.001))
        except RateLimited as busy:
            wait = max(busy.wait_seconds, _AGAIN)  # where its clock wraps within the window, the firmware says 0
            if wait >= end - time.monotonic():
                raise
            time.sleep(wait)


def restarted(before: int, after: int, seconds_between: float) -> bool:
    """Whether the device started anew between two answers with these ``uptime_ms``, right where its counter wraps.

    ``seconds_between`` is a lower bound: from the end of the first answer to the request for the second. An uptime
    that grew by less than that, or by far more (so it fell), is of another start. A restart within some seconds of
    the moment in which the counter would have wrapped cannot be told from the wrap.
    """
    least = int(seconds_between * 1000 * (1 - _DRIFT)) - 1
    most = int((seconds_between * (1 + _DRIFT) + _LATENCY) * 1000)
    return (after - before - least) % MILLIS > most - least


def told_uptime(document: Mapping[str, Any]) -> int | None:
    """The ``uptime_ms`` of a document of the firmware; None where it has none that 32 bits can count."""
    uptime = document.get("uptime_ms")
    whole = isinstance(uptime, int) and not isinstance(uptime, bool) and 0 <= uptime < MILLIS
    return uptime if whole else None


def read(where: str, answer: Any, seconds: float) -> Probe:
    """An answer of `INFO` as a probe; ``where`` it came from. Raises BadAnswer."""
    if not isinstance(answer, dict) or not isinstance(answer.get("device"), str):
        raise BadAnswer(f"{where}{INFO}: the answer has no `device` field")
    mac, ip = answer.get("mac"), answer.get("ip")
    return Probe(
        True,
        answer["device"],
        mac if isinstance(mac, str) else "",
        told_uptime(answer),
        ip if isinstance(ip, str) else "",
        False,
        seconds,
    )


def check_identity(found: Probe, device: Mapping[str, Any]) -> None:
    """Refuse a device that is not the configured one, by its ``device`` field and, when one is set, its MAC.

    Raises WrongDataError (code wrong-device), UnreachableError (code device-unconfirmed: it was too busy to say).
    """
    name = str(device.get("name") or device["host"])
    if found.rate_limited:
        raise UnreachableError(
            f"{name} is alive but answered 429 until the deadline, so it could not be identified",
            hint="others poll it too often; try again, or raise probe_timeout",
            code="device-unconfirmed",
        )
    wrong = difference(device, found.identity, found.mac)
    if wrong:
        raise WrongDataError(wrong[0], hint=wrong[1], code="wrong-device")
