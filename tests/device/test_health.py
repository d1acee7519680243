"""One asker probes for all: at most one request per window and route, and nobody waits for a prober that died."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device import health, http, resets
from k1ctl.device.health import ask, state_path
from k1ctl.device.http import unreachable
from k1ctl.device.verdict import HEALTH, INFO, judge
from k1ctl.errors import BusyError
from k1ctl.files import open_locked
from k1ctl.simulator.device import requests
from k1ctl.testing import SimulatedDevice
from k1ctl.workspace import Workspace
from tests.device.fakes import http_server
from tests.kit import Project, finish, wait_until

LONG = 3600.0  # a window that no test outlives
ROUTES = (f"GET {INFO}", f"GET {HEALTH}")


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    """A workspace as the engine needs it: a folder with room for ``ops/``."""
    root = str(tmp_path / "root")
    return Workspace(root, root, "oslo")


def asked(device: SimulatedDevice) -> list[int]:
    counts = requests(device.device.folder)
    return [counts.get(route, {}).get("asked", 0) for route in ROUTES]


def test_an_answer_is_shared(here: Workspace, tmp_path: Path) -> None:
    """The second asker reads what the first was told, and sees how old it is and who asked."""
    with SimulatedDevice(tmp_path / "sim") as device:
        first = ask(here, device.settings(), window=LONG)
        second = ask(here, device.settings(), window=LONG)
        assert asked(device) == [1, 1]
    assert second["probed_at"] == first["probed_at"] and second["age_seconds"] >= first["age_seconds"] == 0
    assert second["prober"] == {"workspace": "oslo", "pid": os.getpid()}
    assert judge(second, device.settings()).state == "online"


@pytest.mark.parametrize("fault", ["drip=4k", "offline=inf", "busy"])
def test_many_at_once_ask_once(here: Workspace, tmp_path: Path, fault: str) -> None:
    """Askers in the same moment get one answer, slow, none, or 429, of one probe."""
    got: list[dict[str, Any]] = []
    with SimulatedDevice(tmp_path / "sim", fault) as device:
        facts, settings = here, device.settings(probe_timeout=20)
        threads = [threading.Thread(target=lambda: got.append(ask(facts, settings, window=LONG))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert asked(device) == ([0, 0] if fault == "offline=inf" else [1, 1])
    assert len({record["monotonic"] for record in got}) == 1 and len(got) == 20


def test_the_window_decides(here: Workspace, tmp_path: Path) -> None:
    """An answer older than the window is asked for anew, unless an older one will do."""
    with SimulatedDevice(tmp_path / "sim") as device:
        facts, settings = here, device.settings()
        first = ask(facts, settings, window=LONG)
        time.sleep(0.02)
        assert ask(facts, settings, window=0.01, max_age=LONG)["probed_at"] == first["probed_at"]
        ask(facts, settings, window=0.01)
        assert asked(device) == [2, 2]


def test_429_means_alive_and_earlier_words_stand_in(here: Workspace, tmp_path: Path) -> None:
    """A device that says 429 is online; what it said shortly before is told with its own time."""
    with SimulatedDevice(tmp_path / "sim", "uptime=1h") as device:
        facts, settings = here, device.settings()
        first = ask(facts, settings, window=0)
        second = ask(facts, settings, window=0)
    assert second["answers"][INFO]["outcome"] == "limited"
    assert second["answers"][INFO]["document_at"] == first["answers"][INFO]["document_at"]
    verdict = judge(second, settings)
    assert (verdict.state, verdict.missing, verdict.values["mac"]) == ("online", [], settings["mac"])
    with SimulatedDevice(tmp_path / "sim", "busy") as device:
        verdict = judge(ask(facts, device.settings(), window=LONG), device.settings())
    assert (verdict.state, verdict.limited, verdict.missing) == ("online", True, [HEALTH, INFO])


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("drip=20", "offline"),
        ("hang", "offline"),
        ("offline=inf", "offline"),
        ("endless", "garbage"),
        ("html", "garbage"),
        ("http=503", "garbage"),
        ("wrong-mac", "wrong-device"),
        ("html:1", "garbage"),
    ],
)
def test_every_fault_has_its_state(here: Workspace, tmp_path: Path, fault: str, state: str) -> None:
    """However the device misbehaves, the call ends about its deadline with the state that fits."""
    with SimulatedDevice(tmp_path / "sim", fault) as device:
        began = time.monotonic()
        verdict = judge(ask(here, device.settings(probe_timeout=0.4), window=LONG), device.settings())
        took = time.monotonic() - began
    assert verdict.state == state and verdict.message
    assert took < 10, "the device was waited for to its end"


def test_half_an_answer_is_degraded(here: Workspace) -> None:
    """A device that says who it is and then nothing more is there, but not well."""

    def answer(link: socket.socket) -> None:
        if INFO.encode() in link.recv(4096):
            link.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"device": "K1.reinvented", "uptime_ms": 7}')
        else:
            link.recv(1)

    with http_server(answer) as port:
        settings = {"name": "k1", "host": "127.0.0.1", "http_port": port, "identity": "K1.reinvented", "mac": ""}
        verdict = judge(ask(here, {**settings, "probe_timeout": 0.4}, window=LONG), settings)
    assert (verdict.state, verdict.reasons) == ("degraded", [{"what": HEALTH, "value": None, "limit": None}])
    assert (verdict.missing, verdict.values["uptime_ms"]) == ([HEALTH], 7)


def test_no_address(here: Workspace, tmp_path: Path) -> None:
    """Without `host` the device is offline, and the hint says what to set."""
    with SimulatedDevice(tmp_path / "sim") as device:
        settings = {**device.settings(), "host": ""}
    verdict = judge(ask(here, settings, window=LONG), settings)
    assert verdict.state == "offline" and "host" in verdict.hint


def test_macos_keeps_us_out(here: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EHOSTUNREACH on macOS is a state of its own, with the place where the permission is given."""

    def refuse(host: str, port: int, *_: object) -> None:
        raise unreachable(host, port, OSError(errno.EHOSTUNREACH, "No route to host"))

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(http, "get_json", refuse)
    settings = {"name": "k1", "host": "192.0.2.1", "http_port": 80, "probe_timeout": 5, "identity": "", "mac": ""}
    verdict = judge(ask(here, settings, window=LONG), settings)
    assert (verdict.state, verdict.exit_code) == ("unreachable-by-permission", 69)
    assert "Local Network" in verdict.hint


def test_a_name_that_does_not_resolve(here: Workspace) -> None:
    """It is offline, and that is shared as any other answer."""
    settings = {"name": "k1", "host": "no-such-host.invalid", "http_port": 80, "probe_timeout": 5, "mac": ""}
    first = ask(here, settings, window=LONG)
    assert judge(first, settings).state == "offline"
    assert ask(here, settings, window=LONG)["probed_at"] == first["probed_at"]


def test_the_next_one_takes_over_from_a_killed_prober(workspace: Project, tmp_path: Path) -> None:
    """kill -9 in the middle of the probe: the kernel frees the lock, and who waits asks himself."""
    with SimulatedDevice(tmp_path / "sim", "hang:1") as device:
        workspace.configure(device.toml() + "probe_timeout = 60\n")
        prober = workspace.popen("device", "health")
        wait_until(lambda: asked(device) == [1, 0])
        got: list[dict[str, Any]] = []
        settings = device.settings(probe_timeout=60)
        waiter = threading.Thread(target=lambda: got.append(ask(workspace.facts(), settings, window=1.0)))
        waiter.start()
        prober.send_signal(signal.SIGKILL)
        finish(prober)
        waiter.join()
        assert asked(device) == [2, 1]
        assert got[0]["answers"][INFO]["outcome"] == "answered", "it was asked twice in one window"
    assert judge(got[0], settings).state == "online" and got[0]["prober"]["pid"] == os.getpid()


def test_a_prober_that_stands_still_is_told(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for one that is stopped ends shortly after his deadline: 75, with the lock's name."""
    monkeypatch.setattr(health, "_GRACE", 0.05)
    settings = {"name": "k1", "host": "127.0.0.1", "http_port": 9, "probe_timeout": 0.05}
    lock = state_path(here, "k1").replace(".json", ".lock")
    fd = open_locked(lock)
    assert fd is not None
    try:
        with pytest.raises(BusyError) as caught:
            ask(here, settings, window=LONG)
        assert (caught.value.code, caught.value.exit_code) == ("probe-busy", 75) and lock in caught.value.hint
        os.pwrite(fd, b'{"pid": 77, "workspace": "oslo", "monotonic": 1.0, "wall": 1.0}', 0)
        with pytest.raises(BusyError) as caught:
            ask(here, settings, window=LONG)
        assert "process 77 (oslo)" in caught.value.hint
    finally:
        os.close(fd)


def test_without_time_left_nobody_asks_in_a_hurry(here: Workspace, tmp_path: Path) -> None:
    """Who takes over from a killed prober within the same window, and has no time to see its end, says so: 75."""
    with SimulatedDevice(tmp_path / "sim", "hang:1") as device:
        facts, settings = here, device.settings(probe_timeout=20)
        ask(facts, settings, window=LONG, timeout=0.2)  # leaves nothing to others but when it asked
        with pytest.raises(BusyError) as caught:
            ask(facts, settings, window=LONG, timeout=0.1)
        assert caught.value.code == "probe-busy" and asked(device) == [1, 0]


def test_an_answer_that_ended_after_the_call_began_is_new_enough(here: Workspace, tmp_path: Path) -> None:
    """Who waited for a probe takes its answer, also with a window shorter than the wait."""
    with SimulatedDevice(tmp_path / "sim", "drip=2k") as device:
        facts, settings = here, device.settings()
        fd = open_locked(state_path(facts, "k1").replace(".json", ".lock"))
        assert fd is not None
        got: list[dict[str, Any]] = []
        threads = [threading.Thread(target=lambda: got.append(ask(facts, settings, window=0))) for _ in range(5)]
        for thread in threads:
            thread.start()
        os.close(fd)
        for thread in threads:
            thread.join()
    assert len({record["monotonic"] for record in got}) == 1


def test_what_cannot_be_believed_is_asked_anew(
    here: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was set, a reboot, another address, a file somebody edited: the record is not used."""
    monkeypatch.setattr(health, "_TRAVEL", 0.0)
    changes: list[dict[str, Any]] = [
        {"wall": 3600.0},
        {"wall": -3600.0},
        {"monotonic": 3600.0},
        {"monotonic": -3600.0},
        {"wall": -3600.0, "monotonic": 3600.0},
        {"host": "192.0.2.1"},
        {"http_port": 81},
        {"answers": {}},
        {"answers": {INFO: {"outcome": "answered", "document": 5}, HEALTH: {"outcome": "limited"}}},
        {"wall": "now"},
        {},
    ]
    path = Path(state_path(here, "k1"))
    with SimulatedDevice(tmp_path / "sim") as device:
        for number, change in enumerate(changes, 1):
            ask(here, device.settings(), window=0.05)
            record = json.loads(path.read_text())
            for key, value in change.items():
                record[key] = record[key] + value if isinstance(value, float) else value
            path.write_text(json.dumps(record) if change else '{"device"')
            ask(here, device.settings(), window=0.05)
            assert asked(device)[0] == 2 * number, change
            path.unlink()


def test_without_room_the_answer_is_given_all_the_same(
    here: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs the sharing, not the answer."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with SimulatedDevice(tmp_path / "sim") as device:
        monkeypatch.setattr(health, "write_json", full)
        record = ask(here, device.settings(), window=LONG)
    assert judge(record, device.settings()).state == "online"
    assert not os.path.exists(state_path(here, "k1"))


def test_a_probe_cut_short_is_not_for_others(here: Workspace, tmp_path: Path) -> None:
    """Who had little time left may find the device offline, but does not tell so to those who have more."""
    with SimulatedDevice(tmp_path / "sim", "hang:1") as device:
        facts, settings = here, device.settings(probe_timeout=20)
        assert judge(ask(facts, settings, window=1.0, timeout=0.2), settings).state == "offline"
        assert judge(ask(facts, settings, window=1.0), settings).state == "online"


def test_changes_are_recorded_once(workspace: Project, tmp_path: Path) -> None:
    """A new state and a restart are events, written by the one who probed; the same state again is none."""
    with SimulatedDevice(tmp_path / "sim", "uptime=1h") as device:
        facts, settings = workspace.facts(), device.settings()
        for _ in range(2):
            wait_until(lambda: ask(facts, settings, window=0)["answers"][HEALTH]["outcome"] == "answered")
        device.device.restart()
        wait_until(lambda: device.device.answering)
        assert ask(facts, settings, window=0)["restarted"] is True
    ask(facts, settings, window=0)
    assert [(e["was"], e["state"]) for e in workspace.events("device.state")] == [("", "online"), ("online", "offline")]
    (restarted,) = workspace.events("device.restarted")
    (unexplained,) = workspace.events("device.unexplained-reset")
    assert restarted["explained_by"] == "" and unexplained["uptime_ms"] == restarted["uptime_ms"]


def test_a_restart_is_seen_past_a_silence(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks while it is away loses no restart; another board at its address is none; a lease explains it."""
    with SimulatedDevice(tmp_path / "sim", "uptime=1h") as device:
        facts, settings = workspace.facts(), device.settings(probe_timeout=5)

        def again(**changes: Any) -> dict[str, Any]:
            device.device.routes.clear()  # as if its rate limits were over
            return ask(facts, {**settings, **changes}, window=0)

        again()
        mac, device.device.mac = device.device.mac, "02:4B:31:00:00:99"
        device.device.booted += 1800
        assert again()["restarted"] is None
        with pytest.MonkeyPatch.context() as patch:  # and where it cannot be known which board it is, nothing is said
            patch.setattr(device.device, "limited", lambda route, _: 60_000 if "info" in route else None)
            patch.setattr(health, "CARRY_SECONDS", 0.0)
            found = again()
            assert judge(found, settings).missing == [INFO] and found["restarted"] is None
        device.device.booted -= 1800
        device.device.mac = mac
        assert again()["restarted"] is False
        device.device.restart()
        device.device.silent_until = float("inf")
        assert again(probe_timeout=0.1)["answers"][INFO]["outcome"] == "no-answer"
        device.device.silent_until = 0.0
        monkeypatch.setattr(resets, "explanation", lambda *_: "repo: by hand")
        assert again()["restarted"] is True
    assert [e["explained_by"] for e in workspace.events("device.restarted")] == ["repo: by hand"]
    assert workspace.events("device.unexplained-reset") == []


def test_a_wrapped_clock_is_no_restart(here: Workspace, tmp_path: Path) -> None:
    """Where uptime_ms begins at 0 again after 49.7 days, the device did not restart."""
    with SimulatedDevice(tmp_path / "sim", "uptime=4294966.9") as device:
        facts, settings = here, device.settings()
        before = ask(facts, settings, window=0)
        wait_until(lambda: device.device.uptime_ms() < 60_000)
        after = ask(facts, settings, window=0)
    told = [judge(record, settings).values["uptime_ms"] for record in (before, after)]
    assert told[1] < told[0] and after["restarted"] is False


def test_names_are_files_of_their_own(here: Workspace) -> None:
    """A device may have any name; its files stay in ops/device."""
    folder = here.ops_path("device")
    names = ["k1", "K1", "a/b", "../x", "a b", ".", "\u00fc", "%2f"]
    paths = [state_path(here, name) for name in names]
    assert len(set(paths)) == len(names) and {os.path.dirname(path) for path in paths} == {folder}


def test_a_literal_address_needs_no_thread(workspace: Project) -> None:
    """Probing 127.0.0.1 loads neither threading nor requests nor json."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = {"name": "k1", "host": "127.0.0.1", "http_port": free.getsockname()[1], "probe_timeout": 5}
        code = (
            "import sys\nfrom k1ctl.workspace import resolve\nfrom k1ctl.device.health import ask\n"
            f"ask(resolve(), {settings!r}, window=1)\n"
            "print(sorted({'threading', 'requests', 'json', 'http.client', 'subprocess'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-S", "-c", code], cwd=workspace.root, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert done.stdout == "[]\n", done
