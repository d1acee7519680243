"""What `upload` says of a device that took the image: every reader hears the same, and no kill makes it send twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device import images
from k1ctl.simulator.console import PANIC_MARK
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.kit import Project, finish, wait_until
from tests.usb import app, need_esptool

IMAGE = desk.firmware("verified")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SimulatedDevice]:
    with SimulatedDevice(tmp_path / "device") as simulated:
        yield simulated


def prepare(project: Project, device: SimulatedDevice, more: str = "", **ota: float) -> Project:
    desk.configure(project, device.toml("k1") + more, **ota)
    desk.keep(project, IMAGE)
    return project


def watched(project: Project, stage: str = "soak") -> dict[str, Any]:
    """The run whose device is being watched, or waited for, once it is."""
    wait_until(lambda: any(f"\nstage {stage}" in log(run) for run in desk.runs(project)))
    return desk.runs(project)[-1]


def nobody_holds(project: Project) -> bool:
    tickets = project.run("queue", "list", "--json").json["tickets"]
    return all(ticket["state"] == "dead" for ticket in tickets)


def log(run: dict[str, Any]) -> str:
    path = run["folder"] / "log"
    return path.read_text() if path.exists() else ""


def test_a_soak_that_is_passed(workspace: Project, device: SimulatedDevice) -> None:
    """Answer, record, event and ledger tell of it; a person reads it behind the artifact; the bar is left alone."""
    prepare(workspace, device, "fps_min = 120\n")
    done = workspace.run("upload", "--soak", "0.25s", "--json").assert_ok().json
    seen = done["verification"]
    assert (done["outcome"], seen["state"], seen["soak"]["restarts"]) == ("installed", "ok", 0)
    (run,) = desk.runs(workspace)
    assert run["result"]["verification"] == seen and run["details"]["soak_seconds"] == 0.25
    assert [e["verification"] for e in workspace.events("upload.finished")] == ["ok"]
    ledger = images.read(workspace.facts(), "k1")
    assert ledger["current"]["artifact"] == ledger["soaked"][0]["artifact"] == done["artifact"]
    assert ledger["current"]["run"] == done["run"] and ledger["soaked"][0]["fps_min"] > 100
    workspace.configure((workspace.ops / "k1ctl.toml").read_text() + "soak = 0.25\n")
    said = workspace.run("upload").assert_ok()
    assert "; back in " in said.stdout and "soak 250 ms ok (min 150 fps)" in said.stdout
    assert "k1: soak" in said.stderr and "warning" not in said.stderr


@pytest.mark.parametrize(
    ("faults", "more", "exit_code", "code"),
    [
        (["no-return"], "boot_timeout = 0.3\n", 69, "device-not-back"),
        (["swapped"], "", 65, "wrong-device"),
        (["build-id", "rolled-back"], 'build_id = "/api/device/info:build.id"\n', 1, "wrong-build"),
        (["fps-after=90"], "fps_min = 120\n", 1, "soak-failed"),
    ],
)
def test_a_device_that_is_not_well(
    workspace: Project, tmp_path: Path, faults: list[str], more: str, exit_code: int, code: str
) -> None:
    """The call fails, although the image is installed, and is not made again for it; --wait and the event say the
    same."""
    with SimulatedDevice(tmp_path / "device", *faults) as device:
        prepare(workspace, device, more)
        error = workspace.run("upload", "--soak", "0.5s", "--json").assert_fails(exit_code).json["error"]
        assert (error["code"], error["outcome"], error["attempts"]) == (code, "installed", 1)
        assert error["message"].startswith("k1 took the image, but: ") and error["hint"]
        again = workspace.run("upload", "--wait", error["run"], "--json").assert_fails(exit_code).json["error"]
        assert again == error and len(device.flashes()) == 1
        (event,) = workspace.events("upload.finished")
        assert (event["outcome"], event["verification"]) == ("installed", error["verification"]["state"])
        assert images.read(workspace.facts(), "k1")["soaked"] == []


@pytest.mark.parametrize(
    ("stage", "killed"),
    [
        ("soak", "front end"),
        ("soak", "supervisor"),
        ("soak", "worker"),
        ("soak", "supervisor and worker"),
        ("restart", "worker"),
        ("restart", "supervisor and worker"),
    ],
)
def test_a_kill_while_it_is_verified(workspace: Project, device: SimulatedDevice, stage: str, killed: str) -> None:
    """Whoever is killed, the image is sent once and stays installed, nobody holds the device in the end, and who takes
    the upload up hears what was seen of it: all, or that it was not."""
    prepare(workspace, device)
    device.device.reboot_seconds = 0.5 if stage == "restart" else 0.05
    front = workspace.popen("upload", "--soak", "5s" if killed == "supervisor and worker" else "0.5s")
    run = watched(workspace, stage)
    if "front end" in killed:
        front.kill()
    for name, pid in (("supervisor", run["supervisor"]), ("worker", run["pid"])):
        if name in killed:
            os.kill(pid, signal.SIGKILL)
    status = finish(front)
    told = workspace.run("upload", "--wait", run["run"], "--json")
    if killed == "supervisor and worker":
        error = told.assert_fails(77).json["error"]
        assert (error["code"], error["outcome"]) == ("not-verified", "installed")
        assert (status, error["verification"]["state"]) == (77, "skipped")
    else:
        done = told.assert_ok().json
        assert (done["outcome"], done["verification"]["state"]) == ("installed", "ok")
        assert done["verification"]["soak"]["watched_seconds"] >= 0.5
        assert status == (-signal.SIGKILL if "front end" in killed else 0)
    assert len(device.flashes()) == 1 and device.image() == IMAGE
    assert nobody_holds(workspace)
    current = images.read(workspace.facts(), "k1")["current"]  # whoever wrote it, or nobody did
    assert (current["outcome"], current["artifact"]) == ("installed", run["details"]["artifact"])


@pytest.mark.parametrize("end", ["kill", "cancel"])
def test_behind_a_worker_that_was_killed(workspace: Project, device: SimulatedDevice, end: str) -> None:
    """Where no attempt is left, the supervisor has the device verified, in a process that outlives it, holds the device
    until it is done, and can be told to end."""
    prepare(workspace, device, attempts=1)
    front = workspace.popen("upload", "--soak", "0.5s" if end != "cancel" else "5s")
    run = watched(workspace)
    os.kill(run["pid"], signal.SIGKILL)
    wait_until(lambda: log(run).count("stage soak") == 2)
    if end == "kill":
        os.kill(run["supervisor"], signal.SIGKILL)
        assert not nobody_holds(workspace)
    elif end == "cancel":
        workspace.run("queue", "cancel", run["run"]).assert_ok()
    assert finish(front) == (77 if end == "cancel" else 0)
    seen = desk.left_word(run)["verification"]
    assert seen["state"] == ("skipped" if end == "cancel" else "ok")
    assert len(device.flashes()) == 1 and nobody_holds(workspace)


def test_a_soak_is_cancelled(workspace: Project, device: SimulatedDevice) -> None:
    """While the device is watched the flash is over, so `queue cancel` ends it: exit 77, the image is installed."""
    prepare(workspace, device)
    front = workspace.popen("upload", "--soak", "5s")
    run = watched(workspace)
    assert not nobody_holds(workspace)
    workspace.run("queue", "cancel", run["run"]).assert_ok()
    assert finish(front) == 77
    (word,) = [desk.left_word(run) for run in desk.runs(workspace)]
    assert (word["outcome"], word["verification"]["state"]) == ("installed", "skipped")
    assert nobody_holds(workspace)


def test_a_soak_needs_an_address(workspace: Project, device: SimulatedDevice) -> None:
    """What cannot be watched, or a build id that is no place, is told before anybody stands in line: exit 78."""
    prepare(workspace, device, 'build_id = "build.id"\n')
    assert workspace.run("upload", "--json").assert_fails(78).json["error"]["code"] == "bad-build-id"
    assert not (workspace.ops / "runs").exists()


def test_back_from_a_crash_loop(workspace: Project, tmp_path: Path) -> None:
    """An image that crashes needs USB, and the boot log is kept; rollback puts the one that passed back on by itself,
    over USB, where it passes again."""
    good, bad = app("good"), app("bad" + PANIC_MARK.decode())
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        more = f'[tools]\nesptool = "{need_esptool()}"\n'
        desk.configure(workspace, device.toml("k1") + "boot_timeout = 0.3\nsoak = 0.25\n", more=more)
        kept = desk.keep(workspace, good)
        workspace.run("upload").assert_ok()
        again = workspace.run("device", "rollback", "--json").assert_fails(1).json["error"]
        assert again["code"] == "runs-already"
        desk.keep(workspace, bad)
        error = workspace.run("upload", "--json").assert_fails(1).json["error"]
        assert (error["code"], error["outcome"]) == ("needs-usb", "installed") and "guru" in error["message"]
        assert "Guru Meditation" in Path(error["verification"]["boot_log"]).read_text()
        plan = workspace.run("device", "rollback", "--dry-run", "--json").assert_ok().json
        assert (plan["image"]["artifact"], plan["replaces"]["verification"]) == (kept.id, "needs-usb")
        assert plan["via"] == "usb"
        done = workspace.run("device", "rollback", "--json").assert_ok().json
        assert (done["transport"], done["verification"]["state"], done["artifact"]) == ("usb", "ok", kept.id)
        assert device.image() == good and [f["transport"] for f in device.flashes()] == ["ota", "ota", "usb"]
        assert [e["artifact"] for e in workspace.events("device.rollback")] == [kept.id]
