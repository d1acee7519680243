"""A flash that is struck where the matrix (test_flash_matrix.py) does not reach: told to end, between two attempts."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from k1ctl.config import load
from k1ctl.process.frontend import FrontEnd
from k1ctl.process.spec import RunSpec
from k1ctl.process.view import View
from tests import desk
from tests.kit import Project, wait_until
from tests.proofs.flashcell import KILLS, Cell, started, strike


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
