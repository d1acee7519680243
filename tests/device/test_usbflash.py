"""The flash worker over USB, with real esptool on the simulated chip: what it says is what the device holds."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device.ota import send
from k1ctl.device.partitions import TABLE_OFFSET, encode
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
    assert any(line.startswith("taken") and len(set(line.split()[1:])) == 1 for line in lines)
    assert word(job, "outcome", "code", "transport", "device_mac") == (
        "installed",
        "installed",
        "usb",
        "02:4b:31:00:00:01",
    )
    assert not (job.folder / "usb").exists()
    assert job.outcome["uptime_after_ms"] is not None and job.outcome["esptool"].startswith(str(major))


def test_what_was_installed_over_the_network_is_replaced(tmp_path: Path) -> None:
    """After an OTA the device starts its second slot; an app written over USB runs all the same."""
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        assert UsbJob(tmp_path / "first", device.settings(), IMAGE).run()[0] == 0
        wait_until(lambda: device.device.answering)
        assert send("127.0.0.1", device.ota_port, app("ota")).outcome == "installed"
        assert UsbJob(tmp_path / "second", device.settings(), app("last")).run()[0] == 0
        assert device.image() == app("last")


@pytest.mark.parametrize(
    ("fault", "changes", "code", "text", "outcome"),
    [
        ("usb-mac", {}, 65, "wrong-device", "wrong"),
        ("usb-chip=5", {}, 65, "wrong-chip", "wrong"),
        ("usb-silent", {"connect_timeout": 0.6}, 69, "usb-no-answer", "unreachable"),
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


@pytest.mark.parametrize("exclusive", [True, None])
def test_a_port_in_use(tmp_path: Path, exclusive: bool | None) -> None:
    """A port that a program has open is busy, exit 75, also where that one locks nothing, as most monitors: the program
    is named, and left alone."""
    import serial

    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        with serial.Serial(device.usb_port, exclusive=exclusive):
            job = UsbJob(tmp_path / "run", device.settings(), IMAGE)
            assert job.run()[0] == 75
    assert word(job, "code") == ("port-busy",) and f"(pid {os.getpid()})" in job.outcome["message"]


def test_a_bad_cell_is_refused(tmp_path: Path) -> None:
    """esptool read another MD5 back: refused, and the hint says that the device may not start."""
    with SimulatedDevice(tmp_path / "device", "usb-cell", usb=True) as device:
        job = UsbJob(tmp_path / "run", device.settings(), IMAGE)
        assert job.run()[0] == 1
    assert word(job, "outcome", "code") == ("refused", "image-refused")
    assert "may not start" in job.outcome["hint"]


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


FAKE = """#!{python}
import sys, time
if "version" in sys.argv:
    print("esptool v5.0.0")
elif "read-flash" in sys.argv:
    print("MAC: 02:4b:31:00:00:01")
    with open(sys.argv[-1], "wb") as f:
        f.write(bytes.fromhex("{table}"))
else:
    {write}
"""


def faked(folder: Path, write: str) -> str:
    """An esptool that finds the right board when it is asked, and then does as ``write`` says."""
    tool = folder / "esptool"
    tool.write_text(FAKE.format(python=sys.executable, table=encode(LAYOUT).hex(), write=write))
    tool.chmod(0o755)
    return str(tool)


def test_a_write_that_breaks_off_is_unknown(tmp_path: Path) -> None:
    """The port is lost in the middle: unknown, exit 76, and the hint says that the device may not start."""
    write = "print('Writing at 0x00010000 [ ] 40.0%', flush=True); sys.exit(1)"
    device = {"name": "k1", "host": "", "mac": "02:4B:31:00:00:01", "ota_port": 1, "usb_port": __file__}
    job = UsbJob(tmp_path / "run", device, IMAGE, usb={"esptool": faked(tmp_path, write)})
    assert job.run()[0] == 76
    assert word(job, "outcome", "code") == ("unknown", "outcome-unknown")
    assert "may not start" in job.outcome["hint"]


def test_a_board_that_was_changed_meanwhile(tmp_path: Path) -> None:
    """Another board on the port when the write is about to begin: it is ended before that, exit 65."""
    write = f"print('MAC: 02:4b:31:ff:ff:ff', flush=True); time.sleep(5); open({str(tmp_path / 'written')!r}, 'w')"
    device = {"name": "k1", "host": "", "mac": "02:4B:31:00:00:01", "ota_port": 1, "usb_port": __file__}
    job = UsbJob(tmp_path / "run", device, IMAGE, usb={"esptool": faked(tmp_path, write)})
    assert job.run()[0] == 65
    assert word(job, "outcome", "code", "device_mac") == ("wrong", "wrong-device", "02:4b:31:ff:ff:ff")
    assert not (tmp_path / "written").exists()


def test_a_board_that_was_changed_too_late_to_be_seen(tmp_path: Path) -> None:
    """The other board's write has begun before anything could be done: never said to be installed."""
    said = ("MAC: 02:4b:31:ff:ff:ff", "Writing at 0x00010000 [ ] 1.0%", *["Hash of data verified."] * 2)
    write = f"print({chr(10).join(said)!r})"
    device = {"name": "k1", "host": "", "mac": "02:4B:31:00:00:01", "ota_port": 1, "usb_port": __file__}
    job = UsbJob(tmp_path / "run", device, IMAGE, usb={"esptool": faked(tmp_path, write)})
    assert job.run()[0] == 76
    assert "another board" in job.outcome["message"] and "02:4b:31:ff:ff:ff" in job.outcome["hint"]
