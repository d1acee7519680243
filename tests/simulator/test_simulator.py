"""The simulated device behaves like the firmware it stands for, and keeps a true record."""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device.http import get_json
from k1ctl.device.ota import send
from k1ctl.errors import UnreachableError, UsageError
from k1ctl.simulator.faults import FAULTS, Chance, Fault, Faults, parse
from k1ctl.simulator.ota import _Invited, _Update
from k1ctl.testing import SimulatedDevice
from tests.kit import wait_until

IMAGE = b"\xe9" + bytes(99_999)


def get(device: SimulatedDevice, path: str) -> Any:
    return get_json("127.0.0.1", device.http_port, path, 5)


def test_a_flash_restarts_it(tmp_path: Path) -> None:
    """After an installed update it is away for a moment and comes back with a new uptime."""
    with SimulatedDevice(tmp_path, reboot_seconds=1.0) as device:
        wait_until(lambda: device.device.uptime_ms() > 300)
        started = time.monotonic()
        get(device, "/api/health")
        assert send("127.0.0.1", device.ota_port, IMAGE).outcome == "installed"
        with pytest.raises(UnreachableError):
            get(device, "/api/health")
        wait_until(lambda: device.device.answering)
        # Its clock began anew a second after the flash began at the earliest.
        assert get(device, "/api/health")["uptime_ms"] <= (time.monotonic() - started - 1) * 1000


def test_the_record_is_true(tmp_path: Path) -> None:
    """Every flash is recorded with its times, digest and ending; the bytes are in a file and outlive the device."""
    with SimulatedDevice(tmp_path, "refuse:1") as device:
        started = time.monotonic()
        send("127.0.0.1", device.ota_port, IMAGE)
        send("127.0.0.1", device.ota_port, IMAGE)
        ended = time.monotonic()
        first, second = device.flashes()
    assert (first["outcome"], first["why"], second["outcome"]) == ("not-installed", "refuse", "installed")
    assert started <= first["start"] <= first["end"] <= second["start"] <= second["end"] <= ended
    assert second["sha256"] == hashlib.sha256(IMAGE).hexdigest()
    assert (tmp_path / "image.bin").read_bytes() == IMAGE
    with SimulatedDevice(tmp_path) as device:
        assert device.image() == IMAGE and len(device.flashes()) == 2


def test_a_sender_that_is_gone_at_once_is_an_aborted_update(tmp_path: Path) -> None:
    """One that reset the connection as soon as it was made: the update is recorded, and nothing is raised."""
    with SimulatedDevice(tmp_path) as device, socket.socket() as link:  # as after a reset: it has no peer
        said = _Invited("app", 4711, len(IMAGE), hashlib.md5(IMAGE).hexdigest())
        _Update(device.ota, link, said, "127.0.0.1:4711", -1).run()
        (flash,) = device.flashes()
    assert (flash["outcome"], flash["why"], flash["peer"]) == ("not-installed", "aborted", "127.0.0.1:4711")


def test_faults_count_from_the_start(tmp_path: Path) -> None:
    """`:1` is the first flash since this start, whatever the folder remembers of earlier ones."""
    for _ in range(2):
        with SimulatedDevice(tmp_path, "refuse:1") as device:
            assert [send("127.0.0.1", device.ota_port, IMAGE).outcome for _ in range(2)] == ["refused", "installed"]
    assert [flash["flash"] for flash in device.flashes()] == [1, 2, 3, 4]


def test_a_wrong_md5_is_refused(tmp_path: Path) -> None:
    """Bytes that do not fit the announced MD5 are not installed."""
    with SimulatedDevice(tmp_path) as device, socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            port = listener.getsockname()[1]
            udp.sendto(b"0 %d 10 %s\n" % (port, b"0" * 32), ("127.0.0.1", device.ota_port))
            link, _ = listener.accept()
        with link:
            link.sendall(b"\xe9" + bytes(9))
            said = b""
            while piece := link.recv(100):
                said += piece
        assert said == b"10ERROR[7]: MD5 Check Failed"
        assert device.image() is None


@pytest.mark.parametrize("usb", [False, True])
def test_a_reset_breaks_an_update_off(tmp_path: Path, usb: bool) -> None:
    """The board's button in the middle of an update: nothing is installed."""

    def press(taken: int, total: int) -> None:
        if 0 < taken < total and not pressed:
            pressed.append(device.press_reset())

    pressed: list[None] = []
    with SimulatedDevice(tmp_path, "pace=200000", usb=usb) as device:
        with pytest.raises(UnreachableError, match="the link was cut"):
            send("127.0.0.1", device.ota_port, IMAGE + bytes(100_000), taken=press)
        wait_until(lambda: device.flashes() and device.device.boots > 0)
        assert device.image() is None and device.flashes()[-1]["why"] == "aborted"


def test_invitations_during_an_update_are_ignored(tmp_path: Path) -> None:
    """A second uploader's invitation during an update changes nothing, and is counted."""

    def intrude(sent: int, total: int) -> None:
        if sent == total:
            for _ in range(3):
                udp.sendto(b"0 9 10 " + b"0" * 32, ("127.0.0.1", device.ota_port))

    with SimulatedDevice(tmp_path, "stall=0.2") as device, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        assert send("127.0.0.1", device.ota_port, IMAGE, progress=intrude).outcome == "installed"
        assert [f["ignored_invitations"] for f in device.flashes()] == [3]


@pytest.mark.parametrize("datagram", [b"", b"\xff\xfe", b"0 x y z", b"7 1 2 3", b"0 1 2", b"200 a b"])
def test_foreign_datagrams_are_ignored(tmp_path: Path, datagram: bytes) -> None:
    """What is no invitation is dropped, and the next real one works."""
    with SimulatedDevice(tmp_path) as device:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(datagram, ("127.0.0.1", device.ota_port))
        assert send("127.0.0.1", device.ota_port, IMAGE).outcome == "installed"


def test_a_pace_is_kept(tmp_path: Path) -> None:
    """A paced device never takes bytes faster than told."""
    with SimulatedDevice(tmp_path, "pace=200000") as device:
        done = send("127.0.0.1", device.ota_port, IMAGE)
        assert done.outcome == "installed"
        assert done.transfer_seconds >= len(IMAGE) / 200_000 * 0.98


def test_faults_are_written_and_limited() -> None:
    """A fault has a value or none, and may be limited to the first flashes."""
    assert parse("lost-ok:1") == Fault("lost-ok", 0.0, 1)
    assert parse("cut=0.5") == Fault("cut", 0.5, None)
    assert parse("pace=100k").value == 102_400
    faults = Faults(["drop=2:1", "eof:2"])
    assert (faults.value("drop", 1), faults.value("drop", 2)) == (2, None)
    assert [faults.ending(n) for n in (1, 2, 3)] == ["eof", "eof", ""]


@pytest.mark.parametrize(
    "text", ["", "nothing", "cut", "cut=2", "cut=x", "lost-ok=1", "drop=1:x", "drop=1:", "pace=fast"]
)
def test_wrong_faults_are_refused(text: str) -> None:
    """What is no fault is a usage error that tells the form of the one that is meant, else the names of all."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    name = text.partition(":")[0].partition("=")[0]
    assert (name if name in FAULTS else "there are: drop, cut,") in caught.value.hint
    assert "k1ctl sim faults" in caught.value.hint and len(caught.value.hint) < 400


def test_faults_by_chance_are_the_same_ones_again() -> None:
    """About the share that was asked for, the same for one seed; one answer a flash, one a stay in the USB loader."""
    faults, again = (Chance(["eof", "drop=2", "usb-silent"], 0.1, 7) for _ in range(2))
    hit = [n for n in range(1, 1001) if faults.ending(n)]
    assert 60 < len(hit) < 140 and [n for n in range(1, 1001) if again.ending(n)] == hit
    assert {faults.value("drop", n) for n in range(1, 1001)} == {None, 2.0}
    assert len({faults.value("drop", hit[0]) for _ in range(50)}) == 1
    assert len({faults.value("usb-silent", 1) for _ in range(200)}) == 2
    assert Chance(["eof"], 0.1, 8).value("stall", 1) is None
