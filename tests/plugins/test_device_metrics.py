"""`k1ctl device metrics`: everything at once, its formats, and what is missing."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from k1ctl.simulator.device import Device, requests
from k1ctl.simulator.faults import Faults
from k1ctl.testing import SimulatedDevice
from tests.kit import Project

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{device="k1"(,path="[^"]+")?\} (\S+)$')


def test_all_of_it(workspace: Project, tmp_path: Path) -> None:
    """Each endpoint is asked once; JSON, Prometheus' text and lines tell the same figures."""
    with SimulatedDevice(tmp_path / "sim", "fps=44.5") as device:
        workspace.configure("[device]\nwindow = '1h'\n" + device.toml())
        report = workspace.run("device", "metrics", "--json").assert_ok().json
        assert (report["ok"], report["partial"], report["missing"]) == (True, False, [])
        assert len(report["endpoints"]) == 14
        assert (
            report["endpoints"]["/api/device/performance"]["fps"] == report["endpoints"]["/metrics"]["k1_fps"] == 44.5
        )
        asked = requests(device.device.folder)
        assert {route: told["asked"] for route, told in asked.items()} == dict.fromkeys(asked, 1)
        assert {route.partition(" ")[2] for route in asked} == set(report["endpoints"])
        device.device.faults = Faults(["fps=44.5", "windows=0"])
        text = workspace.run("device", "metrics", "k1", "--format", "prom").assert_ok().stdout
        lines = workspace.run("device", "metrics").assert_ok().stdout
    types = [line for line in text.splitlines() if line.startswith("#")]
    samples = [SAMPLE.match(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(samples) and len(types) == len(set(types)) == len({s[1] for s in samples if s})
    assert 'k1_endpoint_up{device="k1",path="/api/rmt"} 1\n' in text and 'k1_fps{device="k1"} 44.5\n' in text
    assert "/api/device/performance: fps=44.5 " in lines


def test_partial_results(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others used up is missing with its reason, and the rest is there with exit 0; all of it is 75."""
    kept = Device.limited
    monkeypatch.setattr(Device, "limited", lambda d, route, ms: 400 if "rmt" in route else kept(d, route, ms))
    with SimulatedDevice(tmp_path / "sim") as device:
        workspace.configure(device.toml())
        outcome = workspace.run("device", "metrics", "--timeout", "0.5", "--format", "json").assert_ok()
        report = outcome.json
        assert report["partial"] and [row["path"] for row in report["missing"]] == ["/api/rmt"]
        assert report["missing"][0]["code"] == "device-rate-limited" and len(report["endpoints"]) == 13
        monkeypatch.setattr(Device, "limited", lambda *_: 1000)
        for name in ("k1.json", "k1.lock"):  # else the last answer stands in for a while
            (workspace.ops / "device" / name).unlink()
        workspace.run("device", "metrics", "--timeout", "0.3").assert_fails(75, "429")


def test_another_device_and_none(workspace: Project, tmp_path: Path) -> None:
    """65 before anything else is asked; 69 when nobody answers; wrong words are 2."""
    with SimulatedDevice(tmp_path / "sim", "wrong-mac") as device:
        workspace.configure(device.toml())
        workspace.run("device", "metrics").assert_fails(65, "MAC")
        assert set(requests(device.device.folder)) == {"GET /api/device/info", "GET /api/health"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        workspace.configure(f'[devices.k1]\nhost = "127.0.0.1"\nhttp_port = {free.getsockname()[1]}\n')
        error = workspace.run("device", "metrics", "--json").assert_fails(69).json["error"]
    assert (error["code"], error["device"]) == ("device-offline", "k1")
    workspace.run("device", "metrics", "--timeout", "0").assert_fails(2, "--timeout")
    workspace.run("device", "metrics", "--json", "--format", "prom").assert_fails(2, "exclude")
