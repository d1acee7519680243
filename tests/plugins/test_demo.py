from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from k1ctl_plugins.demo import proof
from k1ctl_plugins.demo.play import Agent
from tests import firmware
from tests.kit import finish, wait_until


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files, and PlatformIO to build with."""
    firmware.need_pio()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def demo(*args: str, cwd: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "k1ctl", "demo", *args]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=110, **kwargs)


def working_in(folder: Path) -> list[int]:
    """The processes whose environment leads into ``folder``, which the demo's own do."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("K1CTL_HOST_DIR", "").startswith(str(folder)):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_every_claim_holds_and_nothing_is_left(scene: Path, tmp_path: Path) -> None:
    """3 agents, outside any repository: exit 0, five claims that hold, no folder and no process afterwards."""
    done = demo("--agents", "3", "--json", "--pace", "1M", cwd=tmp_path)
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    assert told["ok"] and told["folder"] is None
    assert [claim["holds"] for claim in told["proof"]] == [True] * 5
    assert [a["outcome"] for a in told["agents"]] == ["installed"] * 3
    assert len({a["sha256"] for a in told["agents"]}) == len({a["ticket"] for a in told["agents"]}) == 3
    assert "flashing" in done.stderr and "Traceback" not in done.stderr
    assert list(scene.iterdir()) == []
    assert working_in(scene) == []


def test_keep(scene: Path, tmp_path: Path) -> None:
    """--keep leaves the repository, its worktrees and its records to look at, but no process; the table is stdout."""
    done = demo("--agents", "1", "--keep", "--pace", "1M", cwd=tmp_path)
    assert done.returncode == 0, done
    assert done.stdout.count("holds ") == 5 and "FAILS" not in done.stdout
    (folder,) = scene.iterdir()
    assert str(folder) in done.stderr
    (record,) = (folder / "repository" / "ops" / "artifacts").glob("fw/*/firmware.bin")
    assert record.read_bytes() == (folder / "repository" / "ops" / "device" / "sim-k1" / "image.bin").read_bytes()
    assert working_in(scene) == []
    shutil.rmtree(folder)


@pytest.mark.parametrize(("number", "agents"), [(signal.SIGINT, 3), (signal.SIGTERM, 2)])
def test_told_to_end_in_the_middle(scene: Path, tmp_path: Path, number: signal.Signals, agents: int) -> None:
    """^C and TERM while one flashes and others build or wait: nothing of it is left."""
    argv = [sys.executable, "-m", "k1ctl", "demo", "--agents", str(agents), "--pace", "20k"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    try:
        process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    records = wait_until(lambda: list(scene.glob("*/repository/ops/runs/*/flash-outcome.json")), timeout=60)
    assert records
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert finish(process) == 128 + number
    assert working_in(scene) == []
    assert list(scene.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "sign"),
    [
        (signal.SIGTERM, "repository"),
        (signal.SIGHUP, "repository/ops/k1ctl.toml"),
        (signal.SIGTERM, "repository/ops/device"),
        (signal.SIGHUP, "*.worktrees/*"),
    ],
)
def test_told_to_end_while_it_is_set_up(scene: Path, tmp_path: Path, number: signal.Signals, sign: str) -> None:
    """TERM and HUP, which are handled alike, while the stage is set, the device starts or the first worktree is made:
    nothing is left either."""
    process = subprocess.Popen([sys.executable, "-m", "k1ctl", "demo"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_until(lambda: list(scene.glob(f"*/{sign}")), interval=0.001)
    process.send_signal(number)
    assert finish(process) == 128 + number
    assert working_in(scene) == []
    assert list(scene.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "exit_code", "text"),
    [(["--agents", "0"], 2, "0"), (["--pace", "fast"], 2, "fast"), (["--agents", "101"], 2, "101")],
)
def test_wrong_options(tmp_path: Path, args: list[str], exit_code: int, text: str) -> None:
    """A wrong option is a usage error."""
    done = demo(*args, cwd=tmp_path)
    assert done.returncode == exit_code and text in done.stderr and "Traceback" not in done.stderr


def test_a_missing_tool_is_named(scene: Path, tmp_path: Path) -> None:
    """Without git or gcc: exit 127, one line that says what to install, no folder."""
    env = {**os.environ, "PATH": str(tmp_path)}
    done = demo("--json", cwd=tmp_path, env=env)
    assert done.returncode == 127
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "tool-missing" and "git" in error["message"]
    assert list(scene.iterdir()) == []


# The proof is one: it fails when what it claims is not so


class Play:
    """What a demo of two agents leaves behind: the device's record, the artifacts, the runs."""

    def __init__(self, folder: Path) -> None:
        self.stage: Any = SimpleNamespace(ops=folder)
        self.device = folder / "device" / "sim-k1"
        self.device.mkdir(parents=True)
        self.agents = [Agent(0), Agent(1)]
        self.flashes = []
        for agent in self.agents:
            data, n = f"image {agent.name}".encode(), agent.number
            digest = hashlib.sha256(data).hexdigest()
            path = folder / f"{digest}.bin"
            path.write_bytes(data)
            agent.build = {"artifact": {"id": digest[:16], "sha256": digest, "path": str(path)}}
            agent.record = {"ticket": 3 + n, "monotonic": {"started": 10.0 * n, "ended": 10.0 * n + 9}}
            times = {"start": 10.0 * n + 1, "end": 10.0 * n + 8}
            self.flashes.append({**times, "outcome": "installed", "sha256": digest, "ignored_invitations": 0})
            (self.device / "image.bin").write_bytes(data)

    def failing(self) -> list[str]:
        """The claims that do not hold."""
        lines = [json.dumps(flash) + "\n" for flash in self.flashes]
        (self.device / "flashes.jsonl").write_text("".join(lines))
        return [claim["what"] for claim in proof.check(self.stage, self.agents) if not claim["holds"]]


INSTALLED, OVERLAP, ORDER, EQUAL, OWN = (
    "uploads installed",
    "no two overlapped",
    "served in ticket order",
    "every image is its worktree's artifact",
    "every worktree built its own",
)


def tampered_artifact(play: Play) -> None:
    Path(play.agents[0].build["artifact"]["path"]).write_bytes(b"forged")


def tampered_device(play: Play) -> None:
    (play.device / "image.bin").write_bytes(b"forged")


def other_bytes_sent(play: Play) -> None:
    play.flashes[0]["sha256"] = "0" * 64


def wrong_order(play: Play) -> None:
    for agent, number in zip(play.agents, (9, 8), strict=True):
        agent.record["ticket"] = number


def overlapping_flashes(play: Play) -> None:
    play.flashes[1]["start"] = 7.0


def overlapping_leases(play: Play) -> None:
    play.agents[1].record["monotonic"]["started"] = 8.5


def an_invitation_meanwhile(play: Play) -> None:
    play.flashes[0]["ignored_invitations"] = 1


def no_lease_recorded(play: Play) -> None:
    del play.agents[0].record["monotonic"]


def one_refused(play: Play) -> None:
    play.flashes[1]["outcome"] = "not-installed"


def one_more_flash(play: Play) -> None:
    play.flashes.append({**play.flashes[1], "start": 30.0, "end": 31.0})


def one_failed(play: Play) -> None:
    play.agents[1].build, play.agents[1].record, play.agents[1].error = {}, {}, "does not build"
    del play.flashes[1]


def the_same_build(play: Play) -> None:
    play.agents[1].build = play.agents[0].build


@pytest.mark.parametrize(
    ("tamper", "fails"),
    [
        (lambda play: None, []),
        (tampered_artifact, [EQUAL]),
        (tampered_device, [EQUAL]),
        (other_bytes_sent, [ORDER]),
        (wrong_order, [ORDER, EQUAL]),
        (overlapping_flashes, [OVERLAP]),
        (overlapping_leases, [OVERLAP]),
        (an_invitation_meanwhile, [OVERLAP]),
        (no_lease_recorded, [OVERLAP]),
        (one_refused, [INSTALLED, ORDER]),
        (one_more_flash, [INSTALLED, OVERLAP, ORDER]),
        (one_failed, [INSTALLED, EQUAL, OWN]),
        (the_same_build, [ORDER, EQUAL, OWN]),
    ],
)
def test_the_proof_fails_when_it_should(tmp_path: Path, tamper: Callable[[Play], None], fails: list[str]) -> None:
    """Each way of not keeping a promise makes the claims fail that are about it, and only those."""
    play = Play(tmp_path)
    tamper(play)
    assert play.failing() == fails
    assert "oslo" in proof.as_table(play.agents)
