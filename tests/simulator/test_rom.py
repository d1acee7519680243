"""The simulated chip's USB side: real esptool of both versions flashes, verifies and reads it back."""

from __future__ import annotations

import itertools
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.device.esptool import Esptool, environment
from k1ctl.device.ota import send
from k1ctl.device.partitions import selecting
from k1ctl.simulator.memory import APP0, Memory
from k1ctl.simulator.rom import Rom
from k1ctl.testing import SimulatedDevice
from tests.kit import wait_until
from tests.usb import app, need_esptool

IMAGE = app("first")


def call(device: SimulatedDevice, major: int, *words: str, stub: bool = True) -> subprocess.CompletedProcess[str]:
    """Run esptool on the device as k1ctl does."""
    tool = Esptool((need_esptool(major),), "configured", f"{major}.0")
    argv = tool.command(device.usb_port, "esp32s3", 921600, stub, *words)
    return subprocess.run(
        argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )


def flash(device: SimulatedDevice, folder: Path, image: bytes, major: int = 5, stub: bool = True) -> Any:
    """Write an app to the first slot and select that."""
    (folder / "app.bin").write_bytes(image)
    (folder / "otadata.bin").write_bytes(selecting(0))
    places = [hex(APP0), str(folder / "app.bin"), "0xe000", str(folder / "otadata.bin")]
    done = call(device, major, "write-flash", *places, stub=stub)
    wait_until(lambda: device.usb is not None and device.usb.rom is None)  # it has seen that the port was closed
    return done


@pytest.mark.parametrize(
    ("major", "kind", "stub"),
    [(4, "pty", True), (4, "pty", False), (5, "pty", False), (5, "tcp", True)],
)
def test_esptool_flashes_and_reads_back(tmp_path: Path, major: int, kind: str, stub: bool) -> None:
    """What esptool wrote and verified is what the device runs, what it reads back, and what the history says."""
    with SimulatedDevice(tmp_path / "device", usb=kind) as device:
        done = flash(device, tmp_path, IMAGE, major, stub)
        assert done.returncode == 0 and done.stdout.count("Hash of data verified") == 2, done.stdout
        assert device.image() == IMAGE
        if stub:
            back = tmp_path / "back.bin"
            assert call(device, major, "read-flash", hex(APP0), str(len(IMAGE)), str(back)).returncode == 0
            assert back.read_bytes() == IMAGE
    (told,) = device.flashes()
    assert (told["transport"], told["outcome"], told["size"], told["received"]) == (
        "usb",
        "installed",
        len(IMAGE),
        len(IMAGE),
    )


def test_a_stay_in_the_loader_is_a_restart(tmp_path: Path) -> None:
    """Asking for the MAC takes the device away and brings it back with a new uptime and the app it had."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        boots = device.device.boots
        assert call(device, 5, "read-mac").returncode == 0
        wait_until(lambda: device.device.boots == boots + 1 and device.device.answering)
    assert device.flashes() == []


def test_an_update_over_the_network_starts_the_other_slot(tmp_path: Path) -> None:
    """After an OTA the second slot runs: an app written to the first one alone does not start, and the history says
    so; with otadata it does."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        assert flash(device, tmp_path, IMAGE).returncode == 0
        second, third = app("second"), app("third")
        assert send("127.0.0.1", device.ota_port, second).outcome == "installed"
        wait_until(lambda: device.device.answering)
        (tmp_path / "app.bin").write_bytes(third)
        assert call(device, 5, "write-flash", hex(APP0), str(tmp_path / "app.bin")).returncode == 0
        wait_until(lambda: len(device.flashes()) == 3)
        assert device.image() == second and device.flashes()[-1]["why"] == "other-app"
        flash(device, tmp_path, third)
        assert device.image() == third and device.flashes()[-1]["outcome"] == "installed"
        told = [(line["flash"], line["transport"]) for line in device.flashes()]
        assert told == [(1, "usb"), (2, "ota"), (3, "usb"), (4, "usb")]


def test_a_bad_cell_fails_the_verification(tmp_path: Path) -> None:
    """A byte that did not take its value: esptool sees another MD5 and ends with 2; nothing starts from that slot."""
    with SimulatedDevice(tmp_path / "device", "usb-cell", usb=True) as device:
        done = flash(device, tmp_path, IMAGE, 4)
        assert done.returncode == 2 and "MD5" in done.stdout
        assert device.image() is None and device.flashes()[-1]["outcome"] == "not-installed"
        assert not device.device.answering


def test_the_flash_outlives_the_device(tmp_path: Path) -> None:
    """A device that is started again has the flash it had, also one from which nothing starts."""
    with SimulatedDevice(tmp_path / "device", "usb-cell:1", usb=True) as device:
        flash(device, tmp_path, IMAGE)
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        assert not device.device.answering
        flash(device, tmp_path, IMAGE)
        wait_until(lambda: device.device.answering)
    assert device.image() == IMAGE


def test_a_cable_that_is_plugged_in_again(tmp_path: Path) -> None:
    """The history tells of the write that broke off, and of the one that esptool began anew by itself."""
    with SimulatedDevice(tmp_path / "device", "usb-cut=1:1", usb=True) as device:
        assert flash(device, tmp_path, IMAGE).returncode == 0
        assert [(told["outcome"], told["why"]) for told in device.flashes()] == [
            ("not-installed", "cut"),
            ("installed", ""),
        ]
        assert device.flashes()[0]["received"] < len(IMAGE) and device.image() == IMAGE


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    flash = Memory(str(tmp_path_factory.mktemp("flash")))
    yield flash
    flash.close()


def frame(command: int, data: bytes) -> bytes:
    """A request as the host sends it; its checksum counts only for commands with flash data."""
    checksum = 0xEF
    for byte in data[16:]:
        checksum ^= byte
    raw = struct.pack("<BBHI", 0, command, len(data), checksum) + data
    return b"\xc0" + raw.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


REQUEST = st.builds(frame, st.integers(0, 255), st.binary(max_size=40))
SOME_BYTES = st.lists(st.one_of(REQUEST, st.binary(max_size=30)), max_size=8).map(b"".join)


@given(SOME_BYTES, st.lists(st.integers(1, 20), min_size=1, max_size=20))
def test_any_bytes_are_answered_alike_however_they_arrive(memory: Memory, sent: bytes, cuts: list[int]) -> None:
    """No bytes break the loader, and where they are cut on their way makes no difference to its answers."""
    whole = Rom(memory, "02:4B:31:00:00:01").feed(sent)
    rom, parts, at = Rom(memory, "02:4B:31:00:00:01"), b"", 0
    for size in itertools.cycle(cuts):
        parts += rom.feed(sent[at : at + size])
        at += size
        if at >= len(sent):
            break
    assert parts == whole


def test_blocks_come_once_and_in_order(memory: Memory) -> None:
    """A block that comes again is taken for what it is, a gap and a wrong checksum are refused, in every answer's
    status."""

    def block(number: int, data: bytes) -> bytes:
        return frame(0x03, struct.pack("<IIII", len(data), number, 0, 0) + data)

    rom = Rom(memory, "02:4B:31:00:00:01")
    begin = rom.feed(frame(0x02, struct.pack("<IIII", 16, 2, 8, 0x10000)))
    answers = [begin, *(rom.feed(block(n, d)) for n, d in ((0, b"A" * 8), (0, b"A" * 8), (2, b"C" * 8), (1, b"B" * 8)))]
    assert [answer[-5] for answer in answers] == [0, 0, 0, 1, 0]
    assert rom.feed(block(1, b"B" * 8).replace(b"BB", b"BA", 1))[-5] == 1
    assert memory.read(0x10000, 20) == b"A" * 8 + b"B" * 8 + b"\xff" * 4
    assert [tuple(w) for w in rom.written] == [(0x10000, 16, 16)]
