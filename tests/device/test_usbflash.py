"""The flash worker over USB, with real esptool on the simulated chip: what it says is what the device holds."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device import guard
from k1ctl.device.ota import send
from k1ctl.device.partitions import TABLE_OFFSET, encode
from k1ctl.simulator.console import PANIC_MARK
from k1ctl.simulator.memory import APP0, LAYOUT
from k1ctl.testing import SimulatedDevice
from tests.kit import finish, wait_until
from tests.usb import MAJORS, UsbJob, app

IMAGE = app("usb")


def word(job: UsbJob, *keys: str) -> tuple[Any, ...]:
    return tuple(job.outcome[key] for key in keys)


@pytest.mark.parametrize("major", MAJORS)
def test_installed(tmp_path: Path, major: int) -> None:
    """A good flash: exit 0, the stages in order, progress to the end, and the device runs it."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        job = UsbJob(tmp_path / "run", device.settings(), IMAGE, major)
        code, lines = job.run()
        assert code == 0 and device.image() == IMAGE
    assert [line for line in lines if line.startswith("stage")] == [
        f"stage {s}" for s in ("guard", "connect", "transfer", "restart")
    ]
    assert any(line.startswith("progress") and len(set(line.split()[1:])) == 1 for line in lines)
    assert word(job, "outcome", "code", "transport", "device_mac") == (
        "installed",
        "installed",
        "usb",
        "02:4b:31:00:00:01",
    )
    assert job.outcome["uptime_after_ms"] is not None and job.outcome["esptool"].startswith(str(major))


def test_what_was_installed_over_the_network_is_replaced(tmp_path: Path) -> None:
    """After an OTA the device starts its second slot; an app written over USB runs all the same."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        assert UsbJob(tmp_path / "first", device.settings(), IMAGE).run()[0] == 0
        wait_until(lambda: device.device.answering)
        assert send("127.0.0.1", device.ota_port, app("ota")).outcome == "installed"
        assert UsbJob(tmp_path / "second", device.settings(), app("last")).run()[0] == 0
        assert device.image() == app("last")


def test_a_device_that_crashes_is_saved(tmp_path: Path) -> None:
    """An app that panics as it starts has taken OTA with it; over USB the next one is installed."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        crash = app("crash" + PANIC_MARK.decode())
        assert send("127.0.0.1", device.ota_port, crash).outcome == "installed"
        assert not device.device.answering
        assert UsbJob(tmp_path / "run", device.settings(), IMAGE).run()[0] == 0
        wait_until(lambda: device.device.answering)
        assert device.image() == IMAGE


@pytest.mark.parametrize(
    ("fault", "changes", "code", "text", "outcome"),
    [
        ("usb-mac", {}, 65, "wrong-device", "wrong"),
        ("usb-chip=5", {}, 65, "wrong-chip", "wrong"),
        ("usb-silent", {"connect_timeout": 1.0}, 69, "usb-no-answer", "unreachable"),
    ],
)
def test_refused_before_any_byte(
    tmp_path: Path, fault: str, changes: dict[str, Any], code: int, text: str, outcome: str
) -> None:
    """Another board, another chip, no answer: nothing is written, and the exit code says which it was."""
    with SimulatedDevice(tmp_path / "device", fault, usb=True) as device:
        job = UsbJob(tmp_path / "run", device.settings(), IMAGE, usb=changes)
        assert job.run()[0] == code
        assert device.flashes() == [] and device.usb is not None
        assert device.usb.memory.read(APP0, 4) == b"\xff" * 4
    assert word(job, "code", "outcome") == (text, outcome)


def test_an_image_too_large_for_the_devices_own_table(tmp_path: Path) -> None:
    """What does not fit into the partition that the device has is refused before any byte."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        small = [p._replace(size=0x8000) if p.label == "app0" else p for p in LAYOUT]
        assert device.usb is not None
        device.usb.memory.write(TABLE_OFFSET, encode(small))
        job = UsbJob(tmp_path / "run", device.settings(), IMAGE)
        assert job.run()[0] == 65 and device.flashes() == []
    assert word(job, "code") == ("image-too-large",)


def test_a_port_in_use(tmp_path: Path) -> None:
    """A program that holds the port is busy, exit 75, and is left alone."""
    import serial

    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        with serial.Serial(device.usb_port, exclusive=True):
            job = UsbJob(tmp_path / "run", device.settings(), IMAGE)
            assert job.run()[0] == 75
    assert word(job, "code") == ("port-busy",)


def test_a_bad_cell_is_refused(tmp_path: Path) -> None:
    """esptool read another MD5 back: refused, and the hint says that the device may not start."""
    with SimulatedDevice(tmp_path / "device", "usb-cell", usb=True) as device:
        job = UsbJob(tmp_path / "run", device.settings(), IMAGE)
        assert job.run()[0] == 1
    assert word(job, "outcome", "code") == ("refused", "image-refused")
    assert "may not start" in job.outcome["hint"]


def test_a_pulled_cable_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    """The link is lost in the middle, and again when esptool tries anew: unknown, exit 76; the next upload installs."""
    with SimulatedDevice(tmp_path / "device", "usb-cut=1:2", usb=True) as device:
        settings = device.settings()
        job = UsbJob(tmp_path / "run", settings, IMAGE)
        assert job.run()[0] == 76
        assert device.flashes()[-1]["why"] == "cut"
        assert UsbJob(tmp_path / "again", settings, IMAGE).run()[0] == 0
    assert word(job, "outcome", "code") == ("unknown", "outcome-unknown")


def test_a_write_is_not_stopped(tmp_path: Path) -> None:
    """HUP, INT and TERM to all of the group end no write that has begun."""
    with SimulatedDevice(tmp_path / "device", "usb-erase=300ms", usb=True) as device:
        job = UsbJob(tmp_path / "run", device.settings(), IMAGE)
        process = job.start()
        assert process.stdout is not None
        while process.stdout.readline() != "stage transfer\n":
            assert process.poll() is None
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            os.killpg(process.pid, number)
        process.stdout.read()
        assert finish(process, 60) == 0
        assert device.image() == IMAGE
    assert word(job, "outcome") == ("installed",)


def test_a_killed_worker_breaks_no_write(tmp_path: Path) -> None:
    """A write outlives the worker, and holds the device until it is done; the record says that it had begun."""
    with SimulatedDevice(tmp_path / "device", "usb-erase=300ms", usb=True) as device:
        settings = device.settings()
        job = UsbJob(tmp_path / "run", settings, IMAGE)
        process = job.start()
        assert process.stdout is not None
        while process.stdout.readline() != "stage transfer\n":
            assert process.poll() is None
        path = guard.guard_path(guard.guard_key(settings))
        process.kill()
        process.wait()
        assert device.image() is None
        held = guard.acquire(path, 30)
        held.release()
        wait_until(lambda: device.image() == IMAGE)
        process.stdout.close()
    assert word(job, "outcome") == ("sending",)


def test_the_full_set(tmp_path: Path) -> None:
    """--full puts bootloader, partition table, otadata and app on a blank chip, which then starts."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        assert device.usb is not None
        memory = device.usb.memory
        bootloader, table = memory.read(0, 64), encode(LAYOUT)
        memory.erase(0, 0x20000)
        plain = UsbJob(tmp_path / "app", device.settings(), IMAGE)
        assert plain.run()[0] == 65 and plain.outcome["code"] == "no-partition-table"
        full = {}
        for name, data in (("bootloader.bin", bootloader), ("partitions.bin", table)):
            (tmp_path / name).write_bytes(data)
            full[name] = {"path": str(tmp_path / name), "sha256": hashlib.sha256(data).hexdigest()}
        job = UsbJob(tmp_path / "full", device.settings(), IMAGE, full=full)
        assert job.run()[0] == 0 and device.image() == IMAGE
        assert memory.read(0, 64) == bootloader and memory.read(TABLE_OFFSET, len(table)) == table
    assert [r["what"] for r in job.outcome["regions"]] == ["bootloader", "partitions", "app", "otadata"]
    assert json.loads((tmp_path / "device/flashes.jsonl").read_text().splitlines()[-1])["outcome"] == "installed"
