"""The flash worker: its outcome file, its exit code, and what a kill leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from k1ctl.device import guard
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.device.fakes import big_image
from tests.device.job import IMAGE, OTA, Job
from tests.kit import finish, wait_until


def test_installed(tmp_path: Path) -> None:
    """A good flash: exit 0, the stages in order, progress up to the end, and the record of it."""
    with SimulatedDevice(tmp_path / "device") as device:
        job = Job(tmp_path / "run", device.settings())
        code, lines = job.run()
        assert device.image() == IMAGE
    assert code == 0
    assert [line for line in lines if line.startswith("stage")] == [
        f"stage {s}" for s in ("guard", "probe", "invite", "transfer", "restart")
    ]
    assert f"progress {len(IMAGE)} {len(IMAGE)}" in lines
    assert 5 <= sum(line.startswith("progress") for line in lines) <= 21
    told = job.outcome
    assert (told["outcome"], told["code"], told["exit_code"], told["bytes"]) == (
        "installed",
        "installed",
        0,
        len(IMAGE),
    )
    assert told["transfer_seconds"] > 0 and told["uptime_before_ms"] >= 0


@pytest.mark.parametrize(
    ("fault", "code", "outcome", "text", "restarted"),
    [
        ("refuse", 1, "refused", "image-refused", None),
        ("lost-ok", 76, "unknown", "outcome-unknown", True),
        ("no-install", 76, "unknown", "outcome-unknown", True),
        ("eof", 76, "unknown", "outcome-unknown", False),
        ("drop=99", 69, "unreachable", "device-offline", None),
        ("offline=inf", 69, "unreachable", "device-offline", None),
    ],
)
def test_endings(tmp_path: Path, fault: str, code: int, outcome: str, text: str, restarted: bool | None) -> None:
    """Every ending has its exit code and its words; an unknown one has the uptime as evidence of a restart."""
    with SimulatedDevice(tmp_path / "device", fault) as device:
        job = Job(tmp_path / "run", device.settings(), evidence_seconds=1.2)
        assert job.run()[0] == code
    told = job.outcome
    assert (told["outcome"], told["code"]) == (outcome, text)
    if restarted is not None:
        assert bool(told["restarted"]) is restarted  # None: it had no answer to spare while it was watched


def test_the_uptimes_counter_wraps(tmp_path: Path) -> None:
    """After 49.7 days the uptime begins at 0 again: then a smaller one is no evidence of a restart."""
    with SimulatedDevice(tmp_path / "device", "eof") as simulated:
        device = simulated.device
        since_the_start = device.uptime_ms

        def uptime_ms() -> int:
            """Of a device whose counter wraps 300 ms after it was looked at first."""
            device.booted = time.monotonic() - (2**32 - 300) / 1000
            device.uptime_ms = since_the_start  # type: ignore[method-assign]
            return since_the_start()

        device.uptime_ms = uptime_ms  # type: ignore[method-assign]
        job = Job(tmp_path / "run", simulated.settings())
        assert job.run()[0] == 76
    told = job.outcome
    assert told["uptime_after_ms"] < told["uptime_before_ms"] and told["restarted"] is False


def test_a_cut_link_is_interrupted(tmp_path: Path) -> None:
    """A link that is cut half-way is exit 69, code ota-interrupted."""
    with SimulatedDevice(tmp_path / "device", "cut=0.1", "pace=20000000") as device:
        job = Job(tmp_path / "run", device.settings(), big_image(1_900_000))
        assert job.run()[0] == 69
        assert device.image() is None
    assert (job.outcome["outcome"], job.outcome["code"]) == ("interrupted", "ota-interrupted")


@pytest.mark.parametrize("wrong", [{"mac": "02:00:00:00:00:99"}, {"identity": "K2"}])
def test_the_wrong_device_gets_no_byte(tmp_path: Path, wrong: dict[str, str]) -> None:
    """Another MAC or identity: exit 65, and the device saw no flash."""
    with SimulatedDevice(tmp_path / "device") as device:
        job = Job(tmp_path / "run", {**device.settings(), **wrong})
        assert job.run()[0] == 65
        assert device.flashes() == []
    assert (job.outcome["outcome"], job.outcome["code"]) == ("wrong", "wrong-device")


def test_a_name_is_looked_up_once(tmp_path: Path) -> None:
    """Where two boards answer to one name, the one that was probed is the one that is flashed and watched."""
    program = """
import socket, sys
answers = iter(["127.0.0.1"])
def look(host, *args):
    assert host == "k1.local"
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (next(answers, "127.9.9.9"), 0))]
socket.getaddrinfo = look
from k1ctl.device.flash import main
sys.exit(main(sys.argv[1:]))
"""
    with SimulatedDevice(tmp_path / "device") as device:
        job = Job(tmp_path / "run", {**device.settings(), "host": "k1.local"})
        done = subprocess.run([sys.executable, "-c", program, str(job.folder)], timeout=60, stdout=subprocess.DEVNULL)
        assert done.returncode == 0, job.outcome
        assert device.image() == IMAGE
    assert job.outcome["back_seconds"] > 0


def test_a_changed_snapshot_is_not_sent(tmp_path: Path) -> None:
    """Bytes that are not those that were queued, or are gone, are exit 65."""
    with SimulatedDevice(tmp_path / "device") as device:
        job = Job(tmp_path / "run", device.settings())
        (job.folder / "image.bin").write_bytes(IMAGE + b"x")
        assert job.run()[0] == 65
        (job.folder / "image.bin").unlink()
        assert job.run()[0] == 65
        assert device.flashes() == []
    assert job.outcome["code"] == "image-changed"


def test_a_missing_job_is_an_error_without_traceback(tmp_path: Path) -> None:
    """A folder without a job is exit 65."""
    job = Job(tmp_path / "run", {})
    (job.folder / "flash.json").write_text("{")
    code, lines = job.run()
    assert code == 65 and not any("Traceback" in line for line in lines)


def in_transfer(job: Job, process: subprocess.Popen[str]) -> None:
    """Wait until the device has taken some bytes."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("taken"):
            return
    raise AssertionError(job.outcome)


def test_kill_in_mid_transfer(tmp_path: Path) -> None:
    """After kill -9 the record says `sending`, the device keeps its image, and the guard is free."""
    with SimulatedDevice(tmp_path / "device", "pace=200000:1") as device:
        job = Job(tmp_path / "run", device.settings(), big_image(400_000))
        process = job.start()
        in_transfer(job, process)
        process.kill()
        finish(process)
        assert (job.outcome["outcome"], job.outcome["stage"]) == ("sending", "transfer")
        guard.acquire(guard.guard_path(guard.guard_key(device.settings())), 0).release()
        wait_until(device.flashes)
        assert device.image() is None
        again = Job(tmp_path / "again", device.settings())
        assert again.run()[0] == 0, (again.outcome, device.flashes())


def test_term_in_mid_transfer(tmp_path: Path) -> None:
    """TERM ends it between two packets: exit 69, interrupted, the old image stays. HUP does nothing."""
    with SimulatedDevice(tmp_path / "device", "pace=200000") as device:
        job = Job(tmp_path / "run", device.settings(), big_image(400_000))
        process = job.start()
        in_transfer(job, process)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert finish(process) == 69
        wait_until(device.flashes)
        assert device.image() is None
    assert job.outcome["outcome"] == "interrupted"


def test_term_after_the_last_byte_waits_for_the_answer(tmp_path: Path) -> None:
    """Once all was sent, TERM and HUP do not end the worker: the answer does."""
    gate = threading.Event()
    with SimulatedDevice(tmp_path / "device", "stall=0.3") as device:
        desk.hold(device, gate)
        job = Job(tmp_path / "run", device.settings(), big_image(30_000), ota={**OTA, "idle_timeout": 20.0})
        process = job.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line == "progress 31824 31824\n" or line.split()[1:2] == line.split()[2:3] != []:
                break
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGHUP)
        gate.set()
        assert finish(process) == 0
    assert job.outcome["outcome"] == "installed"


def test_a_reader_that_goes_away_does_not_end_a_flash(tmp_path: Path) -> None:
    """A broken pipe on stdout is ignored."""
    with SimulatedDevice(tmp_path / "device", "pace=1000000") as device:
        job = Job(tmp_path / "run", device.settings())
        read, write = os.pipe()
        process = job.start(stdout=write)
        os.close(write)
        os.close(read)
        assert finish(process) == 0
        assert device.image() == IMAGE


def test_two_roots_that_know_the_device_differently(tmp_path: Path) -> None:
    """One configured by MAC, one without: both meet at the MAC's guard, so no update overlaps another."""
    with SimulatedDevice(tmp_path / "device", "pace=400000") as device:
        jobs = [
            Job(tmp_path / f"run{i}", {**device.settings(), "mac": mac})
            for i, mac in enumerate(["", device.device.mac])
        ]
        assert [finish(p) for p in [job.start(stdout=subprocess.DEVNULL) for job in jobs]] == [0, 0]
        first, second = device.flashes()
        assert first["end"] <= second["start"]
        assert first["ignored_invitations"] == second["ignored_invitations"] == 0


def test_a_held_guard_is_bounded(tmp_path: Path) -> None:
    """Somebody else holds the device: exit 75 after the wait, nothing sent."""
    with SimulatedDevice(tmp_path / "device") as device:
        held = guard.acquire(guard.guard_path(guard.guard_key(device.settings())), 0, workspace="lima")
        job = Job(tmp_path / "run", device.settings(), guard_timeout=0.2)
        code, lines = job.run()
        held.release()
        assert device.flashes() == []
    assert code == 75
    assert any("lima" in line for line in lines)
    assert (job.outcome["outcome"], job.outcome["code"]) == ("busy", "device-guarded")
