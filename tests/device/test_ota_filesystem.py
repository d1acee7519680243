"""Filesystem images go over the same link into a partition of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.device.ota import FILESYSTEM, send
from k1ctl.errors import UnreachableError
from k1ctl.testing import SimulatedDevice
from tests.device.fakes import IMAGE, QUICK
from tests.kit import wait_until


def test_a_filesystem_goes_into_its_own_partition(tmp_path: Path) -> None:
    """The application stays; what the device remembers of it has its kind; it restarts as after any update."""
    filesystem = bytes(4096) * 3
    with SimulatedDevice(tmp_path) as device:
        send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK)
        wait_until(lambda: device.device.answering)
        started = device.device.booted
        done = send("127.0.0.1", device.ota_port, filesystem, limits=QUICK, command=FILESYSTEM)
        assert done.outcome == "installed" and device.device.booted > started
        assert (device.image(), device.filesystem()) == (IMAGE, filesystem)
        assert [f["kind"] for f in device.flashes()] == ["app", "filesystem"]


def test_a_filesystem_that_does_not_fit(tmp_path: Path) -> None:
    """Its partition has a size of its own, whatever the application's has."""
    with SimulatedDevice(tmp_path, filesystem_size=8192) as device, pytest.raises(UnreachableError) as caught:
        send("127.0.0.1", device.ota_port, bytes(12288), limits=QUICK, command=FILESYSTEM)
    assert caught.value.code == "ota-no-connect"


def test_an_interrupted_filesystem_is_not_said_to_be_whole(tmp_path: Path) -> None:
    """There is one partition for it: what was cut half-way holds parts of both, and the error says so."""
    old, new = b"\1" * 180_224, b"\2" * 180_224
    with SimulatedDevice(tmp_path, "cut=0.25:1", "pace=20000000") as device:
        device.device.install(old, "filesystem")
        with pytest.raises(UnreachableError) as caught:
            send("127.0.0.1", device.ota_port, new, limits=QUICK, command=FILESYSTEM)
        assert "overwritten" in caught.value.hint and "keeps" not in caught.value.hint
        wait_until(device.flashes)
        assert {*(device.filesystem() or b"")} == {1, 2} and device.image() is None
