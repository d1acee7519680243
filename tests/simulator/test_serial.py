"""The simulated serial console: first lines after a restart, answers to keys, panics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import serial

from k1ctl.device.ota import send
from k1ctl.simulator import serial as port_of_it
from k1ctl.simulator.console import PANIC_MARK, PROMPT, build_id
from k1ctl.testing import SimulatedDevice
from tests.kit import wait_until
from tests.usb import app


def opened(device: SimulatedDevice) -> serial.Serial:
    return serial.Serial(device.usb_port, 115200, timeout=0.05, exclusive=True)


def until(port: serial.Serial, done: Callable[[str], bool]) -> str:
    """What comes until ``done`` says that it is enough."""
    text = ""

    def look() -> bool:
        nonlocal text
        text += port.read(4096).decode()
        return done(text)

    wait_until(look)
    return text


def test_a_restart_prints_the_first_lines(tmp_path: Path) -> None:
    """Whoever has the port open during an update sees the reset's reason, the new build and the prompt."""
    image = app("booted")
    with SimulatedDevice(tmp_path / "device", usb=True) as device, opened(device) as port:
        wait_until(lambda: device.usb is not None and device.usb.link.is_open)
        assert send("127.0.0.1", device.ota_port, image).outcome == "installed"
        text = until(port, lambda text: text.endswith(PROMPT))
    assert "rst:0xc (RTC_SW_CPU_RST)" in text and f"build {build_id(image)}" in text


def test_keys(tmp_path: Path) -> None:
    """Space shows the next pattern; the menu stays until it is left."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device, opened(device) as port:
        port.write(b" ")
        assert "pattern 1: " in until(port, lambda text: text.endswith(PROMPT))
        port.write(b"m4")
        assert "tags: all" in until(port, lambda text: text.count("0 exit") == 2)
        port.write(b"0")
        assert until(port, lambda text: text.endswith(PROMPT)) == PROMPT


def test_the_port_can_be_opened_again(tmp_path: Path) -> None:
    """A host that closes the port and opens it again, or another one, is answered."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        for _ in range(3):
            with opened(device) as port:
                port.write(b"\r")
                until(port, lambda text: text.endswith(PROMPT))


def test_its_name_is_made_again(tmp_path: Path) -> None:
    """A name that somebody cleaned away is made again; one that is another device's now is left alone at the end."""
    with SimulatedDevice(tmp_path, usb=True) as device:
        name = Path(device.usb_port)
        name.unlink()
        device.name_again()
        wait_until(name.is_char_device)
        assert device.usb is not None and device.usb.link.named
        name.unlink()
        name.symlink_to("/dev/null")
    assert name.is_symlink()


def test_a_crashing_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that panics as it starts prints its panic again and again, and answers neither HTTP nor invitations."""
    monkeypatch.setattr(port_of_it, "_CRASH_SECONDS", 0.02)
    image = app("crash" + PANIC_MARK.decode())
    with SimulatedDevice(tmp_path / "device", usb=True) as device, opened(device) as port:
        wait_until(lambda: device.usb is not None and device.usb.link.is_open)
        assert send("127.0.0.1", device.ota_port, image).outcome == "installed"
        text = until(port, lambda text: text.count("Rebooting...") >= 2)
        assert not device.device.answering
    assert "Guru Meditation Error: Core  1 panic'ed (StoreProhibited)" in text and "Backtrace: 0x4200a1af:" in text
    assert f"ELF file SHA256: {build_id(image)}" in text
