"""`k1ctl device health`: states and their exit codes, one line for people, JSON, Nagios, and waiting."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.simulator.device import requests
from k1ctl.testing import SimulatedDevice
from tests.kit import Project, finish, wait_until

# Nagios plugin guidelines: label=value[unit];[warning];[critical];[minimum];[maximum]
DATUM = re.compile(r"[a-z]+=-?[\d.]+(s|B)?;(-?[\d.]+:)?;;(0)?$")


@pytest.fixture
def desk(workspace: Project, tmp_path: Path) -> Iterator[tuple[Project, SimulatedDevice]]:
    with SimulatedDevice(tmp_path / "sim", "fps=44.5", "uptime=1h") as device:
        workspace.configure(device.toml())
        yield workspace, device


def test_online(desk: tuple[Project, SimulatedDevice]) -> None:
    """A device that is well is exit 0 and one line of facts; who gets another's answer is told so."""
    workspace, device = desk
    workspace.configure("[device]\nwindow = '1h'\n" + device.toml())
    first = workspace.run("device", "health").assert_ok()
    assert first.stdout.startswith("k1: online; 44.5 fps, 165 KiB of memory, -48 dBm, up 1 h")
    assert first.stderr == ""
    told = workspace.run("device", "health", "k1", "--json").assert_ok().json
    assert (told["ok"], told["state"], told["rssi_dbm"], told["heap_free_bytes"]) == (True, "online", -48, 165 * 1024)
    assert told["age_seconds"] > 0 and "error" not in told
    assert told["answers"]["/api/device/info"]["document"]["build"]["framework"].startswith("arduino@")
    assert "ago by repo)" in workspace.run("device", "health").stdout
    assert requests(device.device.folder)["GET /api/health"]["asked"] == 1


def test_degraded(desk: tuple[Project, SimulatedDevice]) -> None:
    """Below a limit it is exit 1 with value and limit; the limits are the asker's, the answer is shared."""
    workspace, device = desk
    workspace.configure("[device]\nwindow = '1h'\n" + device.toml() + "fps_min = 120\nrssi_min = -40\n")
    outcome = workspace.run("device", "health").assert_fails(1, "k1: degraded: 44.5 fps (at least 120 fps)")
    assert "fps_min" in outcome.stderr
    told = workspace.run("device", "health", "--json").assert_fails(1).json
    assert [reason["what"] for reason in told["reasons"]] == ["fps", "rssi_dbm"]
    assert (told["ok"], told["error"]["code"], told["error"]["exit_code"]) == (False, "device-degraded", 1)
    workspace.run(
        "device", "health", env={"K1CTL_DEVICES_K1_FPS_MIN": "0", "K1CTL_DEVICES_K1_RSSI_MIN": "-90"}
    ).assert_ok()


def test_offline_wrong_and_garbage(workspace: Project, tmp_path: Path) -> None:
    """Nobody there is 69, another device and nonsense are 65, each with its code and what to do."""
    with SimulatedDevice(tmp_path / "sim", "html:1") as device:
        workspace.configure(device.toml() + "probe_timeout = 20\n[device]\nwindow = 0\n")
        told = workspace.run("device", "health", "--json").assert_fails(65).json
        assert (told["state"], told["error"]["code"]) == ("garbage", "device-garbage")
        workspace.configure(device.toml().replace("00:01", "00:02") + "[device]\nwindow = 0\n")
        wait_until(lambda: workspace.run("device", "health").exit_code == 65)
        told = workspace.run("device", "health", "--max-age", "1h", "--json").assert_fails(65).json
        assert told["error"]["code"] == "wrong-device" and "02:4B:31:00:00:01" in told["error"]["message"]
    outcome = workspace.run("device", "health").assert_fails(69, "k1: offline: 127.0.0.1")
    assert "powered" in outcome.stderr


def test_who_holds_it_is_told(workspace: Project) -> None:
    """A device that does not answer while somebody works on it: his name stands beside the reason."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        workspace.configure(f'[devices.k1]\nhost = "127.0.0.1"\nhttp_port = {free.getsockname()[1]}\n')
        assert workspace.run("device", "health", "--json").assert_fails(69).json["holder"] is None
        holder = workspace.popen("queue", "run", "device:k1", "--label", "soak test", "--", "sleep", "60")
        try:
            wait_until(lambda: "soak test" in workspace.run("device", "health").assert_fails(69).stderr)
            told = workspace.run("device", "health", "--json").json["holder"]
        finally:
            holder.terminate()
            holder.communicate()
            finish(holder)
    assert (told["workspace"], told["label"]) == ("repo", "soak test") and told["run"] and told["since"]


def test_nagios(desk: tuple[Project, SimulatedDevice]) -> None:
    """Status, text and performance data after the plugin guidelines, with their exit codes."""
    workspace, device = desk
    for limit, code, word in ((0, 0, "OK"), (120, 1, "WARNING")):
        workspace.configure("[device]\nwindow = '1h'\n" + device.toml() + f"fps_min = {limit}\n")
        outcome = workspace.run("device", "health", "--format", "nagios").assert_fails(code)
        status, _, data = outcome.stdout.rstrip("\n").partition(" | ")
        assert status.startswith(f"K1 {word} - k1 ") and outcome.stdout.count("\n") == 1
        assert [d.partition("=")[0] for d in data.split()] == ["fps", "heap", "rssi", "uptime", "time"]
        assert all(DATUM.match(datum) for datum in data.split()), data
    assert "fps=44.5;120:;;0" in data
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        workspace.configure(f'[devices.k1]\nhost = "127.0.0.1"\nhttp_port = {free.getsockname()[1]}\n')
        assert workspace.run("device", "health", "--format=nagios").assert_fails(2).stdout.startswith("K1 CRITICAL - ")


@pytest.mark.parametrize("words", [("nothing",), ("--wait", "soon"), ("--bogus",), ("--json",)])
def test_nagios_unknown(workspace: Project, words: tuple[str, ...]) -> None:
    """What is wrong with the call or the configuration is 3, UNKNOWN, on stdout in one line."""
    outcome = workspace.run("device", "health", "--format", "nagios", *words)
    outcome.assert_fails(3)
    assert outcome.stdout.startswith("K1 UNKNOWN - ") and outcome.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code"), [(("nothing",), 78), (("k1", "k2"), 2), (("--wait", "soon"), 2), (("--format", "xml"), 2)]
)
def test_wrong_calls(workspace: Project, words: tuple[str, ...], code: int) -> None:
    """A device that is not configured is 78 and names those there are; a wrong option is 2."""
    workspace.configure("[devices.k1]\n")
    workspace.run("device", "health", *words).assert_fails(code)


@pytest.mark.parametrize("limit", ["rssi_min = 5", "rssi_min = -200", "fps_min = -1", "heap_min = 'much'"])
def test_wrong_limits(workspace: Project, limit: str) -> None:
    """A limit that is none is refused with its line."""
    workspace.configure(f"[devices.k1]\n{limit}\n")
    workspace.run("device", "health").assert_fails(78, "k1ctl.toml:2:", "devices.k1.")


def test_waiting_for_a_device_that_comes_back(workspace: Project, tmp_path: Path) -> None:
    """--wait says why it waits, ends when the device is there, and asks once a window meanwhile."""
    with SimulatedDevice(tmp_path / "sim", "offline=1.5") as device:
        workspace.configure(device.toml() + '[device]\nwindow = "200ms"\n')
        outcome = workspace.run("device", "health", "--wait", "60s").assert_ok()
    assert outcome.stdout.startswith("k1: online")
    assert outcome.stderr.startswith("k1: offline (") and outcome.stderr.count("waiting") == 1


def test_waiting_has_an_end(workspace: Project, tmp_path: Path) -> None:
    """After the time given it ends with the state as it is; another device is not waited for at all."""
    with SimulatedDevice(tmp_path / "sim", "offline=inf") as device:
        workspace.configure(device.toml() + '[device]\nwindow = "50ms"\n')
        told = workspace.run("device", "health", "--wait", "300ms", "--json").assert_fails(69).json
        assert told["error"]["code"] == "device-offline"
    with SimulatedDevice(tmp_path / "sim", "wrong-mac") as device:
        workspace.configure(device.toml())
        workspace.run("device", "health", "--wait", "10m", timeout=60).assert_fails(65, "wrong-device")


def test_many_callers_ask_once(desk: tuple[Project, SimulatedDevice]) -> None:
    """Processes started in one moment make one request on each route."""
    workspace, device = desk
    workspace.configure("[device]\nwindow = '1h'\n" + device.toml())
    callers = [workspace.popen("device", "health", "--json") for _ in range(6)]
    said = [caller.communicate()[0] for caller in callers]
    assert [finish(caller) for caller in callers] == [0] * 6
    assert len({re.search(r'"probed_at":"([^"]+)"', text).group(1) for text in said}) == 1  # type: ignore[union-attr]
    counts = requests(device.device.folder)
    assert [counts[f"GET /api/{route}"]["asked"] for route in ("device/info", "health")] == [1, 1]
