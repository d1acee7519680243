"""What an upload meets that is not as it should be: answers, other hosts, a cable, an esptool that is old or dies."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.device.ota import Limits, send
from k1ctl.device.partitions import encode
from k1ctl.errors import UnreachableError
from k1ctl.simulator.memory import LAYOUT
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.device.job import Job
from tests.kit import Project
from tests.usb import UsbJob, app, need_esptool

IMAGE = app("bad input")
NOWHERE = {"name": "k1", "host": "", "mac": "02:4B:31:00:00:01", "ota_port": 1, "usb_port": __file__}


@pytest.mark.parametrize(
    ("fault", "code", "exit_code"),
    [
        ("drip=20", "device-offline", 69),
        ("hang", "device-offline", 69),
        ("endless", "device-garbage", 65),
        ("html", "device-garbage", 65),
        ("http=500", "device-garbage", 65),
        ("busy", "device-unconfirmed", 69),
    ],
)
def test_answers_that_tell_nothing(tmp_path: Path, fault: str, code: str, exit_code: int) -> None:
    """Bytes that drip, an answer without end, a page, an error: ended by the probe's own limit, and nothing is sent."""
    with SimulatedDevice(tmp_path / "device", fault) as device:
        job = Job(tmp_path / "run", device.settings(probe_timeout=0.3), IMAGE)
        assert job.run()[0] == exit_code
        assert device.flashes() == [] and device.image() is None
    assert (job.outcome["code"], job.outcome["stage"]) == (code, "probe")


def test_a_device_that_agrees_with_another_host() -> None:
    """It says OK to an invitation that is not ours and connects there: nothing of ours is sent, code device-offline."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device, socket.create_server(("127.0.0.1", 0)) as other:
        device.bind(("127.0.0.1", 0))
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        got: list[bytes] = []

        def serve() -> None:
            for _ in range(3):
                device.recv(256)
                device.sendto(b"OK", stranger.getsockname())
            with socket.create_connection(other.getsockname()), other.accept()[0] as link:
                link.settimeout(0.2)
                try:
                    got.append(link.recv(1))
                except TimeoutError:
                    pass

        with stranger:
            stranger.bind(("127.0.0.1", 0))
            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(UnreachableError) as caught:
                send("127.0.0.1", device.getsockname()[1], IMAGE, limits=Limits(3, 0.1, 0.3, 1.0, 5.0))
            thread.join()
    assert caught.value.code == "device-offline" and b"".join(got) == b""


def test_a_cable_that_is_pulled(workspace: Project, tmp_path: Path) -> None:
    """In the middle of a write, and again when esptool tries for itself: unknown, told in esptool's words; the next
    upload puts it right."""
    with SimulatedDevice(tmp_path / "device", "usb-cut=1:2", usb=True) as device:
        desk.configure(workspace, device, more=f'[tools]\nesptool = "{need_esptool()}"\n', attempts=1)
        desk.keep(workspace, IMAGE)
        error = workspace.run("upload", "--via", "usb", "--json").assert_fails(76).json["error"]
        assert (error["outcome"], error["transport"]) == ("unknown", "usb") and "USB" in error["hint"]
        assert "broke off" in error["message"] and "troubleshooting" not in error["message"]
        assert {flash["outcome"] for flash in device.flashes()} == {"not-installed"} and device.image() is None
        assert workspace.run("upload", "--via", "usb", "--json").assert_ok().json["outcome"] == "installed"
        assert device.image() == IMAGE


@pytest.fixture
def esptool(tmp_path: Path) -> Callable[[str, str], str]:
    """Makes an esptool of a version that finds the right board when it is asked, and does ``write`` when it is to."""

    def make(version: str, write: str) -> str:
        tool = tmp_path / f"esptool-{version}"
        table = encode(LAYOUT).hex()
        tool.write_text(
            f"#!{sys.executable}\nimport os, sys\nif 'version' in sys.argv:\n    print('esptool v{version}')\n"
            f"elif 'read-flash' in sys.argv:\n    print('MAC: 02:4b:31:00:00:01')\n"
            f"    open(sys.argv[-1], 'wb').write(bytes.fromhex('{table}'))\nelse:\n    {write}\n"
        )
        tool.chmod(0o755)
        return str(tool)

    return make


def test_an_esptool_that_is_too_old_or_not_there(
    workspace: Project, tmp_path: Path, esptool: Callable[[str, str], str]
) -> None:
    """126 and 127 with the way to another one, before anybody stands in line."""
    for path, code, text in ((esptool("3.3", "pass"), 126, "too old: 4 or newer"), (str(tmp_path / "none"), 127, "")):
        desk.configure(workspace, '[devices.k1]\nmac = "02:4B:31:00:00:01"\nusb_port = "/dev/null"\n')
        workspace.configure(f'{workspace.config_file.read_text()}[tools]\nesptool = "{path}"\n')
        desk.keep(workspace, IMAGE)
        error = workspace.run("upload", "--via", "usb", "--json").assert_fails(code).json["error"]
        assert text in error["message"] and error["hint"]
    assert not (workspace.ops / "runs").exists()


@pytest.mark.parametrize(
    ("first", "outcome", "exit_code"),
    [("", "unreachable", 69), ("print('Writing at 0x00010000 [ ] 40.0%', flush=True); ", "unknown", 76)],
)
def test_an_esptool_that_dies(
    tmp_path: Path, esptool: Callable[[str, str], str], first: str, outcome: str, exit_code: int
) -> None:
    """Killed before its write began, nothing was written; after that nobody knows, and the hint says what to do."""
    tool = esptool("5.0", f"{first}os.kill(os.getpid(), {signal.SIGKILL.value})")
    job = UsbJob(tmp_path / "run", NOWHERE, IMAGE, usb={"esptool": tool})
    assert job.run()[0] == exit_code
    assert job.outcome["outcome"] == outcome and job.outcome["hint"]
