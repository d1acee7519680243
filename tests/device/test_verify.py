"""What a device does once it took an image, as its flash worker saw it: every state, against the simulator's truth."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device import soak, verify
from k1ctl.device.flash import Flash
from k1ctl.device.http import RateLimited, get_json
from k1ctl.device.probe import INFO, OTHER_INFO
from k1ctl.device.stop import StopRequest
from k1ctl.simulator import routes
from k1ctl.simulator.console import PANIC_MARK
from k1ctl.testing import SimulatedDevice
from tests.device.fakes import make_image
from tests.device.job import IMAGE, Job
from tests.kit import finish, wait_until

CRASHES = make_image([PANIC_MARK + bytes(range(256)) * 40])
BUILD = {"rule": "sha256", "ids": [hashlib.sha256(IMAGE).hexdigest()]}


def flashed(tmp_path: Path, *faults: str, image: bytes = IMAGE, usb: bool = False, **changes: Any) -> dict[str, Any]:
    """The outcome file of a flash of a device with these faults, which says OK; ``changes`` of the job, and of the
    device's settings where they begin with ``device_``."""
    settings = {"boot_timeout": 0.4, "probe_timeout": 0.6}
    changes.setdefault("listen_seconds", 3.0)
    settings |= {k[7:]: changes.pop(k) for k in list(changes) if k.startswith("device_")}
    with SimulatedDevice(tmp_path / "device", *faults, usb=usb) as device:
        job = Job(tmp_path / "run", {**device.settings(), **settings}, image, **changes)
        code, lines = work(job)
    assert (code, job.outcome["outcome"], job.outcome["exit_code"]) == (0, "installed", 0), job.outcome
    return {**job.outcome, "lines": lines}


def work(job: Job) -> tuple[int, list[str]]:
    """Be the worker of a job, in this process; its exit code, and what it prints."""
    stop, lines = StopRequest(), []
    worker = Flash(str(job.folder), stop)
    worker.say = lines.append  # type: ignore[method-assign]
    try:
        return worker.run(), lines
    finally:
        stop.close()


def test_back_with_another_start(tmp_path: Path) -> None:
    """A device that is back within its time, with an uptime of another start, and the same MAC: ok."""
    done = flashed(tmp_path)
    seen = done["verification"]
    assert (seen["state"], seen["restarted"], seen["soak"], seen["boot_log"]) == ("ok", True, None, "")
    assert 0 < seen["back_seconds"] == done["back_seconds"] and seen["message"].startswith("back in ")


def test_the_next_probe_need_not_wait(tmp_path: Path) -> None:
    """What is asked of a device that is back leaves the route of a probe alone, which answers once a second."""
    with SimulatedDevice(tmp_path / "device") as device:
        job = Job(tmp_path / "run", device.settings())
        assert work(job)[0] == 0 and job.outcome["verification"]["state"] == "ok"
        where = device.settings()
        assert get_json(where["host"], where["http_port"], INFO, 5)["mac"] == job.outcome["device_mac"]


def test_firmware_without_the_other_route(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Firmware that has one route for who it is is asked there."""
    monkeypatch.setattr(routes, "ROUTES", [r for r in routes.ROUTES if r.path != OTHER_INFO])
    assert flashed(tmp_path)["verification"]["state"] == "ok"


def test_a_soak(tmp_path: Path) -> None:
    """Samples of uptime, fps and memory within the rate limit, none of them answered with 429, and a line for each."""
    done = flashed(tmp_path, "fps=151", soak=0.5, device_fps_min=120)
    figures = done["verification"]["soak"]
    assert done["verification"]["state"] == "ok" and "soak 500 ms ok (min 151 fps)" in done["verification"]["message"]
    assert (figures["restarts"], figures["limited"], figures["missed"], figures["fps_min"]) == (0, 0, 0, 151)
    assert figures["samples"] == sum(line.startswith("soak ") for line in done["lines"]) >= 2
    assert figures["watched_seconds"] >= 0.5 and figures["heap_min_bytes"] == 165 * 1024


@pytest.mark.parametrize(
    ("faults", "changes", "state", "text"),
    [
        (["no-return"], {}, "not-back", "not back in 400 ms: 127.0.0.1"),
        (["swapped"], {}, "wrong-device", "another device answers there now"),
        (["swapped"], {"device_mac": ""}, "wrong-device", "was K1.reinvented 02:4B:31:00:00:01 before"),
        (["build-id", "rolled-back"], {"build": BUILD}, "wrong-build", "it says that it runs factory"),
        ([], {"build": BUILD}, "wrong-build", "it tells no build id"),
        (["build-id"], {"build": BUILD}, "ok", "back in"),
        (["fps-after=90"], {"soak": 0.1, "device_fps_min": 120}, "soak-failed", "90 fps (at least 120)"),
        (["restart-after=100ms"], {"soak": 0.4}, "soak-failed", "it restarted during the soak"),
        (["boot-loop=100ms"], {"soak": 1.0, "device_boot_timeout": 5}, "needs-usb", "it restarted 2 times in"),
    ],
)
def test_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[str], changes: dict[str, Any], state: str, text: str
) -> None:
    """Each thing that can go wrong behind the final OK has its state and its words, and the image stays installed."""
    monkeypatch.setattr(soak, "_FASTEST", 0.02)  # and a device that answers as often
    monkeypatch.setattr(routes, "ROUTES", [r._replace(window_ms=0) for r in routes.ROUTES])
    changes = {"device_build_id": "/api/device/info:build.id", **changes}
    seen = flashed(tmp_path, *faults, **changes)["verification"]
    assert (seen["state"], text in seen["message"]) == (state, True), seen
    assert bool(seen["hint"]) is (state != "ok")


def test_a_crash_loop_on_the_cable(tmp_path: Path) -> None:
    """A device that takes the image and crashes over and over needs USB: the panic is named, the boot log kept."""
    done = flashed(tmp_path, image=CRASHES, usb=True)
    seen = done["verification"]
    assert seen["state"] == "needs-usb" and "guru: StoreProhibited" in seen["message"]
    assert "k1ctl device rollback" in seen["hint"] and "connect" not in seen["hint"]
    log = Path(seen["boot_log"])
    assert log.parent == tmp_path / "run" and "Guru Meditation Error" in log.read_text()
    assert "stage console" in done["lines"]


def test_a_crash_loop_without_a_cable(tmp_path: Path) -> None:
    """Without a cable nobody knows why it is away: not-back, and what the cable would tell."""
    seen = flashed(tmp_path, image=CRASHES)["verification"]
    assert (seen["state"], seen["boot_log"]) == ("not-back", "") and "boot log would tell" in seen["hint"]


def test_no_crash_on_the_cable(tmp_path: Path) -> None:
    """A device that is away and whose console shows no crash is not-back."""
    seen = flashed(tmp_path, "no-return", usb=True, listen_seconds=0.1, device_boot_timeout=0.2)["verification"]
    assert seen["state"] == "not-back" and "k1ctl device console" in seen["hint"]


def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Any, **job: Any) -> dict[str, Any]:
    """The verification of a device that gives this answer to every question."""

    def give(*_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(verify, "get_json", give)
    monkeypatch.setattr(verify, "document", give)
    device = {"name": "k1", "host": "h", "http_port": 1, "identity": "K1", "mac": "", "boot_timeout": 0.2}
    stop = StopRequest()
    try:
        job = {"device": {**device, "build_id": "/i:b"}, **job}
        return verify.Verification(job, {}, str(tmp_path), stop, lambda line: None).run()
    finally:
        stop.close()


def test_others_use_its_rate_limit_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A device that says nothing but 429 is there: not-back says that, and not that it gave no answer."""
    seen = asked(monkeypatch, tmp_path, RateLimited(0.1))
    assert seen["state"] == "not-back" and "429" in seen["message"] and "restart" in seen["hint"]


def test_a_build_id_of_any_length(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the device tells for a build id is told in one line that has an end."""
    seen = asked(monkeypatch, tmp_path, {"device": "K1", "b": "\x1b[2J\n" + "x" * 9999}, build=BUILD)
    assert seen["state"] == "wrong-build" and len(seen["message"]) < 200 and seen["message"].isprintable()
    assert len(seen["build_id"]) == 80


@pytest.mark.parametrize(("fault", "code"), [("lost-ok", 0), ("no-install", 76)])
def test_a_build_id_settles_a_doubt(tmp_path: Path, fault: str, code: int) -> None:
    """The final OK is lost, but the device restarted and tells the build that was sent: installed, and only then."""
    with SimulatedDevice(tmp_path / "device", fault, "build-id") as device:
        settings = {**device.settings(), "build_id": "/api/device/info:build.id", "boot_timeout": 2}
        job = Job(tmp_path / "run", settings, build=BUILD, evidence_seconds=3)
        assert work(job)[0] == code
    assert job.outcome["outcome"] == ("unknown" if code else "installed")
    assert ("verification" in job.outcome) is not bool(code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_soak(tmp_path: Path, number: signal.Signals) -> None:
    """TERM ends a soak and not the flash: skipped. After kill -9 the file says installed, and the same worker, started
    anew, sends nothing and verifies."""
    with SimulatedDevice(tmp_path / "device") as device:
        job = Job(tmp_path / "run", device.settings(), soak=5.0)
        process = job.start()
        wait_for(process, "stage soak")
        process.send_signal(number)
        code = finish(process)
        assert job.outcome["outcome"] == "installed" and len(device.flashes()) == 1
        if number == signal.SIGTERM:
            assert (code, job.outcome["verification"]["state"]) == (0, "skipped")
            return
        assert "verification" not in job.outcome
        told = json.loads((job.folder / "flash.json").read_text())
        (job.folder / "flash.json").write_text(json.dumps({**told, "soak": 0.25}))
        assert work(job)[0] == 0 and len(device.flashes()) == 1
        seen = job.outcome["verification"]
        assert (seen["state"], seen["restarted"]) == ("ok", True)


def test_a_kill_while_it_listens(tmp_path: Path) -> None:
    """After kill -9 at the console the worker, started anew, sends nothing, and says what it finds then."""
    with SimulatedDevice(tmp_path / "device", "no-return", usb=True) as device:
        job = Job(tmp_path / "run", {**device.settings(), "boot_timeout": 0.2}, listen_seconds=0.2)
        told = (job.folder / "flash.json").read_text()
        (job.folder / "flash.json").write_text(json.dumps({**json.loads(told), "listen_seconds": 60}))
        process = job.start()
        wait_for(process, "stage console")
        process.kill()
        finish(process)
        assert job.outcome["outcome"] == "installed" and "verification" not in job.outcome
        (job.folder / "flash.json").write_text(told)
        assert work(job)[0] == 0 and len(device.flashes()) == 1
        assert job.outcome["verification"]["state"] == "not-back"


def test_behind_any_worker(tmp_path: Path) -> None:
    """As a program it adds the verification to what a worker left, and touches no flash that is not installed."""
    with SimulatedDevice(tmp_path / "device") as device:
        job = Job(tmp_path / "run", device.settings())
        word = {"outcome": "installed", "code": "installed", "message": "copied", "exit_code": 0, "pid": 1}
        (job.folder / "flash-outcome.json").write_text(json.dumps(word))
        command = [sys.executable, "-m", "k1ctl.device.verify", str(job.folder)]
        assert subprocess.run(command, timeout=60, stdout=subprocess.DEVNULL).returncode == 0
        assert job.outcome["verification"]["state"] == "ok" and job.outcome["message"] == "copied"
        (job.folder / "flash-outcome.json").write_text(json.dumps({**word, "outcome": "unknown"}))
        assert subprocess.run(command, timeout=60, stdout=subprocess.DEVNULL).returncode == 65
        assert device.flashes() == [] and "verification" not in job.outcome


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Read what the worker prints up to a line that begins so."""
    assert process.stdout is not None
    seen: list[str] = []
    wait_until(lambda: seen.append(process.stdout.readline()) or seen[-1].startswith(beginning))  # type: ignore
