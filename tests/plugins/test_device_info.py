"""`k1ctl device info`: the views of one device, and what contradicts what."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from k1ctl.device import discover, mdns
from k1ctl.device.mdns import Service
from k1ctl.device.usb import Port
from k1ctl.testing import SimulatedDevice
from k1ctl.units import rfc3339
from k1ctl_plugins.device.info import flow, text
from tests.kit import Project

MAC = "02:4B:31:00:00:01"


def test_three_views_of_one_device(workspace: Project, tmp_path: Path) -> None:
    """HTTP, mDNS and USB agree: exit 0, with the build, and without a contradiction."""
    host = f"k1-info-{os.getpid()}"
    with SimulatedDevice(tmp_path / "sim", usb=True, mdns=host) as device:
        workspace.configure(device.toml() + 'interface = "127.0.0.1"\n[device]\nwindow = "1h"\n')
        told = workspace.run("device", "info", "--timeout", "20s", "--json").assert_ok().json
    assert (told["ok"], told["contradictions"], told["missing"]) == (True, [], {})
    assert (told["http"]["state"], told["http"]["mac"]) == ("online", MAC)
    assert told["build"]["framework"].startswith("arduino@")
    assert [(s["host"], s["ota_port"], s["http_port"]) for s in told["mdns"]] == [
        (f"{host}.local", device.ota_port, device.http_port)
    ]
    assert told["usb"] == {"port": device.usb_port, "mac": ""}
    assert (told["image"], told["last_upload"], told["holder"], told["waiting"]) == (None, None, None, 0)


def test_no_view_at_all(workspace: Project) -> None:
    """Each view says why it is not there; 69."""
    workspace.configure('[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\ninterface = "127.0.0.1"\n')
    told = workspace.run("device", "info", "--timeout", "0.1s", "--json").assert_fails(69).json
    assert set(told["missing"]) == {"http", "mdns", "usb"} and told["error"]["code"] == "device-offline"
    assert told["missing"]["mdns"] == "nobody announced it within 0.1 s on 127.0.0.1"
    assert "powered" in told["error"]["hint"]
    workspace.run("device", "info", "k2").assert_fails(78, "k2")


class Desk:
    """A workspace with one device, whose neighbours in the network and on USB are what a test says."""

    def __init__(self, workspace: Project, device: SimulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspace, self.device = workspace, device
        self.services: list[Service] = []
        self.ports: list[Port] = []
        monkeypatch.setattr(mdns, "browse", lambda *_: self.services)
        monkeypatch.setattr(discover, "plugged", lambda: (self.ports, ""))

    def service(self, host: str = "k1.local", **other: object) -> Service:
        own = Service("k1", host, "127.0.0.1", self.device.ota_port, self.device.http_port, {"device": "K1.reinvented"})
        return own._replace(**other)  # type: ignore[arg-type]

    def info(self, **changes: object) -> flow.Info:
        lines = [f'{key} = "{value}"' for key, value in changes.items()]
        section = [line for line in self.device.toml().splitlines() if line.split(" ")[0] not in changes]
        self.workspace.configure("\n".join([*section, *lines, "[device]", "window = 0"]))
        from k1ctl.config import load

        facts = self.workspace.facts()
        self.device.device.routes.clear()  # as if its rate limits were over
        return flow.info(facts, load(facts, {}), "k1", interface="", seconds=0.1, max_age=0.0)


@pytest.fixture
def desk(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    device = SimulatedDevice(tmp_path / "sim")
    return Desk(workspace, device, monkeypatch)


def codes(found: flow.Info) -> list[str]:
    return [told["code"] for told in found.contradictions]


def test_contradictions(desk: Desk) -> None:
    """Another MAC or identity at its address, or another MAC on its port, is 65; another address is only told."""
    with desk.device as device:
        desk.services = [desk.service()]
        found = desk.info(mac="02:4B:31:00:00:99")
        assert (codes(found), found.exit_code) == (["wrong-device"], 65)
        assert (found.services, found.document()["error"]["code"]) == ([], "wrong-device")
        assert "another board announces itself: k1.local" in found.missing["mdns"]
        found = desk.info(identity="K9")
        assert (codes(found)[0], found.exit_code) == ("wrong-device", 65)
        port = desk.workspace.root / "tty"
        port.touch()
        desk.ports = [Port(str(port), "02:4b:31:00:00:77")]
        found = desk.info(usb_port=port)
        assert (codes(found), found.exit_code) == (["wrong-device"], 65)
        desk.ports = []
        found = desk.info(host="10.255.255.9", probe_timeout="0.05")
        assert (codes(found), found.exit_code) == (["other-address"], 0)
        assert "it is at k1.local (127.0.0.1)" in found.contradictions[0]["message"]
        assert found.missing["http"] and found.services == desk.services
        sheet = text.sheet(found)
        assert (
            "k1.local at 127.0.0.1" in sheet and "other-address: it is at" in sheet and "offline: 10.255.255.9" in sheet
        )
        desk.services = [desk.service(ota_port=9, txt={"device": "K2"})]
        assert codes(desk.info()) == ["other-port", "other-identity"]
        assert device.flashes() == []


def test_two_boards_under_its_name(desk: Desk, tmp_path: Path) -> None:
    """The one with the MAC is taken; that another one answers to the name is told. Without a MAC nothing decides."""
    with desk.device, SimulatedDevice(tmp_path / "other", mac="02:4B:31:00:00:02", http_port=0) as other:
        desk.services = [desk.service(), desk.service(address="127.0.0.2", http_port=other.http_port)]
        found = desk.info(mac="")
        assert codes(found) == []  # the other one has another port, so the configured place is one
        desk.services = [desk.service(), desk.service(address="127.0.0.2", http_port=None)]
        found = desk.info(host="k1.local", probe_timeout="0.05")
        assert found.services == desk.services[:1] and "name-taken-twice" in codes(found)
        assert "name-taken-twice" in codes(desk.info(host="k1.local", probe_timeout="0.05", mac=""))


def test_a_device_that_hangs_is_no_other_board(desk: Desk) -> None:
    """Its name is announced, and it cannot say who it is: that is told, and is no contradiction; 69."""
    with desk.device as device:
        device.device.silent_until = float("inf")
        desk.services = [desk.service()]
        found = desk.info(probe_timeout="0.05")
    assert (codes(found), found.exit_code, found.services) == ([], 69, [])
    assert found.missing["mdns"] == "k1.local (127.0.0.1) is announced in its place, and did not say who it is"


def test_an_identity_that_was_not_told(desk: Desk) -> None:
    """A device that is well, but was just asked by others who it is, is asked again; one that never says is not told
    as if it had."""
    with desk.device as device:
        desk.services = [desk.service()]
        waits = [10]
        device.device.limited = (  # type: ignore[method-assign]
            lambda route, _: (waits.pop() if waits else None) if "info" in route else None
        )
        found = desk.info(mac="02:4B:31:00:00:99")
        assert (codes(found), found.exit_code) == (["wrong-device"], 65)
        device.device.limited = lambda route, _: 60_000 if "info" in route else None  # type: ignore[method-assign]
        found = desk.info(probe_timeout="0.3")
    assert found.exit_code == 0 and "60000 ms" in found.missing["identity"]
    assert f":{device.http_port}: 127.0.0.1 (it did not say who it is: " in text.sheet(found)


def test_the_image_is_doubted_after_a_reset_past_the_queue(desk: Desk) -> None:
    """What k1ctl put on it is told, with a doubt once it restarted long after that with nothing in the queue."""
    with desk.device:
        for ago, doubted in ((0.0, False), (3600.0, True)):
            entry = {"target": "fw", "artifact": "abc", "at": rfc3339(time.time() - ago), "outcome": "installed"}
            entry |= {"sha256": "abc", "run": "r1", "workspace": "oslo", "verification": "ok"}
            ledger = {"current": entry, "pending": None, "soaked": []}
            path = desk.workspace.ops / "device" / "k1.images.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(ledger))
            found = desk.info()
            assert found.started is not None and found.started["after_image"] is doubted
            sheet = text.sheet(found)
            assert "fw abc: installed" in sheet and ("it may run another" in sheet) is doubted
