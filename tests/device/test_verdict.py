"""What a probe's answers mean does not depend on who asked, and no document can break it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from k1ctl.device.verdict import CODES, EXIT_CODES, HEALTH, INFO, ONLINE, judge

DEVICE = {
    "name": "k1",
    "host": "192.0.2.1",
    "http_port": 80,
    "identity": "K1.reinvented",
    "mac": "02:4B:31:00:00:01",
    "fps_min": 120,
    "heap_min": 40_960,
    "rssi_min": -80,
}
WELL: dict[str, Any] = {"fps": 150.2, "memory_free_kb": 165, "uptime_ms": 5, "wifi": {"rssi": -48, "ip": "192.0.2.1"}}
WHO = {"device": "K1.reinvented", "mac": "02-4b-31-00-00-01", "uptime_ms": 4}


def record(info: Any, health: Any) -> dict[str, Any]:
    def answer(said: Any) -> dict[str, Any]:
        if isinstance(said, dict):
            return {"outcome": "answered", "code": "", "message": "", "hint": "", "document": said}
        outcome, _, code = said.partition(":")
        return {"outcome": outcome, "code": code, "message": f"said {outcome}", "hint": "h"}

    return {"answers": {INFO: answer(info), HEALTH: answer(health)}}


@pytest.mark.parametrize(
    ("info", "health", "state"),
    [
        (WHO, WELL, "online"),
        (WHO, {**WELL, "fps": 119.9}, "degraded"),
        (WHO, {**WELL, "fps": 120}, "online"),
        (WHO, {**WELL, "memory_free_kb": 39}, "degraded"),
        (WHO, {**WELL, "wifi": {"rssi": -81}}, "degraded"),
        (WHO, {**WELL, "wifi": None}, "degraded"),
        (WHO, {}, "online"),
        (WHO, "no-answer", "degraded"),
        ("limited", WELL, "online"),
        ("limited", {**WELL, "fps": 1}, "degraded"),
        ("limited", "limited", "online"),
        (WHO, "limited", "online"),
        ({**WHO, "mac": "02:4B:31:00:00:02"}, WELL, "wrong-device"),
        ({**WHO, "mac": None}, WELL, "wrong-device"),
        ({**WHO, "device": "K2"}, "garbage", "wrong-device"),
        ({"mac": WHO["mac"]}, WELL, "garbage"),
        ("garbage", WELL, "garbage"),
        (WHO, "garbage", "garbage"),
        ("no-answer", "not-asked", "offline"),
        ("no-answer", WELL, "degraded"),
        ("no-answer:device-unreachable-permission", "not-asked", "unreachable-by-permission"),
    ],
)
def test_states(info: Any, health: Any, state: str) -> None:
    """Each pair of answers has its state; every state but online says why."""
    verdict = judge(record(info, health), DEVICE)
    assert verdict.state == state
    assert verdict.exit_code == EXIT_CODES[state]
    assert (state == ONLINE) == (verdict.message == "")
    assert verdict.reachable == (state in ("online", "degraded"))


def test_each_threshold_says_value_and_limit() -> None:
    """What is below its limit is named with both, in base units."""
    verdict = judge(record(WHO, {"fps": 30, "memory_free_kb": 10, "wifi": {"rssi": -90}}), DEVICE)
    assert verdict.reasons == [
        {"what": "fps", "value": 30, "limit": 120},
        {"what": "heap_free_bytes", "value": 10_240, "limit": 40_960},
        {"what": "rssi_dbm", "value": -90, "limit": -80},
    ]
    assert verdict.message == (
        "30 fps (at least 120 fps), 10.0 KiB of memory (at least 40.0 KiB of memory), -90 dBm (at least -80 dBm)"
    )


def test_without_limits_nothing_is_degraded() -> None:
    """A limit of 0, or none, is no check; sources differ too much on what a device has to reach."""
    bad = record(WHO, {"fps": 0, "memory_free_kb": 0, "wifi": {"rssi": -127}})
    assert judge(bad, {**DEVICE, "fps_min": 0, "heap_min": 0, "rssi_min": 0}).state == "online"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["device", "mac", "uptime_ms", "fps", "memory_free_kb", "wifi", "ip"])
SAID = st.dictionaries(FIELDS, ANY) | st.sampled_from(["limited", "garbage", "no-answer"])


@given(SAID, SAID)
@example({}, {"memory_free_kb": 1.7e305, "fps": float("nan"), "uptime_ms": float("inf")})
def test_no_document_breaks_it(info: Any, health: Any) -> None:
    """Whatever the fields hold, there is a verdict with a known state."""
    verdict = judge(record(info, health), DEVICE)
    assert verdict.state in {ONLINE, *CODES}
