"""Is the device there, and is it the one that is meant?"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from k1ctl.device.http import BadAnswer, RateLimited, get_json
from k1ctl.errors import UnreachableError, WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

INFO = "/api/device/info"  # firmware, webserver.cpp: {device, uptime_ms, ip, mac, build{}}, one answer a second


class Probe(NamedTuple):
    """What the device said: ``uptime_ms`` since its last start; ``rate_limited`` alive, but it said nothing else."""

    reachable: bool
    identity: str
    mac: str
    uptime_ms: int | None
    ip: str
    rate_limited: bool
    seconds: float


def normal_mac(mac: str) -> str:
    """A MAC in lower-case hex digits only, so that two spellings compare equal."""
    return "".join(c for c in mac.lower() if c.isalnum())


def probe(device: Mapping[str, Any], timeout: float | None = None) -> Probe:
    """Ask the device who it is; ``device`` is ``Config.section("devices", NAME)``.

    All of it ends within ``timeout`` seconds (default: the device's ``probe_timeout``). A 429 is waited out as long
    as there is time. Raises UnreachableError (code device-offline), BadAnswer.
    """
    host, port = str(device["host"]), int(device["http_port"])
    if not host:
        raise UnreachableError(
            f"no address is configured for device {device.get('name', '')}".rstrip(),
            hint="set `host` in its section of ops/k1ctl.toml",
            code="device-offline",
        )
    started = time.monotonic()
    limit = float(device["probe_timeout"]) if timeout is None else timeout
    while True:
        left = limit - (time.monotonic() - started)
        try:
            answer = get_json(host, port, INFO, max(left, 0.001))
        except RateLimited as busy:
            left = limit - (time.monotonic() - started)
            if busy.wait_seconds >= left:
                return Probe(True, "", "", None, "", True, time.monotonic() - started)
            time.sleep(busy.wait_seconds)
            continue
        return _probe(f"{host}:{port}", answer, time.monotonic() - started)


def _probe(where: str, answer: Any, seconds: float) -> Probe:
    if not isinstance(answer, dict) or not isinstance(answer.get("device"), str):
        raise BadAnswer(f"{where}{INFO}: the answer has no `device` field", hint="is this the device's address?")
    uptime, mac, ip = answer.get("uptime_ms"), answer.get("mac"), answer.get("ip")
    return Probe(
        True,
        answer["device"],
        mac if isinstance(mac, str) else "",
        uptime if isinstance(uptime, int) and not isinstance(uptime, bool) else None,
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
    wanted, mac = str(device["identity"]), str(device["mac"])
    if wanted and found.identity != wanted:
        raise WrongDataError(
            f"{device['host']} says it is {found.identity!r}, not {wanted!r}",
            hint="DHCP may have given its address to another device; correct `host` or `identity`",
            code="wrong-device",
        )
    if mac and normal_mac(found.mac) != normal_mac(mac):
        raise WrongDataError(
            f"{device['host']} has the MAC {found.mac or '(none)'}, {name} is configured as {mac}",
            hint="DHCP may have given its address to another device; correct `host` or `mac`",
            code="wrong-device",
        )
