"""`k1ctl device discover` on loopback: both views, the sections of new boards, and what is missing."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from k1ctl.config import load
from k1ctl.device import mdns
from k1ctl.device.discover import Board
from k1ctl.device.mdns import Service
from k1ctl.simulator.simulated import mac_of
from k1ctl.testing import SimulatedDevice
from k1ctl_plugins.device.discover import flow, text
from tests.kit import Project


def test_known_and_new(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two boards in the network: the configured one by its name, with its port; the other with a section that makes it
    a configured device, too, which the next look recognises."""
    known, new = f"k1-known-{os.getpid()}", f"k1-new-{os.getpid()}"
    known_mac, mac = (mac_of(f"{n}-{os.getpid()}") for n in (1, 2))

    def listen(seconds: float, interface: str) -> list[Service]:
        """Until both are heard in full: the others on loopback are no part of this."""
        heard = browse(seconds, interface, lambda found: {known, new} <= {s.instance for s in found if s.http_port})
        return [service for service in heard if service.instance in (known, new)]

    browse = mdns.browse
    monkeypatch.setattr(mdns, "browse", listen)

    def look(toml: str) -> list[Board]:
        workspace.configure(toml)
        facts = workspace.facts()
        found = flow.discover(load(facts, {}), interface="127.0.0.1", seconds=20, usb=True, mdns=True)
        assert found.missing == {} and len(found.document()["boards"]) == 2
        sections.update(found.sections)
        assert all(board.device or board.mac in text.boards(found.boards) for board in found.boards)
        return found.boards

    sections: dict[Board, str] = {}
    with (
        SimulatedDevice(tmp_path / "1", mdns=known, usb=True, mac=known_mac) as first,
        SimulatedDevice(tmp_path / "2", mdns=new, mac=mac) as second,
    ):
        boards = look(first.toml("desk"))
        assert [(b.device, b.mac) for b in boards] == [("desk", known_mac.lower()), ("", mac.lower())]
        assert boards[0].port is not None and boards[0].port.path == first.usb_port
        assert list(sections) == boards[1:]
        section = tomllib.loads(sections[boards[1]])["devices"][new]
        assert section == {
            "host": f"{new}.local",
            "mac": mac,
            "ota_port": second.ota_port,
            "http_port": second.http_port,
        }
        monkeypatch.setattr(mdns, "browse", lambda *_: [s for board in boards for s in board.services])
        for device in (first, second):
            device.device.routes.clear()  # as if its rate limits were over
        again = look(first.toml("desk") + sections[boards[1]])
        assert [(b.device, b.remarks) for b in again] == [("desk", []), (new, [])]


def test_usb_only(workspace: Project) -> None:
    """It neither needs nor imports what listens to the network."""
    workspace.configure("[devices.k1]\n")
    assert tomllib.loads(workspace.run("device", "discover", "--usb-only", "--toml").assert_ok().stdout) is not None
    told = workspace.run("device", "discover", "--usb-only", "--json").assert_ok().json
    assert told["ok"] and told["missing"] == {} and isinstance(told["boards"], list)


def test_without_the_package(workspace: Project, tmp_path: Path) -> None:
    """Without zeroconf USB is looked at all the same, with a hint; the network alone is 127."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'zeroconf' else find(name, *a)\n"
    )
    env = {"PYTHONPATH": str(tmp_path)}
    outcome = workspace.run("device", "discover", env=env).assert_ok()
    assert "pip install 'k1ctl[mdns]'" in outcome.stderr
    told = workspace.run("device", "discover", "--mdns-only", "--json", env=env).assert_fails(127).json
    assert told["error"]["code"] == "mdns-missing" and "pip install" in told["error"]["hint"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--usb-only", "--mdns-only"), 2),
        (("--toml", "--json"), 2),
        (("--interface", "en99"), 78),
    ],
)
def test_wrong_calls(workspace: Project, words: tuple[str, ...], code: int) -> None:
    """Each is refused before anything is sent."""
    workspace.run("device", "discover", *words).assert_fails(code)
