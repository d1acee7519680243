"""A name or an address that leads to another board than the configured one: exit 65, and no byte reaches either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from k1ctl.testing import SimulatedDevice
from tests.device.job import Job

ONE, TWO = "02:4B:31:00:00:01", "02:4B:31:00:00:02"


def test_a_name_that_moved_to_another_board(tmp_path: Path) -> None:
    """The host name is announced by another board now. It is told by its MAC, over the network, and the right board's
    cable is not taken in its place either."""
    name = f"k1-moved-{os.getpid()}"
    with (
        SimulatedDevice(tmp_path / "other", mac=TWO, mdns=name) as other,
        SimulatedDevice(tmp_path / "right", mac=ONE, usb=True) as right,
    ):
        settings = {**other.settings(), "mac": ONE, "host": f"{name}.local", "usb_port": right.usb_port}
        for worker in ("flash", "autoflash"):
            other.device.routes.clear()  # as if its rate limits were over
            job = Job(tmp_path / worker, settings, usb={"esptool": ""})
            done = subprocess.run([sys.executable, "-m", f"k1ctl.device.{worker}", str(job.folder)], timeout=60)
            assert done.returncode == 65
            assert (job.outcome["code"], job.outcome["transport"]) == ("wrong-device", "ota")
            assert job.outcome["device_mac"] == TWO and TWO in job.outcome["message"]
            assert "discover" in job.outcome["hint"]
        assert other.flashes() == right.flashes() == []
        assert other.image() is None


def test_a_name_with_several_addresses(tmp_path: Path) -> None:
    """Of the addresses of a name one is taken, asked, and refused when it is another board's, whatever the rest is."""
    with SimulatedDevice(tmp_path / "other", mac=TWO) as other:
        program = """
import socket, sys
look = lambda *_: [(2, 1, 0, "", (address, 0)) for address in ("127.0.0.1", "127.0.0.2")]
socket.getaddrinfo = look
from k1ctl.device.flash import main
sys.exit(main(sys.argv[1:]))
"""
        job = Job(tmp_path / "run", {**other.settings(), "mac": ONE, "host": "k1.lan"})
        done = subprocess.run([sys.executable, "-c", program, str(job.folder)], timeout=60)
        assert (done.returncode, job.outcome["code"], other.flashes()) == (65, "wrong-device", [])
