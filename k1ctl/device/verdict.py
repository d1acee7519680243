"""What a probe's answers mean: online, degraded, offline, wrong-device, unreachable-by-permission or garbage."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HEALTH, INFO = "/api/health", "/api/device/info"  # firmware, webserver.cpp: one answer each 200 ms and 1000 ms
ANSWERED, LIMITED, GARBAGE, NO_ANSWER, NOT_ASKED = "answered", "limited", "garbage", "no-answer", "not-asked"
ALIVE = (ANSWERED, LIMITED, GARBAGE)  # outcomes that only something that runs can give
ONLINE, DEGRADED, OFFLINE = "online", "degraded", "offline"
WRONG, FORBIDDEN, BROKEN = "wrong-device", "unreachable-by-permission", "garbage"
EXIT_CODES = {ONLINE: 0, DEGRADED: 1, OFFLINE: 69, FORBIDDEN: 69, WRONG: 65, BROKEN: 65}
CODES = {
    DEGRADED: "device-degraded",
    OFFLINE: "device-offline",
    FORBIDDEN: "device-unreachable-permission",
    WRONG: "wrong-device",
    BROKEN: "device-garbage",
}


LIMITS = {"fps": "fps_min", "heap_free_bytes": "heap_min", "rssi_dbm": "rssi_min"}  # value: setting of the device


class Verdict:
    """``state`` with the reason for it: ``message`` and ``hint`` ("" when online), ``reasons`` what is degraded, each
    {what, value, limit}; ``limited``: it answered 429 and nothing else; ``missing``: routes that gave no document;
    ``values``: fps, heap_free_bytes, rssi_dbm, uptime_ms, identity, mac, ip, None where it did not say.
    """

    __slots__ = ("hint", "limited", "message", "missing", "reasons", "state", "values")

    def __init__(self, state: str, values: dict[str, Any], message: str = "", hint: str = "") -> None:
        self.state, self.values, self.message, self.hint = state, values, message, hint
        self.reasons: list[dict[str, Any]] = []
        self.missing: list[str] = []
        self.limited = False

    @property
    def exit_code(self) -> int:
        """As in `k1ctl.errors.EXIT_CODES`."""
        return EXIT_CODES[self.state]

    @property
    def reachable(self) -> bool:
        """Whether the right device is there, well or not."""
        return self.state in (ONLINE, DEGRADED)


def judge(record: Mapping[str, Any], device: Mapping[str, Any]) -> Verdict:
    """The verdict on a record of `k1ctl.device.health.ask`, by the thresholds and the identity in ``device``."""
    answers = record["answers"]
    health, info = (answers[path].get("document") or {} for path in (HEALTH, INFO))
    verdict = _alive_or_not(answers, device, info, _values(health, info))
    outcomes = [answers[path]["outcome"] for path in (HEALTH, INFO)]
    verdict.limited = LIMITED in outcomes and ANSWERED not in outcomes
    verdict.missing = [path for path in (HEALTH, INFO) if not answers[path].get("document")]
    if verdict.state == ONLINE:
        verdict.reasons = _reasons(answers, health, device, verdict.values)
        if verdict.reasons:
            verdict.state = DEGRADED
            verdict.message = ", ".join(reason_text(reason) for reason in verdict.reasons)
            verdict.hint = "the limits are fps_min, heap_min and rssi_min of the device's section"
    return verdict


def _alive_or_not(
    answers: Mapping[str, Any], device: Mapping[str, Any], info: Mapping[str, Any], values: dict[str, Any]
) -> Verdict:
    from k1ctl.device.identity import difference

    failed = {answer["outcome"]: answer for answer in (answers[HEALTH], answers[INFO])}  # info wins
    if info:
        if not isinstance(info.get("device"), str):
            where = f"{device['host']}:{device['http_port']}{INFO}"
            return Verdict(
                BROKEN, values, f"{where}: the answer has no `device` field", "is this the device's address?"
            )
        wrong = difference(device, info["device"], values["mac"] or "")
        if wrong:
            return Verdict(WRONG, values, *wrong)
    if GARBAGE in failed:
        return Verdict(BROKEN, values, failed[GARBAGE]["message"], failed[GARBAGE]["hint"])
    if not any(outcome in ALIVE for outcome in failed):
        lost = failed[NO_ANSWER]
        state = FORBIDDEN if lost["code"] == CODES[FORBIDDEN] else OFFLINE
        return Verdict(state, values, lost["message"], lost["hint"])
    return Verdict(ONLINE, values)


def _reasons(
    answers: Mapping[str, Any], health: Mapping[str, Any], device: Mapping[str, Any], values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    limits = {what: device.get(key, 0) for what, key in LIMITS.items()}
    reasons = []
    for what, limit in limits.items():
        if limit and health and (values[what] is None or values[what] < limit):
            reasons.append({"what": what, "value": values[what], "limit": limit})
    for path in (HEALTH, INFO):
        if answers[path]["outcome"] in (NO_ANSWER, NOT_ASKED):
            reasons.append({"what": path, "value": None, "limit": None})
    return reasons


def reason_text(reason: Mapping[str, Any]) -> str:
    """One reason for people: ``30 fps (at least 120)``."""
    what, value, limit = reason["what"], reason["value"], reason["limit"]
    if limit is None:
        return f"no answer to {what} in time"
    return f"{figure(what, value)} (at least {figure(what, limit)})"


def figure(what: str, value: float | None) -> str:
    """A value with its unit: ``150.2 fps``, ``165 KiB of memory``, ``-48 dBm``."""
    from k1ctl.units import format_size

    if what == "heap_free_bytes":
        return "no word on memory" if value is None else f"{format_size(value)} of memory"
    if what == "rssi_dbm":
        return "no word on the signal" if value is None else f"{value:g} dBm"
    return "no word on fps" if value is None else f"{value:g} fps"


def _values(health: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    wifi = health.get("wifi")
    wifi = wifi if isinstance(wifi, dict) else {}
    free = _number(health.get("memory_free_kb"))
    uptime = next((u for u in (_number(d.get("uptime_ms")) for d in (health, info)) if u is not None), None)
    return {
        "fps": _number(health.get("fps")),
        "heap_free_bytes": None if free is None else int(free * 1024),
        "rssi_dbm": _number(wifi.get("rssi")),
        "uptime_ms": uptime,
        "identity": _text(info.get("device")),
        "mac": _text(info.get("mac")),
        "ip": _text(info.get("ip")) or _text(wifi.get("ip")),
    }


def _number(value: Any) -> float | int | None:
    """A number that a figure of a device can be; NaN, infinity and what no 32-bit chip counts are none."""
    whole = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return value if whole else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
