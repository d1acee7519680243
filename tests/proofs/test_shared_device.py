"""One device, several repositories on one host, and a root where somebody cleaned everything away."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.kit import Project, wait_until

MAC = "02:4B:31:00:02:01"
Make = Callable[..., Project]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test started; none of it lives any more when every claim held."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def answer(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """(exit code, document) of an upload."""
    out, err = process.communicate(timeout=90)
    assert "Traceback" not in out + err, err
    return process.returncode, json.loads(out)


def nobody_met(device: SimulatedDevice) -> bool:
    """No two flashes overlapped, and nobody invited the device while it served another."""
    flashes = device.flashes()
    return desk.overlaps(flashes) == 0 and not any(f["ignored_invitations"] for f in flashes)


@pytest.mark.parametrize("known_by", ["mac", "address"])
@pytest.mark.parametrize("uploads", [3, pytest.param(6, marks=pytest.mark.soak)])
def test_two_repositories_one_device(
    make_workspace: Make, tmp_path: Path, started: list[subprocess.Popen[str]], known_by: str, uploads: int
) -> None:
    """Uploads from each of two repositories at once: all installed, none overlapped, each repository in its order.

    One repository knows the device by its MAC, the other by its MAC too or by nothing but its address.
    """
    trees = [f"agent{n}" for n in range(uploads)]
    with SimulatedDevice(tmp_path / "device", "pace=400000", mac=MAC) as device:
        projects = [make_workspace(name, worktrees=trees) for name in ("one", "two")]
        images: dict[str, tuple[Project, str]] = {}
        for project in projects:
            section = device.toml()
            if known_by == "address" and project is projects[1]:
                section = section.replace(MAC, "")
            desk.configure(project, section, attempt_timeout=60)
            for tree in trees:
                image = desk.firmware(f"{project.root.name} {tree}", 20_000)
                desk.keep(project, image, project.worktree(tree))
                images[desk.sha256(image)] = (project, tree)
        for tree in trees:
            started += [p.popen("upload", "--json", cwd=p.worktree(tree)) for p in projects]
        answers = [answer(process) for process in started]
        assert [(code, told["outcome"]) for code, told in answers] == [(0, "installed")] * 2 * uploads
        flashes = device.flashes()
        assert [f["outcome"] for f in flashes] == ["installed"] * 2 * uploads
        assert {f["sha256"] for f in flashes} == set(images)
        assert nobody_met(device)
        for project in projects:
            order = sorted(desk.runs(project), key=lambda r: r["ticket"])
            served = [images[f["sha256"]][1] for f in flashes if images[f["sha256"]][0] is project]
            assert [r["workspace"] for r in order] == served
        assert desk.sha256(device.image() or b"") == flashes[-1]["sha256"]


def test_without_the_hosts_guard_they_would_meet(
    make_workspace: Make, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    """The measure of the tests around this one is a real one: without the common guard it shows a second uploader."""
    gate = threading.Event()
    with SimulatedDevice(tmp_path / "device", "stall=0.01:1", mac=MAC) as device:
        desk.hold(device, gate)
        for name in ("one", "two"):
            project = make_workspace(name)
            desk.configure(project, device.toml(), idle_timeout=30, invitation_interval=0.1, invitations=600)
            desk.keep(project, desk.firmware(name))
            env = {"K1CTL_HOST_DIR": str(tmp_path / f"host {name}")}
            started.append(project.popen("upload", "--json", env=env))
            wait_until(lambda p=project: desk.runs(p) and desk.left_word(desk.runs(p)[-1]).get("stage"))
        log = desk.runs(project)[-1]["folder"] / "log"
        wait_until(lambda: b"stage invite" in log.read_bytes())
        wait_until(lambda: device.device.uptime_ms() > 0 and _invited(device))
        gate.set()
        assert [answer(process)[0] for process in started] == [0, 0]
        assert not nobody_met(device)


def _invited(device: SimulatedDevice) -> bool:
    """Whether a datagram waits in the device's socket."""
    import select

    return bool(select.select([device.ota.udp], [], [], 0)[0])


@pytest.fixture
def cleanable(make_workspace: Make, tmp_path: Path) -> Iterator[tuple[Project, SimulatedDevice, threading.Event]]:
    """A repository whose configuration is committed, and a device that pauses in its first update until told."""
    gate = threading.Event()
    with SimulatedDevice(tmp_path / "device", "pace=20000000:1", mac=MAC) as device:
        desk.hold(device, gate)
        project = make_workspace("repo", worktrees=["a", "b"])
        desk.configure(project, device.toml(), idle_timeout=30)
        project.git("add", "-f", "ops/k1ctl.toml")
        project.git("commit", "-q", "-m", "configuration")
        desk.keep(project, desk.firmware("a", 600_000), project.worktree("a"))
        desk.keep(project, desk.firmware("b"), project.worktree("b"))
        yield project, device, gate
        gate.set()


def clean(project: Project) -> None:
    """What people do when a build looks strange."""
    project.git("clean", "-fdxq")
    assert [p.name for p in project.ops.iterdir()] == ["k1ctl.toml"]


def in_transfer(project: Project, started: list[subprocess.Popen[str]]) -> None:
    """Start an upload from worktree a and wait until bytes have gone."""
    started.append(project.popen("upload", "--json", cwd=project.worktree("a")))
    wait_until(lambda: any(b"progress" in log.read_bytes() for log in project.ops.glob("runs/*/log")))


def test_clean_during_a_flash(
    cleanable: tuple[Project, SimulatedDevice, threading.Event], started: list[subprocess.Popen[str]]
) -> None:
    """`git clean -fdx` in the root: the flash completes and is told; one that comes now waits at the host's guard."""
    project, device, gate = cleanable
    in_transfer(project, started)
    clean(project)
    desk.keep(project, desk.firmware("b"), project.worktree("b"))
    started.append(project.popen("upload", "--json", cwd=project.worktree("b")))
    wait_until(lambda: project.events("device.guarded"))
    gate.set()
    for process in started:
        code, told = answer(process)
        assert (code, told["outcome"]) == (0, "installed")
    assert [f["sha256"] for f in device.flashes()] == [
        desk.sha256(desk.firmware("a", 600_000)),
        desk.sha256(desk.firmware("b")),
    ]
    assert nobody_met(device)
    assert [(r["workspace"], r["state"], r["exit_code"]) for r in desk.runs(project)] == [
        ("a", "ended", 0),
        ("b", "ended", 0),
    ]
    desk.keep(project, desk.firmware("next"))
    project.run("upload").assert_ok()
    assert device.image() == desk.firmware("next")


def test_clean_with_somebody_in_line(
    cleanable: tuple[Project, SimulatedDevice, threading.Event], started: list[subprocess.Popen[str]]
) -> None:
    """Who waits is told that his image is gone and sends nothing; the flash under way is untouched."""
    project, device, gate = cleanable
    in_transfer(project, started)
    started.append(project.popen("upload", "--json", cwd=project.worktree("b")))
    wait_until(lambda: [e for e in project.events("queue.enqueued") if e["workspace"] == "b"])
    clean(project)
    gate.set()
    assert answer(started[0])[0] == 0
    code, told = answer(started[1])
    assert (code, told["error"]["code"]) == (65, "image-changed")
    assert len(device.flashes()) == 1 and nobody_met(device)
    desk.keep(project, desk.firmware("b"), project.worktree("b"))
    project.run("upload", cwd=project.worktree("b")).assert_ok()


def test_clean_between_two_attempts(make_workspace: Make, tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    """A first attempt that may have been installed stays one, also when the record of it was cleaned away."""
    with SimulatedDevice(tmp_path / "device", "lost-ok:1") as device:
        project = make_workspace("repo")
        desk.configure(project, device.toml(), retry_delay=1.5)
        project.git("add", "-f", "ops/k1ctl.toml")
        project.git("commit", "-q", "-m", "configuration")
        desk.keep(project, desk.firmware("a"))
        started.append(project.popen("upload", "--json"))
        wait_until(lambda: project.events("run.retry"))
        clean(project)
        code, told = answer(started[0])
        assert (code, told["error"]["outcome"]) == (76, "unknown")
        desk.keep(project, desk.firmware("a"))
        project.run("upload").assert_ok()
        assert device.image() == desk.firmware("a")
