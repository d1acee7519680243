"""Listening to a device: what it says, and that it crashes, without resetting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k1ctl.device.cable import find
from k1ctl.device.console import listen
from k1ctl.device.usb import Port
from k1ctl.errors import BusyError, ConfigError, K1ctlError, UnreachableError
from k1ctl.simulator import serial
from k1ctl.testing import SimulatedDevice
from tests.device.fakes import make_image


def test_a_crash_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that starts and crashes over and over: both are told, until it was enough."""
    monkeypatch.setattr(serial, "_CRASH_SECONDS", 0.02)
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "image.bin").write_bytes(make_image([b"K1SIM-PANIC"]))
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        heard = listen(device.settings(), 10, enough=lambda h: len(h.panics) >= 1)
    assert heard.panics and heard.resets
    assert heard.panics[0].kind == "guru" and heard.panics[0].reason == "StoreProhibited"
    assert "Guru Meditation" in heard.text


def test_it_does_not_reset(tmp_path: Path) -> None:
    """A device that is well is not restarted by being listened to."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        boots = device.device.boots
        heard = listen(device.settings(), 0.2)
        assert device.device.boots == boots and heard.panics == []


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    """Nothing there is usb-absent, exit 69."""
    with pytest.raises(UnreachableError) as caught:
        listen({"name": "k1", "mac": "", "usb_port": str(tmp_path / "none")}, 1)
    assert caught.value.code == "usb-absent"


def test_a_port_in_use(tmp_path: Path) -> None:
    """A program that has the port open is named: port-busy, exit 75."""
    import os

    import serial

    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        with serial.Serial(device.usb_port, exclusive=True), pytest.raises(BusyError) as caught:
            listen(device.settings(), 1)
    assert caught.value.code == "port-busy" and f"(pid {os.getpid()})" in caught.value.message


A, B = Port("/dev/a", "aa:bb:cc:dd:ee:01"), Port("/dev/b", "aa:bb:cc:dd:ee:02")


@pytest.mark.parametrize(
    ("device", "there", "found"),
    [
        ({"mac": "AA:BB:CC:DD:EE:02"}, [A, B], B),
        ({"mac": ""}, [A], A),
        ({"mac": "", "usb_port": "/dev/null"}, [A, B._replace(path="/dev/null")], B._replace(path="/dev/null")),
        ({"mac": "", "usb_port": "/dev/null"}, [A, B], Port("/dev/null", "")),
        ({"mac": "", "usb_port": "/dev/none"}, [A, B], UnreachableError),
        ({"mac": ""}, [], UnreachableError),
        ({"mac": ""}, [A, B], ConfigError),
        ({"mac": "AA:BB:CC:DD:EE:03"}, [A, B], K1ctlError),
    ],
)
def test_which_port(device: dict[str, Any], there: list[Port], found: Any) -> None:
    """The configured port, else the one with the MAC, else the only one; several without a MAC are refused."""
    device = {"name": "k1", **device}
    if isinstance(found, Port):
        assert find(device, lambda: there) == found
    else:
        with pytest.raises(found):
            find(device, lambda: there)
