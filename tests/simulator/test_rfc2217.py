"""The simulated port with DTR and RTS: esptool's own reset sequences do what they do to the chip."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import serial.rfc2217

from k1ctl.device.cable import Cable
from k1ctl.simulator import console
from k1ctl.simulator.serial import Lines
from k1ctl.testing import SimulatedDevice
from tests.kit import wait_until
from tests.usb import need_esptool

SEQUENCES = """
import sys, time, types, serial, serial.rfc2217
from esptool.reset import ClassicReset, HardReset, USBJTAGSerialReset
serial.rfc2217.time = types.SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.002)))  # 50 ms a line
port = serial.serial_for_url(sys.argv[1], do_not_open=True, baudrate=115200)
port.open()
for line in sys.stdin:
    {"classic": ClassicReset, "jtag": USBJTAGSerialReset, "hard": HardReset}[line.strip()](port)()
    print("done", flush=True)
"""


def test_esptools_own_sequences(tmp_path: Path) -> None:
    """The way into the loader by the chip's own USB, and the way back; (over TCP esptool takes that of a bridge)."""
    python = os.path.join(os.path.dirname(os.path.realpath(need_esptool())), "python")
    with SimulatedDevice(tmp_path / "device", usb="rfc2217") as device:
        process = subprocess.Popen(
            [python, "-c", SEQUENCES, device.usb_port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert device.usb is not None

        def run(way: str) -> None:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{way}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        port, boots = device.usb, device.device.boots
        run("jtag")
        wait_until(lambda: port.rom is not None)
        run("hard")
        wait_until(lambda: port.rom is None and device.device.boots > boots and device.device.answering)
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_opening_it_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our console opens the port without a reset; 0xFF, which telnet means for itself, arrives as one byte."""
    hasty = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.002)))  # pyserial: 50 ms a line, and more
    monkeypatch.setattr(serial.rfc2217, "time", hasty)
    with SimulatedDevice(tmp_path / "device", usb="rfc2217") as device:
        boots, text = device.device.boots, b""
        cable = Cable(device.usb_port)
        try:
            assert device.usb is not None and cable.lines and cable.send(b"\xff\r")
            device.usb.link.send(b"\xff\x00\xff\xff")
            while console.PROMPT.encode() not in text or b"\xff\x00\xff\xff" not in text:
                text += cable.receive(1)
        finally:
            cable.close()
        assert device.device.boots == boots and b"rst:" not in text


@pytest.mark.parametrize(
    ("changes", "does"),
    [
        ("11 00", ["", ""]),  # (DTR, RTS): opened, and released: nothing happens
        ("10 11 10 00", ["", "", "", ""]),  # the same, one line after the other
        ("00 01 00", ["", "held", "app"]),  # RTS alone
        ("11 01 10 00", ["", "held", "loader", ""]),  # a bridge: DTR as RTS goes
        ("10 11 01 00", ["", "", "held", "loader"]),  # the chip's own USB: DTR before
        ("10 00 01 00", ["", "", "held", "app"]),  # asked for and taken back
    ],
)
def test_what_the_lines_do(changes: str, does: list[str]) -> None:
    """The two circuits, line by line."""
    lines = Lines()
    assert [lines.changed(word[0] == "1", word[1] == "1") for word in changes.split()] == does
