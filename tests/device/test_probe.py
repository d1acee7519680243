"""The device that answers is the one that is configured, or it is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.device.http import BadAnswer
from k1ctl.device.probe import MILLIS, check_identity, normal_mac, probe, restarted
from k1ctl.errors import UnreachableError, WrongDataError
from k1ctl.testing import SimulatedDevice
from tests.device.fakes import http_server


def test_a_probe_tells_who_and_since_when(tmp_path: Path) -> None:
    """Identity, MAC and uptime come from the device's own answer, and the configured one passes."""
    with SimulatedDevice(tmp_path) as device:
        found = probe(device.settings())
        assert (found.identity, found.mac, found.rate_limited) == ("K1.reinvented", "02:4B:31:00:00:01", False)
        assert found.uptime_ms is not None and found.uptime_ms >= 0
        check_identity(found, device.settings())


@pytest.mark.parametrize("mac", ["02-4b-31-00-00-01", "024B31000001", "02:4b:31:00:00:01", ""])
def test_spellings_of_a_mac_are_equal(tmp_path: Path, mac: str) -> None:
    """Case and separators do not matter; no MAC configured means no check."""
    with SimulatedDevice(tmp_path) as device:
        check_identity(probe(device.settings()), {**device.settings(), "mac": mac})
    assert normal_mac("02-4B-31-00-00-01") == "024b31000001"


@pytest.mark.parametrize("wrong", [{"mac": "02:4B:31:00:00:02"}, {"identity": "K2"}])
def test_another_device_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    """Another MAC or another `device` field is exit 65, code wrong-device."""
    with SimulatedDevice(tmp_path) as device:
        with pytest.raises(WrongDataError) as caught:
            check_identity(probe(device.settings()), {**device.settings(), **wrong})
    assert (caught.value.code, caught.value.exit_code) == ("wrong-device", 65)


def test_a_rate_limit_is_waited_out(tmp_path: Path) -> None:
    """The second asker within the window gets its answer after it, not an error."""
    with SimulatedDevice(tmp_path) as device:
        probe(device.settings())
        assert probe(device.settings()).identity == "K1.reinvented"


def test_a_rate_limit_past_the_deadline_means_alive(tmp_path: Path) -> None:
    """When the window is longer than the deadline, the device is alive but unconfirmed."""
    with SimulatedDevice(tmp_path) as device:
        probe(device.settings())
        found = probe(device.settings(), timeout=0.2)
        assert found.reachable and found.rate_limited
        with pytest.raises(UnreachableError) as caught:
            check_identity(found, device.settings())
    assert caught.value.code == "device-unconfirmed"


def test_an_offline_device(tmp_path: Path) -> None:
    """A device that is off, or no address at all, is code device-offline."""
    with SimulatedDevice(tmp_path, "offline=inf") as device:
        for settings in (device.settings(), {**device.settings(), "host": ""}):
            with pytest.raises(UnreachableError) as caught:
                probe(settings)
            assert caught.value.code == "device-offline"


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"device": 5}', b'"K1"', b"null"])
def test_json_that_is_no_device_info(body: bytes) -> None:
    """JSON without a `device` text is a device answering garbage."""

    def answer(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    with http_server(answer) as port:
        settings = {"host": "127.0.0.1", "http_port": port, "probe_timeout": 5.0, "mac": "", "identity": ""}
        with pytest.raises(BadAnswer):
            probe(settings)


def test_odd_fields_are_left_out() -> None:
    """A missing or wrongly typed uptime or MAC is none, not a crash."""

    def answer(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"device": "K1", "uptime_ms": "soon", "mac": 7, "ip": null}')

    with http_server(answer) as port:
        found = probe({"host": "127.0.0.1", "http_port": port, "probe_timeout": 5.0})
    assert (found.identity, found.mac, found.uptime_ms, found.ip) == ("K1", "", None, "")


@given(st.integers(0, MILLIS - 1), st.floats(0, 86_400 * 120), st.floats(-0.0005, 0.0005), st.floats(0, 10))
def test_running_on_is_no_restart(before: int, seconds: float, drift: float, latency: float) -> None:
    """A device that ran on is never taken for a restarted one: not at the wrap, not with clocks a little apart."""
    after = (before + round((seconds * (1 + drift) + latency) * 1000)) % MILLIS
    assert not restarted(before, after, seconds)


@given(st.integers(60_000, MILLIS - 86_400_000), st.floats(1, 3600), st.floats(0, 0.9))
def test_a_restart_is_seen(before: int, seconds: float, share: float) -> None:
    """One that started anew in between is seen, unless its counter was about to wrap just then."""
    assert restarted(before, round(seconds * share * 1000), seconds)


def test_the_wrap_itself() -> None:
    """5 s before the wrap and 5 s behind it are 10 s of one run; a minute between them is not."""
    assert not restarted(MILLIS - 5000, 5000, 10)
    assert restarted(MILLIS - 5000, 5000, 60)
    assert restarted(MILLIS - 60_000, 5000, 10)


def test_a_device_that_says_0_ms_is_not_asked_without_pause(tmp_path: Path) -> None:
    """At the wrap the firmware's 429 says 0 ms: the window is waited out with a few requests, not with thousands."""
    with SimulatedDevice(tmp_path, "uptime=4294966.8") as device:
        probe(device.settings())
        assert probe(device.settings()).identity == "K1.reinvented"
        assert device.device.requests["GET /api/device/info"]["asked"] < 40
