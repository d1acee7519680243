"""A flash survives whatever is killed around it, and what is said about it is true.

Every cell of the matrix is a repository, a device and two worktrees of its own: in one an upload is brought to a
stage and struck, in the other an upload stands in line behind it and must be served.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.process.frontend import FrontEnd
from k1ctl.process.spec import RunSpec
from k1ctl.process.view import View
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


Blow = tuple[str, str]


def strike(pids: list[int], steps: list[tuple[int, float]]) -> None:
    """Send each signal to all, then let its time pass."""
    for number, seconds in steps:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(seconds)


def in_line(cell: Cell, blow: Blow) -> None:
    """Strike an upload that waits; the holder goes when all is as it was before."""
    role, manner = blow
    holder = cell.start("queue", "run", "device:k1", "--", "cat", cwd=cell.project.root, stdin=subprocess.PIPE)
    wait_until(lambda: cell.tickets(cell.project.root.name, "running"))
    master = -1
    if manner == "hangup":
        front, master = cell.upload_in_terminal(cell.tree)
    else:
        front = cell.upload(cell.tree)
    wait_until(cell.reached)
    (ticket,) = cell.tickets("victim", "waiting")
    behind = cell.upload(cell.after)
    wait_until(lambda: cell.tickets("after", "waiting"))
    pids = {"front": [front.pid], "supervisor": [ticket["pid"]]}
    strike(pids.get(role) or pids["front"] + pids["supervisor"], {**KILLS, **STOPS}[manner])
    if master >= 0:
        os.close(master)
    if manner != "stop":
        if role != "supervisor":  # whose front end puts another one in its place
            front.communicate()
            wait_until(lambda: not cell.tickets("victim", "waiting"))
            front = cell.upload(cell.tree)
        wait_until(lambda: any(t["pid"] != ticket["pid"] for t in cell.tickets("victim", "waiting")))
    assert [t["ticket"] for t in cell.tickets("victim", "waiting")] == [ticket["ticket"]]
    holder.communicate()  # the end of its input ends it
    assert holder.returncode == 0
    assert cell.answer(front)[0] == 0
    assert cell.answer(behind)[0] == 0
    assert cell.run["ticket"] == ticket["ticket"]
    assert [f["sha256"] for f in cell.device.flashes()] == [desk.sha256(i) for i in (cell.image, cell.next_image)]
    assert sum(f["ignored_invitations"] for f in cell.device.flashes()) == 0


def under_way(cell: Cell, blow: Blow) -> None:
    """Strike an upload that has the device."""
    role, manner = blow
    master = -1
    if manner == "hangup":
        front, master = cell.upload_in_terminal(cell.tree)
    else:
        front = cell.upload(cell.tree)
    wait_until(cell.reached)
    run = cell.run
    behind = cell.upload(cell.after)
    wait_until(lambda: cell.tickets("after", "waiting"))
    assert cell.reached()
    roles = {"front": front.pid, "supervisor": run["supervisor"], "worker": run["pid"]}
    strike([roles[role]] if role in roles else list(roles.values()), {**KILLS, **STOPS}[manner])
    cell.gate.set()
    if master >= 0:
        os.close(master)
    if manner == "stop" or role in ("supervisor", "worker"):
        assert cell.answer(front)[0] == 0
    else:
        front.communicate()
    code, document = cell.take_up(run["run"])
    assert cell.answer(behind)[0] == 0
    flashes = cell.device.flashes()
    installed = [f["sha256"] for f in flashes if f["outcome"] == "installed"]
    both = [desk.sha256(cell.image), desk.sha256(cell.next_image)]
    if role == "all" and manner != "stop":
        assert document["error"]["code"] == ("flash-failed" if cell.stage == "probe" else "outcome-unknown")
        assert code == document["error"]["exit_code"] == (1 if cell.stage == "probe" else 76)
        assert installed in (both, both[1:])
        assert cell.answer(cell.upload(cell.tree))[0] == 0
        return
    assert (code, document["outcome"], document["run"]) == (0, "installed", run["run"])
    assert list(dict.fromkeys(installed)) == both
    if role == "worker" and manner != "stop":
        assert document["attempts"] == 2
        assert len(cell.project.events("queue.granted")) == 2  # the second attempt stood in no line
    else:
        assert len(flashes) == 2 and document["attempts"] == 1
        assert sum(f["ignored_invitations"] for f in flashes) == 0


def matrix(folder: Path, stage: str, blows: list[Blow], act: Callable[[Cell, Blow], None]) -> None:
    """All cells of a stage, several at once."""

    def play(number: int) -> str:
        try:
            with Cell(folder, number, stage).open() as cell:
                act(cell, blows[number])
                cell.check()
        except BaseException as exc:
            import traceback

            told = "".join(traceback.format_exception(exc))
            return f"--- {' '.join(blows[number])} while {stage}\n{told}\n{cell.device.flashes()}\n"
        return ""

    with ThreadPoolExecutor(9) as pool:
        failures = [text for text in pool.map(play, range(len(blows))) if text]
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)


FRONT = [("front", "kill"), ("front", "hangup"), ("front", "stop")]
OTHERS = [(role, manner) for role in ("supervisor", "all") for manner in ("kill", "stop")]
WORKER = [("worker", "kill"), ("worker", "stop")]


def test_struck_while_waiting(tmp_path: Path) -> None:
    """Killed or stopped in line: the place is kept, the next call has it, the order stays."""
    matrix(tmp_path, "waiting", FRONT + OTHERS, in_line)


@pytest.mark.parametrize("stage", ["probe", "transfer", "sent"])
def test_struck_with_the_device(tmp_path: Path, stage: str) -> None:
    """Front end or supervisor killed: the flash completes. Worker killed: done again under the same lease. All killed:
    told honestly. In every case the next in line is served and --wait gives the right answer."""
    matrix(tmp_path, stage, FRONT + OTHERS + WORKER, under_way)


# What the matrix does not reach


@contextlib.contextmanager
def started(folder: Path, stage: str, *faults: str, **ota: float) -> Iterator[tuple[Cell, subprocess.Popen[str]]]:
    """A cell whose victim is in the stage."""
    with Cell(folder, 0, stage, *faults).open(**ota) as cell:
        front = cell.upload(cell.tree)
        wait_until(cell.reached)
        yield cell, front


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_caller_that_is_told_to_end_leaves_a_flash_alone(tmp_path: Path, number: signal.Signals) -> None:
    """^C and TERM end the call, and one that took it up, with 128+N and the way back; the flash goes on, and any number
    may take it up."""
    with started(tmp_path, "transfer") as (cell, front):
        run = cell.run["run"]
        another = cell.start("upload", "--wait", run, "--json", cwd=cell.after)
        assert another.stderr is not None and another.stderr.readline()  # it watches
        for call in (front, another):
            call.send_signal(number)
            out, err = call.communicate(timeout=30)
            assert call.returncode == 128 + number and f"k1ctl upload --wait {run}" in err, err
            assert (json.loads(out)["error"]["code"], json.loads(out)["error"]["run"]) == ("caller-left", run)
        takers = [cell.start("upload", "--wait", run, "--json", cwd=cell.after) for _ in range(2)]
        cell.gate.set()
        told = [cell.answer(taker) for taker in takers]
        assert told[0] == told[1] and told[0][0] == 0
        assert cell.device.image() == cell.image
        cell.check()


def test_a_caller_that_is_told_to_end_in_the_moment_of_the_grant(workspace: Project) -> None:
    """The supervisor let the flash go on already, so the call ends as soon as it hears that it runs."""
    spec = RunSpec("upload", ["x"], {}, on_caller_exit="keep")
    read, write = os.pipe()
    front = FrontEnd(workspace.facts(), load(workspace.facts()), spec, View(), -1, write)
    front.forward(signal.SIGTERM, None)
    assert os.read(read, 8) == b"T" and front.ending is None
    front._hear({"state": "running", "pid": 1, "attempt": 1})
    assert front.ending is not None and (front.ending.exit_code, front.ending.code) == (143, "caller-left")
    os.close(read)
    os.close(write)


def test_a_flash_is_not_cancelled(tmp_path: Path) -> None:
    """`queue cancel` refuses a flash under way and names how to wait for it."""
    with started(tmp_path, "transfer") as (cell, front):
        run = cell.run["run"]
        cell.project.run("queue", "cancel", run).assert_fails(75, "flash under way", run)
        cell.gate.set()
        assert cell.answer(front)[0] == 0
        cell.check()


def test_a_supervisor_that_is_told_to_end_stops_where_the_device_is_safe(tmp_path: Path) -> None:
    """TERM to the supervisor in mid-transfer: the old image stays, exit 69, the lease is free."""
    with started(tmp_path, "transfer") as (cell, front):
        os.kill(cell.run["supervisor"], signal.SIGTERM)
        wait_until(lambda: desk.left_word(cell.run).get("outcome") == "interrupted")
        cell.gate.set()
        code, document = cell.answer(front)
        assert (code, document["error"]["code"]) == (69, "ota-interrupted")
        assert cell.device.image() is None
        assert cell.take_up(cell.run["run"])[0] == 69
        assert cell.answer(cell.upload(cell.after))[0] == 0
        cell.check()


@pytest.mark.parametrize("also_supervisor", [False, True])
def test_killed_after_the_devices_ok(tmp_path: Path, also_supervisor: bool) -> None:
    """While the device restarts, its OK is on record already: installed, and nothing is sent a second time."""
    with Cell(tmp_path, 0, "sent").open() as cell:
        cell.device.device.reboot_seconds = 60
        cell.gate.set()
        front = cell.upload(cell.tree)
        wait_until(lambda: desk.runs(cell.project, "victim") and desk.left_word(cell.run).get("outcome") == "installed")
        run = cell.run
        strike([run["supervisor"]] * also_supervisor + [run["pid"]], KILLS["kill"])
        cell.device.device.booted = cell.device.device.silent_until = time.monotonic()
        code, document = cell.answer(front)
        assert (code, document["outcome"]) == (0, "installed")
        assert document["verification"]["state"] == ("skipped" if also_supervisor else "ok")
        assert document["attempts"] == (1 if also_supervisor else 2)
        assert cell.take_up(run["run"])[0] == 0
        assert len(cell.device.flashes()) == 1
        cell.check()


def test_front_end_killed_between_two_attempts(tmp_path: Path) -> None:
    """The second attempt is made although nobody watches any more."""
    with Cell(tmp_path, 0, "waiting", "lost-ok:1").open(retry_delay=1.5) as cell:
        front = cell.upload(cell.tree)
        wait_until(lambda: cell.project.events("run.retry"))
        front.kill()
        code, document = cell.take_up(cell.run["run"])
        assert (code, document["outcome"], document["attempts"]) == (0, "installed", 2)
        cell.check()


def test_supervisor_killed_between_two_attempts(tmp_path: Path) -> None:
    """Nobody is left to settle a doubt: exit 76 for the caller and for whoever asks later; the device is free."""
    with Cell(tmp_path, 0, "waiting", "lost-ok:1").open(retry_delay=60) as cell:
        front = cell.upload(cell.tree)
        wait_until(lambda: cell.project.events("run.retry"))
        os.kill(cell.run["supervisor"], signal.SIGKILL)
        code, document = cell.answer(front)
        assert (code, document["error"]["code"]) == (76, "outcome-unknown")
        assert cell.take_up(cell.run["run"]) == (code, document)
        assert [e["outcome"] for e in cell.project.events("upload.finished")] == ["unknown"]
        assert cell.answer(cell.upload(cell.tree))[0] == 0
        cell.check()


# A disk that is full or read-only: ops/ on a small file system of its own, which only the children see

NAMESPACE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
MOUNT = 'set -e; mount -t tmpfs -o size=1m tmpfs "$1"; cp -a "$2"/. "$1"; cd "$3"; eval "$4"; shift 4; exec "$@"'
FILL = 'dd if=/dev/zero of="$1/fill" bs=4k 2>/dev/null || true'


@functools.cache
def namespaces() -> bool:
    """Whether this machine lets us mount something for our children only."""
    try:
        done = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not namespaces(), reason="needs mount namespaces (unshare -m)"
)


def upload_on_small_disk(cell: Cell, prepare: str) -> subprocess.Popen[str]:
    """An upload that sees a copy of ops/ on 1 MB, after the shell command ``prepare``."""
    saved = cell.project.root.parent / "saved"
    cell.project.ops.rename(saved)
    cell.project.ops.mkdir()
    script = ["sh", "-c", MOUNT, "sh", cell.project.ops, saved, cell.tree, prepare]
    argv = [*NAMESPACE, *map(str, script), sys.executable, "-m", "k1ctl", "upload", "--json"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    cell.started.append(subprocess.Popen(argv, env=cell.project.environment(), text=True, **pipes))
    return cell.started[-1]


@needs_namespaces
@pytest.mark.parametrize(
    ("prepare", "code", "wanted"),
    [(FILL, "disk-full", 75), ('mount -o remount,ro "$1"', "read-only", 78)],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_nothing(tmp_path: Path, prepare: str, code: str, wanted: int) -> None:
    """Exit 75 (full) or 78 (read-only) and why, before anything is sent."""
    with Cell(tmp_path, 0, "sent").open() as cell:
        exit_code, document = cell.answer(upload_on_small_disk(cell, prepare))
        assert (exit_code, document["error"]["code"]) == (wanted, code)
        assert cell.device.flashes() == []


@needs_namespaces
def test_a_disk_that_fills_up_during_a_flash(tmp_path: Path) -> None:
    """The flash completes, and its outcome is told although it cannot be recorded."""
    with Cell(tmp_path, 0, "transfer").open() as cell:
        ops = cell.project.ops
        front = upload_on_small_disk(cell, ":")
        inside = Path(f"/proc/{front.pid}/root{ops}")
        wait_until(lambda: any(b"progress" in log.read_bytes() for log in inside.glob("runs/*/log")))
        with contextlib.suppress(OSError), open(inside / "fill", "wb", buffering=0) as fill:
            while fill.write(bytes(4096)):
                pass
        cell.gate.set()
        out, err = front.communicate(timeout=60)
        assert front.returncode == 0 and "Traceback" not in err, err
        assert json.loads(out)["outcome"] == "installed"
        assert "could not be written" in err
        assert cell.device.image() == cell.image
