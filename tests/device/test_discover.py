"""Two views of the boards that are there, joined by MAC, and what the configuration makes of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device.discover import Answers, ask_all, join, port_of, section
from k1ctl.device.mdns import Service
from k1ctl.device.probe import Probe
from k1ctl.device.usb import Port
from k1ctl.testing import SimulatedDevice
from k1ctl_plugins.device.discover import text
from k1ctl_plugins.device.discover.flow import Found

ONE, TWO = "02:4b:31:00:00:01", "02:4b:31:00:00:02"


def service(host: str, address: str, port: int | None = 80) -> Service:
    return Service(host.partition(".")[0], host, address, 3232, port, {"device": "K1.reinvented"})


def told(mac: str, identity: str = "K1.reinvented") -> Probe:
    return Probe(True, identity, mac.upper(), 1000, "", False, 0.1)


def device(name: str = "k1", **given: Any) -> dict[str, Any]:
    return {"name": name, "host": "", "mac": "", "identity": "K1.reinvented", "http_port": 80, "usb_port": "", **given}


def test_both_views_are_one_board() -> None:
    """A board that is in the network and on USB is one, and the configured device with its MAC, wherever it is."""
    services, ports = [service("k1.local", "10.0.0.5")], [Port("/dev/ttyACM0", ONE), Port("/dev/ttyACM1", TWO)]
    boards = join(services, {("10.0.0.5", 80): told(ONE)}, ports, [device(host="k1.local", mac=ONE.upper())])
    assert [(b.device, b.mac, b.port, b.remarks) for b in boards] == [
        ("k1", ONE, ports[0], []),
        ("", TWO, ports[1], []),
    ]


def test_a_board_that_moved_keeps_its_name() -> None:
    """Another address than the configured one is a remark; the MAC says who it is."""
    services = [service("k1-2.local", "10.0.0.9")]
    (board,) = join(services, {("10.0.0.9", 80): told(ONE)}, [], [device(host="10.0.0.5", mac=ONE)])
    assert (
        board.device == "k1"
        and "it is at k1-2.local, 10.0.0.9; k1 is configured with the host 10.0.0.5" in board.remarks
    )


def test_another_board_on_the_configured_address_is_not_the_device() -> None:
    """What sits at the address of a device, but has another MAC, is new, and said to be refused."""
    services = [service("k1.local", "10.0.0.5")]
    (board,) = join(services, {("10.0.0.5", 80): told(TWO)}, [], [device(host="k1.local", mac=ONE)])
    assert board.device == "" and "wrong-device" in board.remarks[0] and ONE in board.remarks[0]


def test_two_boards_under_one_name_are_two() -> None:
    """Each is told that the name leads to either; the sections of both have addresses and names of their own."""
    services = [service("k1-reinvented.local", "10.0.0.5"), service("k1-reinvented.local", "10.0.0.6")]
    boards = join(services, {("10.0.0.5", 80): told(ONE), ("10.0.0.6", 80): told(TWO)}, [], [])
    assert [b.mac for b in boards] == [ONE, TWO]
    assert all("another board announces k1-reinvented.local, too" in b.remarks[0] for b in boards)
    first, text = section(boards[0], [])
    second, more = section(boards[1], [first])
    made = tomllib.loads(text + more)["devices"]
    assert made == {
        "k1-reinvented": {"host": "10.0.0.5", "mac": ONE.upper()},
        "k1-reinvented-000002": {"host": "10.0.0.6", "mac": TWO.upper()},
    }
    assert second == "k1-reinvented-000002"


def test_a_board_that_says_nothing_is_not_recognised_by_its_address() -> None:
    """Without a MAC told it is nobody whose MAC is configured; without a MAC configured its address has to do."""
    services = [service("k1.local", "10.0.0.5")]
    silent: Answers = {("10.0.0.5", 80): "10.0.0.5:80: no answer in time"}
    (board,) = join(services, silent, [], [device(host="k1.local", mac=ONE)])
    assert (board.device, board.new) == ("", False) and "it did not say who it is" in board.remarks[0]
    assert board.remarks[1:] == ["k1.local is configured as k1, which it may be"]
    assert Found([board], [], {}).sections == {}
    assert text.boards([board]).splitlines()[1].startswith("(unknown)")
    (board,) = join(services, silent, [], [device(host="k1.local")])
    assert board.device == "k1" and any("no `mac` configured" in remark for remark in board.remarks)


def test_ports_that_tell_no_mac_are_boards_of_their_own() -> None:
    """Nothing says that two silent ports are one board; a second port with the same MAC is remarked on."""
    boards = join([], {}, [Port("/dev/a", ""), Port("/dev/b", ""), Port("/dev/c", ONE), Port("/dev/d", ONE)], [])
    assert [b.port.path for b in boards if b.port] == ["/dev/a", "/dev/b", "/dev/c"]
    assert any("/dev/d tells the same MAC" in remark for remark in boards[2].remarks)


def test_hostile_words_stay_words() -> None:
    """Whatever a board calls itself, its section is TOML that says just that."""
    evil = 'k1"]\n[devices.k2]\x7f\U0001f600'
    services = [Service("x", "k1.local", "10.0.0.5", 99999, None, {})]
    (board,) = join(services, {("10.0.0.5", 80): told(ONE, evil)}, [], [])
    board.services[0] = board.services[0]._replace(host=evil, ota_port=4000)
    board.remarks.append(evil)
    name, text = section(board, [])
    made = tomllib.loads(text)
    assert set(made["devices"]) == {name} and made["devices"][name]["identity"] == made["devices"][name]["host"] == evil
    assert made["devices"][name]["ota_port"] == 4000
    (board,) = join(services, {("10.0.0.5", 80): told(ONE, "\ud83d" + "x" * 60_000)}, [], [])
    assert tomllib.loads(section(board, [])[1])["devices"]["k1"]["identity"] == "?" + "x" * 199


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"mac": ONE}, "/dev/ttyACM0"),
        ({"mac": TWO}, None),
        ({}, None),
        ({"mac": ONE, "usb_port": "/dev/gone"}, "/dev/ttyACM0"),
    ],
)
def test_the_port_of_a_device(given: dict[str, str], path: str | None) -> None:
    """By its MAC; a configured port counts only while it is there."""
    found = port_of(device(**given), [Port("/dev/ttyACM0", ONE), Port("/dev/ttyACM1", "")])
    assert (found.path if found else None) == path


def test_a_configured_port_that_is_there(tmp_path: Path) -> None:
    """It is taken before one with the MAC, as a flash does."""
    link = tmp_path / "usb"
    link.touch()
    assert port_of(device(mac=ONE, usb_port=str(link)), [Port("/dev/ttyACM0", ONE)]) == Port(str(link), "")


def test_a_configured_port_with_another_board_on_it(tmp_path: Path) -> None:
    """The device is told without it, the other board with it; an address is a port that is always there."""
    node, link = tmp_path / "tty", tmp_path / "by-id"
    node.touch()
    link.symlink_to(node)
    settings, ports = device(host="k1.local", mac=ONE, usb_port=str(link)), [Port(str(node), TWO)]
    assert port_of(settings, ports) == Port(str(link), TWO)
    boards = join([service("k1.local", "10.0.0.5")], {("10.0.0.5", 80): told(ONE)}, ports, [settings])
    assert [(b.device, b.port) for b in boards] == [("k1", None), ("", ports[0])]
    assert "would be refused as wrong-device" in boards[1].remarks[-1]
    assert port_of(device(usb_port="rfc2217://127.0.0.1:9"), []) == Port("rfc2217://127.0.0.1:9", "")


def test_boards_are_asked_all_at_once(tmp_path: Path) -> None:
    """One that takes requests and never answers costs its own time only, and is told with why."""
    with SimulatedDevice(tmp_path / "a") as well, SimulatedDevice(tmp_path / "b", "hang") as hung:
        services = [service("a.local", "127.0.0.1", well.http_port), service("b.local", "127.0.0.1", hung.http_port)]
        answers = ask_all(services, 0.2)
    answer = answers["127.0.0.1", well.http_port]
    assert isinstance(answer, Probe) and answer.mac == well.device.mac
    assert isinstance(answers["127.0.0.1", hung.http_port], str)
