"""What Conductor does to its scripts hurts nobody: a run script that is stopped in the middle of a flash."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.testing import SimulatedDevice
from tests import desk, firmware
from tests.kit import Project, wait_until

MAC = "02:4B:31:00:05:01"


class Conductor:
    """A repository as `init --conductor` leaves it, its workspaces, and their scripts in terminals of their own."""

    def __init__(self, project: Project) -> None:
        self.project, self.root = project, project.root
        self.trees = {name: project.add_worktree(name) for name in ("oslo", "kyoto")}
        self.scripts: dict[int, int] = {}
        self.said = b""

    def environment(self, name: str) -> dict[str, str]:
        """What Conductor hands to a script, and a PATH without k1ctl."""
        mine = {
            "CONDUCTOR_WORKSPACE_NAME": name,
            "CONDUCTOR_WORKSPACE_PATH": str(self.trees[name]),
            "CONDUCTOR_ROOT_PATH": str(self.root),
            "CONDUCTOR_PORT": "3010",
            "TERM": "xterm-256color",
            "K1CTL": str(self.root.parent / "k1ctl"),
        }
        return self.project.environment({**mine, "PATH": "/usr/local/bin:/usr/bin:/bin"})

    def press(self, name: str, target: str) -> int:
        """Press the Run button of a target in a workspace; the script's pid."""
        command = f'"${{CONDUCTOR_ROOT_PATH:-.}}/ops/hooks/conductor-run" {target}'
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.trees[name])
            os.execve("/bin/sh", ["sh", "-c", command], self.environment(name))
        self.scripts[pid] = terminal
        return pid

    def stop(self, pid: int) -> None:
        """Stop a script as Conductor does: SIGHUP, 200 ms, SIGKILL, and its terminal is closed."""
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.2)  # what Conductor gives a script, not a wait for a condition
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.close(self.scripts.pop(pid))
        os.waitpid(pid, 0)

    def end(self, pid: int) -> int:
        """A script's exit code, once it has ended; what it printed is kept in ``said``."""
        terminal = self.scripts.pop(pid)
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 65536):
                self.said += data
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status)

    def upload_of(self, name: str) -> dict[str, Any] | None:
        """The record of a workspace's flash, once it is under way or was."""
        found = desk.runs(self.project, name)
        return found[-1] if found and found[-1]["state"] != "waiting" else None


@pytest.fixture
def conductor(make_workspace: Any, tmp_path: Path) -> Iterator[Conductor]:
    firmware.need_pio()
    project = make_workspace("repo", files=firmware.files())
    program = tmp_path / "k1ctl"  # what pip writes, for the interpreter of the tests
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m k1ctl "$@"\n')
    program.chmod(0o755)
    project.run("init", "--conductor").assert_ok()
    made = Conductor(project)
    yield made
    for pid in list(made.scripts):
        made.stop(pid)


def test_a_run_script_stopped_in_the_middle_of_a_flash(conductor: Conductor, tmp_path: Path) -> None:
    """SIGHUP, 200 ms, SIGKILL on `hook run fw:upload`: the flash completes, untouched, and the next one follows.

    Both workspaces build their own firmware; the second one stands in line while the first is struck.
    """
    gate = threading.Event()
    with SimulatedDevice(tmp_path / "device", "pace=20000000:1", mac=MAC) as device:
        desk.hold(device, gate)
        desk.configure(conductor.project, device.toml(), target='path = "firmware"\nchip = "none"', idle_timeout=30)
        for name, tree in conductor.trees.items():
            conductor.project.write("firmware/src/main.c", firmware.source(name), within=tree)
        first = conductor.press("oslo", "fw:upload")
        run = wait_until(lambda: conductor.upload_of("oslo"), timeout=60)
        wait_until(lambda: b"progress" in (run["folder"] / "log").read_bytes())
        second = conductor.press("kyoto", "fw:upload")
        wait_until(lambda: desk.runs(conductor.project, "kyoto"), timeout=60)
        assert device.flashes() == []

        conductor.stop(first)
        assert json.loads((run["folder"] / "run.json").read_text())["state"] == "running"
        gate.set()
        assert conductor.end(second) == 0, conductor.said

        flashes = device.flashes()
        assert [f["outcome"] for f in flashes] == ["installed"] * 2 and desk.overlaps(flashes) == 0
        assert sum(f["ignored_invitations"] for f in flashes) == 0
        (ended,) = desk.runs(conductor.project, "oslo")
        assert (ended["result"]["outcome"], ended["result"]["attempts"]) == ("installed", 1)
        assert ended["result"]["sha256"] == flashes[0]["sha256"]
        image = tmp_path / "image"
        image.write_bytes(device.image() or b"")
        assert firmware.marker_of(image) == "kyoto"
        told = conductor.project.run("upload", "--wait", run["run"], "--json").assert_ok().json
        assert told["outcome"] == "installed"


def test_a_build_that_is_stopped_is_over(conductor: Conductor) -> None:
    """The same on `hook run fw:build`: the compiler is gone, slot and tree are free, and the next build is whole."""
    slow = "import time, os\nopen('began', 'w').close()\nwhile True: time.sleep(0.01)\n"
    for tree in conductor.trees.values():
        conductor.project.write("firmware/slow.py", slow, within=tree)
    tree = conductor.trees["oslo"]
    ini = (tree / "firmware" / "platformio.ini").read_text()
    conductor.project.write("firmware/platformio.ini", ini + "extra_scripts = pre:slow.py\n", within=tree)
    script = conductor.press("oslo", "fw:build")
    wait_until((tree / "firmware" / "began").exists, timeout=60)
    conductor.stop(script)
    wait_until(lambda: [r for r in desk.runs(conductor.project, "oslo", "build") if r["state"] == "ended"])
    (tree / "firmware" / "platformio.ini").write_text(ini)
    again = conductor.press("oslo", "fw:build")
    assert conductor.end(again) == 0, conductor.said
    assert b"artifact" in conductor.said
