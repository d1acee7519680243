"""A repository, a device and two worktrees: in one an upload is brought to a stage and struck, in the other an upload
stands in line behind it and must be served."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k1ctl.queue.view import entries
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.device.fakes import http_server
from tests.kit import Project, wait_until

SMALL, BIG = 40_000, 600_000  # bytes: what fits into the kernel's buffers at once, and what does not
# Where the device stops until the cell's gate opens: after the first bytes, or when half of them are taken.
FAULTS = {"waiting": [], "probe": [], "transfer": ["pace=20000000:1"], "sent": ["stall=0.01:1"]}
# Run as the leader of a session whose terminal is standard input, as Conductor runs its scripts.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
KILLS = {"kill": [(signal.SIGKILL, 0.0)], "hangup": [(signal.SIGHUP, 0.2), (signal.SIGKILL, 0.0)]}
STOPS = {"stop": [(signal.SIGSTOP, 1.0), (signal.SIGCONT, 0.0)]}


class Cell:
    """One repository with the worktrees ``victim`` and ``after``, and its device."""

    def __init__(self, folder: Path, number: int, stage: str, *faults: str) -> None:
        self.stage = stage
        self.project = Project(folder / f"repo{number}", worktrees=["victim", "after"])
        self.tree, self.after = self.project.worktree("victim"), self.project.worktree("after")
        size = BIG if stage == "transfer" else SMALL
        self.image, self.next_image = desk.firmware(f"victim{number}", size), desk.firmware(f"after{number}", SMALL)
        mac = f"02:4B:31:00:01:{number:02x}"  # the host's guard knows devices by it
        self.device = SimulatedDevice(folder / f"device{number}", *FAULTS[stage], *faults, mac=mac)
        self.asked, self.gate = threading.Event(), threading.Event()
        desk.hold(self.device, self.gate)
        self.answers: list[dict[str, Any]] = []
        self.started: list[subprocess.Popen[str]] = []

    @contextlib.contextmanager
    def open(self, **ota: float) -> Iterator[Cell]:
        """Start the device and configure the repository."""
        with self.device, http_server(self._answer) as port:
            section = self.device.toml().replace(str(self.device.http_port), str(port)) + "probe_timeout = 30\n"
            desk.configure(self.project, section, **{"idle_timeout": 30, **ota})
            desk.keep(self.project, self.image, self.tree)
            desk.keep(self.project, self.next_image, self.after)
            if self.stage == "waiting":
                self.gate.set()
            try:
                yield self
            finally:
                self.gate.set()
                for process in self.started:  # none lives any more, unless a claim did not hold
                    process.kill()
                    process.communicate()

    def _answer(self, link: Any) -> None:
        self.asked.set()
        if self.stage == "probe":
            self.gate.wait(60)
        self.device.http._client(link)

    # what is there

    @property
    def run(self) -> dict[str, Any]:
        return desk.runs(self.project, "victim")[-1]

    def tickets(self, workspace: str, state: str) -> list[dict[str, Any]]:
        found = entries(str(self.project.ops / "queue"))
        return [e for e in found if e.get("workspace") == workspace and e["state"] == state]

    def reached(self) -> bool:
        """Whether the victim is in the stage."""
        if self.stage == "waiting":
            return bool(self.tickets("victim", "waiting"))
        found = desk.runs(self.project, "victim")
        if not found or found[-1]["state"] != "running":
            return False
        if self.stage == "probe":
            return self.asked.is_set()
        progress = [line.split() for line in (found[-1]["folder"] / "log").read_text().splitlines()]
        sent = [words[1:] for words in progress if words[0] == "progress"]
        if self.stage == "transfer":
            return bool(sent) and sent[-1][0] != sent[-1][1]
        return bool(sent) and sent[-1][0] == sent[-1][1]

    # the steps

    def start(self, *args: str, cwd: Path, **kwargs: Any) -> subprocess.Popen[str]:
        self.started.append(self.project.popen(*args, cwd=cwd, **kwargs))
        return self.started[-1]

    def upload(self, tree: Path) -> subprocess.Popen[str]:
        return self.start("upload", "--json", cwd=tree)

    def upload_in_terminal(self, tree: Path) -> tuple[subprocess.Popen[str], int]:
        master, slave = os.openpty()
        argv = [sys.executable, "-c", IN_TERMINAL, sys.executable, "-m", "k1ctl", "upload"]
        env = self.project.environment({"TERM": "xterm"})
        streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        front = subprocess.Popen(argv, cwd=tree, env=env, start_new_session=True, text=True, **streams)
        os.close(slave)
        self.started.append(front)
        return front, master

    def answer(self, front: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
        """(exit code, document) of an upload, which must not end in a traceback."""
        out, err = front.communicate(timeout=60)
        assert "Traceback" not in out + err, err
        document = json.loads(out)
        if front.returncode == 0:
            self.answers.append(document)
        return front.returncode, document

    def take_up(self, run: str) -> tuple[int, dict[str, Any]]:
        return self.answer(self.start("upload", "--wait", run, "--json", cwd=self.after))

    # the claims

    def check(self) -> None:
        """What holds in every cell: no overlap, nothing torn, nobody stuck, nothing claimed that is not so."""
        flashes = self.device.flashes()
        assert desk.overlaps(flashes) == 0
        assert [e for e in entries(str(self.project.ops / "queue")) if e["state"] != "dead"] == []
        for path in (self.project.ops / "events").iterdir():
            for line in path.read_text().splitlines():
                json.loads(line)
        for run in desk.runs(self.project):
            desk.left_word(run)
        installed = [f["sha256"] for f in flashes if f["outcome"] == "installed"]
        assert self.answers and all(a["sha256"] in installed for a in self.answers)
        assert desk.sha256(self.device.image() or b"") == installed[-1]


def strike(pids: list[int], steps: list[tuple[int, float]]) -> None:
    """Send each signal to all, then let its time pass."""
    for number, seconds in steps:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(seconds)


@contextlib.contextmanager
def started(folder: Path, stage: str, *faults: str, **ota: float) -> Iterator[tuple[Cell, subprocess.Popen[str]]]:
    """A cell whose victim is in the stage."""
    with Cell(folder, 0, stage, *faults).open(**ota) as cell:
        front = cell.upload(cell.tree)
        wait_until(cell.reached)
        yield cell, front
