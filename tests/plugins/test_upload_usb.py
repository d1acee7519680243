"""`upload --via`: real esptool under the lease of an upload, and when the way is changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl import artifacts
from k1ctl.device import partitions
from k1ctl.device.ota import send
from k1ctl.simulator.console import PANIC_MARK
from k1ctl.simulator.memory import LAYOUT
from k1ctl.testing import SimulatedDevice, add_distribution
from tests import desk
from tests.device.job import Job
from tests.kit import Project, wait_until
from tests.usb import USB, app, need_esptool

IMAGE = app("upload")
COPY = """\
import sys
from k1ctl.hookspecs import hookimpl
from k1ctl.transports import Transport

class Copy(Transport):
    name = "copy"

    def check(self, delivery):
        assert delivery.device["name"] == "k1" and delivery.kind == "app"

    def job(self, delivery):
        return {"to": delivery.workspace.ops_path("copied.bin")}

    def worker(self):
        return [sys.executable, "-m", "p_copy_worker"]

@hookimpl
def k1ctl_transports():
    return [Copy()]
"""
WORKER = """\
import json, os, shutil, sys
with open(os.path.join(sys.argv[1], "flash.json")) as f:
    job = json.load(f)
print("stage transfer", flush=True)
shutil.copy(job["image"], job["to"])
done = {"outcome": "installed", "code": "installed", "message": "copied", "exit_code": 0, "hint": "",
        "pid": os.getpid(), "transport": "copy"}
with open(os.path.join(sys.argv[1], "flash-outcome.json"), "w") as f:
    json.dump(done, f)
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SimulatedDevice]:
    with SimulatedDevice(tmp_path / "device", usb=True) as simulated:
        yield simulated


def configure(project: Project, device: SimulatedDevice, image: bytes = IMAGE) -> None:
    """Configure the repository for the device, an esptool and short waits, and keep an image as what was built."""
    desk.configure(project, device, more=f'[tools]\nesptool = "{need_esptool()}"\n', attempts=2)
    desk.keep(project, image)


def error_of(project: Project, exit_code: int, *args: str) -> dict[str, Any]:
    error: dict[str, Any] = project.run("upload", *args, "--json").assert_fails(exit_code).json["error"]
    return error


def over_usb(device: SimulatedDevice) -> list[dict[str, Any]]:
    return [flash for flash in device.flashes() if flash.get("transport") == "usb"]


def test_over_usb(workspace: Project, device: SimulatedDevice) -> None:
    """The device runs the artifact; answer, record and event name the transport; nobody holds the device after it."""
    configure(workspace, device)
    said = workspace.run("upload", "--via", "usb").assert_ok()
    assert device.image() == IMAGE and len(over_usb(device)) == 1
    assert "over USB" in said.stdout and "] 100%" in said.stderr and "warning" not in said.stderr
    (run,) = desk.runs(workspace)
    done = run["result"]
    assert (done["outcome"], done["transport"], done["device_mac"]) == ("installed", "usb", "02:4b:31:00:00:01")
    assert run["details"]["transport"] == "usb" and run["resources"] == {"device:k1": 1}
    (event,) = workspace.events("upload.finished")
    assert (event["transport"], event["outcome"]) == ("usb", "installed")
    assert workspace.run("queue", "list", "--json").json["tickets"] == []


def test_auto_saves_a_device_that_crashes(workspace: Project, device: SimulatedDevice) -> None:
    """A device that does not answer over the network and is on USB is flashed there; the answer says why."""
    assert send("127.0.0.1", device.ota_port, app("bad" + PANIC_MARK.decode())).outcome == "installed"
    configure(workspace, device)
    done = workspace.run("upload", "--json").assert_ok().json
    assert device.image() == IMAGE
    assert (done["transport"], done["attempts"], done["network"]["code"]) == ("usb", 1, "device-offline")
    wait_until(lambda: device.device.answering)
    again = workspace.run("upload", "--json").assert_ok().json
    assert again["transport"] == "ota" and len(over_usb(device)) == 1
    assert [event["transport"] for event in workspace.events("upload.finished")] == ["usb", "ota"]


def test_auto_stays_on_the_network_once_bytes_were_sent(workspace: Project, tmp_path: Path) -> None:
    """A link that is cut in the middle, and a final word that is lost, are no reason for USB."""
    big = app("big", 900_000)  # more than the kernel takes at once, so that the cut is seen before the last byte
    for number, (fault, code) in enumerate((("cut=0.1", 69), ("lost-ok", 76)), 1):
        mac = f"02:4B:31:00:02:{number:02x}"
        with SimulatedDevice(tmp_path / fault, fault, "pace=20000000", usb=True, mac=mac) as device:
            configure(workspace, device, big)
            error_of(workspace, code)
            assert over_usb(device) == [] and len(device.flashes()) == 2


@pytest.mark.parametrize(("transport", "code"), [("ota", 69), ("usb", 0)])
def test_a_doubt_about_the_network_keeps_usb_away(tmp_path: Path, transport: str, code: int) -> None:
    """Where an attempt before may still be writing over the network, a silent device is not flashed over USB; where it
    was over USB, it is."""
    with SimulatedDevice(tmp_path / "device", "offline=inf", usb=True) as device:
        settings = {**device.settings(), "boot_timeout": 0.1}
        usb = {**USB, "esptool": need_esptool()}
        job = Job(tmp_path / "run", settings, IMAGE, usb=usb, listen_seconds=0.1)
        before = {"outcome": "unknown", "code": "", "message": "", "pid": 1, "transport": transport}
        (job.folder / "flash-outcome.json").write_text(json.dumps(before))
        argv = [sys.executable, "-m", "k1ctl.device.autoflash", str(job.folder)]
        assert subprocess.run(argv, stdout=subprocess.DEVNULL, timeout=60, check=False).returncode == code
        assert len(over_usb(device)) == (code == 0)


def test_another_board(workspace: Project, tmp_path: Path) -> None:
    """A MAC that is not the configured one is exit 65 before any byte, where the network failed first."""
    with SimulatedDevice(tmp_path / "device", "usb-mac", "offline=inf", usb=True) as device:
        configure(workspace, device)
        error = error_of(workspace, 65)
        assert error["code"] == "wrong-device" and "02:4b:31:ff:ff:ff" in error["message"]
        assert device.flashes() == []


def test_the_full_set(workspace: Project, device: SimulatedDevice, tmp_path: Path) -> None:
    """--full wants bootloader and table of the same build, and puts all of it on a blank chip."""
    configure(workspace, device)
    assert error_of(workspace, 65, "--via", "usb", "--full")["code"] == "incomplete-set"
    assert device.usb is not None
    memory, files = device.usb.memory, {}
    data = {
        "firmware.bin": app("full"),
        "bootloader.bin": memory.read(0, 4096),
        "partitions.bin": partitions.encode(LAYOUT),
    }
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
        files[name] = str(tmp_path / name)
    artifacts.store(workspace.facts(), "fw", files, desk._FACTS)
    memory.erase(0, 0x20000)
    assert error_of(workspace, 65, "--via", "usb")["code"] == "no-partition-table"
    workspace.run("upload", "--via", "usb", "--full").assert_ok()
    assert device.image() == app("full") and memory.read(0, 4096) == data["bootloader.bin"]


def test_without_a_host_there_is_only_usb(workspace: Project, device: SimulatedDevice) -> None:
    """A device with no address goes over USB when it is there, and is a gap in the configuration when it is not."""
    configure(workspace, device)
    text = (workspace.ops / "k1ctl.toml").read_text().replace('host = "127.0.0.1"', "")
    workspace.configure(text)
    assert workspace.run("upload", "--dry-run", "--json").assert_ok().json["transport"] == "usb"
    workspace.configure(text.replace(f'usb_port = "{device.usb_port}"', ""))
    assert error_of(workspace, 78)["code"] == "no-host"


def test_what_does_not_go_together(workspace: Project, device: SimulatedDevice) -> None:
    """Each bad combination is one line, exit 2, and nobody stands in line for it."""
    configure(workspace, device)
    for args in (
        ["--full"],
        ["--full", "--via", "ota"],
        ["--via", "usb", "--filesystem"],
        ["--via", "usb", "--interface", "127.0.0.1"],
        ["--via", "pigeon"],
    ):
        workspace.run("upload", *args).assert_fails(2)
    assert "auto, ota, usb" in workspace.run("upload", "--via", "pigeon").stderr
    assert not (workspace.ops / "runs").exists()


def test_a_kill_breaks_no_write(workspace: Project, tmp_path: Path) -> None:
    """Caller and worker are killed in the middle of a write over USB: it ends by itself, the device stays held until
    then, the next attempt settles it, and --wait tells."""
    with SimulatedDevice(tmp_path / "device", "usb-erase=300ms:1", usb=True) as device:
        configure(workspace, device)
        front = workspace.popen("upload", "--via", "usb")
        wait_until(lambda: [run for run in desk.runs(workspace) if b"stage transfer" in log_of(run)] != [])
        (run,) = desk.runs(workspace)
        front.kill()
        os.kill(run["pid"], signal.SIGKILL)
        front.communicate()
        done = workspace.run("upload", "--wait", run["run"], "--json").assert_ok().json
        assert (done["outcome"], done["transport"], done["attempts"]) == ("installed", "usb", 2)
        assert [flash["outcome"] for flash in device.flashes()] == ["installed", "installed"]
        assert desk.overlaps(device.flashes()) == 0 and device.image() == IMAGE


def log_of(run: dict[str, Any]) -> bytes:
    path = run["folder"] / "log"
    return path.read_bytes() if path.exists() else b""


def test_a_third_party_adds_a_way(workspace: Project, tmp_path: Path, device: SimulatedDevice) -> None:
    """A transport from another distribution is chosen by its name, works under the same lease and record, and what
    the device does afterwards is verified although its worker knows nothing of that."""
    site = add_distribution(
        tmp_path / "site", "k1ctl-copy", {"copy": "p_copy"}, {"p_copy": COPY, "p_copy_worker": WORKER}
    )
    configure(workspace, device)
    said = workspace.run("upload", "--via", "copy", "--soak", "0.5s", "--json", env={"PYTHONPATH": str(site)})
    done = said.assert_ok().json
    assert (workspace.ops / "copied.bin").read_bytes() == IMAGE
    assert (done["outcome"], done["transport"], done["message"]) == ("installed", "copy", "copied")
    seen = done["verification"]
    assert (seen["state"], seen["restarted"], seen["soak"]["restarts"]) == ("ok", None, 0)
    assert seen["soak"]["samples"] >= 1 and seen["soak"]["fps_min"] > 100
