"""`upload --device any` or a group: the first device that is free gets the image, and only devices that can."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.queue import service
from k1ctl.queue.view import entries
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.kit import Project, finish, wait_until

COMMAND = (sys.executable, "-m", "k1ctl")
IMAGE = desk.firmware("group")


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[SimulatedDevice]]:
    with (
        SimulatedDevice(tmp_path / "k1") as one,
        SimulatedDevice(tmp_path / "k2", mac="02:4B:31:00:00:02") as two,
    ):
        yield [one, two]


@pytest.fixture
def project(workspace: Project, devices: list[SimulatedDevice]) -> Project:
    """A repository with both devices and one without an address, and an artifact."""
    nowhere = "[devices.k3]\n"
    sections = [d.toml(f"k{n}") + "probe_timeout = 5\ngroups = ['desk']\n" for n, d in enumerate(devices, 1)]
    desk.configure(workspace, *sections, nowhere)
    desk.keep(workspace, IMAGE)
    return workspace


def upload(project: Project, device: str, *options: str) -> subprocess.Popen[str]:
    return project.popen("upload", "--device", device, "--json", *options)


def queue(project: Project, state: str) -> list[dict[str, Any]]:
    return [e for e in entries(str(project.ops / "queue")) if e["state"] == state]


def test_uploads_spread_over_two_devices(project: Project, devices: list[SimulatedDevice]) -> None:
    """Each of the three is installed once, on the device that record, answer and queue name; none overlap."""
    command = ("sh", "-c", "echo up; read -r _")
    held = project.popen("queue", "run", "device:k1", "device:k2", "--", *command, stdin=subprocess.PIPE)
    assert held.stdout is not None and held.stdin is not None and held.stdout.readline() == "up\n"
    calls = [upload(project, "any") for _ in range(3)]
    wait_until(lambda: len(queue(project, "waiting")) == 3)
    assert {r for e in queue(project, "waiting") for r in e["resources"]} == {"device:k1~k2"}, "k3 has no address"
    held.stdin.write("\n")
    held.stdin.flush()
    assert finish(held) == 0
    assert [finish(call) for call in calls] == [0] * 3
    records = desk.runs(project)
    for name, device in zip(("k1", "k2"), devices, strict=True):
        mine = [r for r in records if r["device"] == name]
        flashes = device.flashes()
        assert 1 <= len(flashes) == len(mine)
        assert [f["outcome"] for f in flashes] == ["installed"] * len(mine) and desk.overlaps(flashes) == 0
        assert {tuple(r["resources"]) for r in mine} == {(f"device:{name}",)}
        assert {(r["details"]["device"]["name"], r["result"]["device"]) for r in mine} == {(name, name)}
    told = project.run("queue", "stats", "--json").assert_ok().json["resources"]
    counts = {row["resource"]: row["runs"] for row in told}
    assert counts["device:k1"] + counts["device:k2"] == 3 + 2 and set(counts) == {"device:k1", "device:k2"}


def test_who_cannot_is_left_out(project: Project, devices: list[SimulatedDevice]) -> None:
    """A device without an address is left out with a warning; where all are, the error is that of the first."""
    dry = project.run("upload", "--device", "any", "--dry-run", "--json").assert_ok().json
    assert dry["warnings"][0].startswith("k3 is left out: device k3 has no host")
    assert (dry["device"], [d["name"] for d in dry["candidates"]]) == ({"name": "any"}, ["k1", "k2"])
    project.configure('[targets.fw]\n[devices.k3]\ngroups = ["bare"]\n[devices.k4]\ngroups = ["bare"]\n')
    failed = project.run("upload", "--device", "bare").assert_fails(78, "device k3 has no host")
    assert failed.stdout == "" and desk.runs(project) == []
    project.run("upload", "--device", "shelf").assert_fails(78, "no device 'shelf' is configured", "k3, k4")


def test_a_device_that_is_off_is_passed_by(project: Project, devices: list[SimulatedDevice]) -> None:
    """One that does not answer, with no cable here, gets no upload to its group; where all are off, all are tried."""
    devices[0].device.silent_until = float("inf")
    sent = project.run("upload", "--device", "desk", "--json").assert_ok()
    assert sent.json["device"] == "k2" and "k1 is left out: 127.0.0.1:" in sent.stderr
    assert devices[0].flashes() == []
    devices[1].device.silent_until = float("inf")
    (project.ops / "device/k2.json").unlink()  # what was known of it
    dry = project.run("upload", "--device", "desk", "--dry-run", "--json").assert_ok().json
    assert [d["name"] for d in dry["candidates"]] == ["k1", "k2"]


def test_a_device_out_of_service_is_passed_by(project: Project, devices: list[SimulatedDevice]) -> None:
    """The group's other device is taken; one that is named waits and its timeout says why, as does one for any."""
    service.disable(str(project.ops / "queue"), "k1", "its cable is out", "a test")
    assert project.run("upload", "--device", "desk", "--json").assert_ok().json["device"] == "k2"
    assert devices[0].flashes() == []
    timed_out = ("--wait-limit", "50ms")
    project.run("upload", "--device", "k1", *timed_out).assert_fails(75, "out of service: its cable is out")
    service.disable(str(project.ops / "queue"), "k2", "lent", "a test")
    project.run("upload", "--device", "desk", *timed_out).assert_fails(75, "its cable is out", "lent")
    waiting = upload(project, "desk")
    wait_until(lambda: queue(project, "waiting"))
    (place,) = queue(project, "waiting")
    kept = {e["ticket"] for e in queue(project, "parked")}
    service.enable(str(project.ops / "queue"), "k1")
    assert finish(waiting) == 0
    assert [f["outcome"] for f in devices[0].flashes()] == ["installed"]
    assert place["ticket"] not in kept, "the place of the upload to the group was taken over, that for k1 was not"


def test_a_run_on_a_device_uploads_to_it(project: Project, devices: list[SimulatedDevice]) -> None:
    """A command that was let in for one of a group: its upload goes to that one, whichever is the default; but a target
    that has a device of its own goes to no other."""
    service.disable(str(project.ops / "queue"), "k1", "a test", "a test")
    call = shlex.join((*COMMAND, "upload", "--json"))
    text = f"{call}; {call} --device any; K1CTL_TARGETS_FW_DEVICE=k1 {call}"
    done = project.run("queue", "run", "device:desk", "--", "sh", "-c", text)
    first, second, bound = map(json.loads, done.stdout.splitlines())
    assert (first["device"], second["device"], bound["error"]["code"]) == ("k2", "k2", "nested-order")
    assert devices[0].flashes() == [] and len(devices[1].flashes()) == 2
