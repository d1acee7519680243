"""The login before an update, and where the device connects to for it."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

import pytest

from k1ctl.device.login import Password
from k1ctl.device.ota import send
from k1ctl.errors import K1ctlError, UnreachableError
from k1ctl.testing import SimulatedDevice
from tests.device.fakes import IMAGE, QUICK


@pytest.mark.parametrize(("rule", "invitations", "refused"), [("md5", 1, 0), ("sha256", 1, 0), ("sha256-md5", 2, 1)])
def test_a_login_by_every_rule(tmp_path: Path, rule: str, invitations: int, refused: int) -> None:
    """The right password installs; a device that keeps an MD5 behind the new rule gets a second try, and no third."""
    with SimulatedDevice(tmp_path, password="secret", login=rule) as device:
        done = send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK, password=Password(b"secret"))
        assert (done.outcome, done.invitations, device.ota.refused_logins) == ("installed", invitations, refused)
        assert device.image() == IMAGE


@pytest.mark.parametrize(("rule", "tries"), [("md5", 1), ("sha256", 2), ("sha256-md5", 2)])
def test_a_wrong_password_is_tried_once_by_each_hash(tmp_path: Path, rule: str, tries: int) -> None:
    """Refused, with a code of its own, and the device saw no update."""
    with SimulatedDevice(tmp_path, password="secret", login=rule) as device:
        with pytest.raises(K1ctlError) as caught:
            send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK, password=Password(b"Secret"))
        assert (caught.value.code, caught.value.exit_code) == ("ota-login-refused", 1)
        assert device.ota.refused_logins == tries and device.flashes() == []


def test_a_password_that_nobody_asks_for(tmp_path: Path) -> None:
    """It does no harm."""
    with SimulatedDevice(tmp_path) as device:
        done = send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK, password=Password(b"secret"))
        assert (done.outcome, done.invitations) == ("installed", 1)


def test_a_strangers_invitation_costs_one_of_ours(tmp_path: Path) -> None:
    """A device that waits for a stranger's login forgets it at our invitation, without a word; the next one works."""
    with SimulatedDevice(tmp_path, password="secret") as device:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"0 9 10 " + b"0" * 32, ("127.0.0.1", device.ota_port))
            assert stranger.recv(100).startswith(b"AUTH ")
        done = send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK, password=Password(b"secret"))
        assert (done.outcome, done.invitations, device.ota.refused_logins) == ("installed", 2, 0)


def test_a_login_that_is_forgotten_is_begun_anew(tmp_path: Path) -> None:
    """What comes between nonce and answer puts the device back to idle; silence brings a fresh invitation."""
    with SimulatedDevice(tmp_path, password="secret") as device:
        heard = device.ota._answered
        interrupted: list[bytes] = []

        def answered(datagram: bytes, peer: tuple[str, int]) -> object:
            if not interrupted:  # a stranger was faster: his datagram is what the device reads
                interrupted.append(datagram)
                return heard(b"0 9 10 " + b"0" * 32, peer)
            return heard(datagram, peer)

        device.ota._answered = answered  # type: ignore[assignment, method-assign]
        done = send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK, password=Password(b"secret"))
        assert (done.outcome, done.invitations, device.ota.refused_logins) == ("installed", 2, 0)


def test_a_login_that_is_never_answered(tmp_path: Path) -> None:
    """It ends with a code that says how far it came; a late or repeated nonce is not answered twice."""
    with SimulatedDevice(tmp_path, password="secret") as device:
        device.ota._answered = lambda datagram, peer: setattr(device.ota, "asked", None)  # type: ignore[method-assign]
        limits = QUICK._replace(invitations=3, login=0.05)
        with pytest.raises(UnreachableError) as caught:
            send("127.0.0.1", device.ota_port, IMAGE, limits=limits, password=Password(b"secret"))
    assert caught.value.code == "ota-login-unanswered" and "3 of our answers" in caught.value.message


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no second loopback address")
def test_where_the_device_connects_to(tmp_path: Path) -> None:
    """The address and the port of this host that were asked for; a port in use is not waited for."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(K1ctlError) as caught:
            send("127.0.0.1", 9, IMAGE, limits=QUICK, local="127.0.0.2", host_port=port)
        assert (caught.value.code, caught.value.exit_code) == ("ota-port-in-use", 75)
    with SimulatedDevice(tmp_path) as device:
        done = send("127.0.0.1", device.ota_port, IMAGE, limits=QUICK, local="127.0.0.2", host_port=port)
        assert (done.outcome, done.host_port) == ("installed", port)
        assert device.flashes()[0]["peer"] == f"127.0.0.2:{port}"


def test_a_port_that_only_root_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by its number as a setting to change, not as a device that is off."""

    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(K1ctlError) as caught:
        send("127.0.0.1", 9, IMAGE, limits=QUICK, host_port=80)
    assert (caught.value.code, caught.value.exit_code) == ("ota-port-forbidden", 78)
    assert "port 80" in caught.value.message and "ota_host_port" in caught.value.hint
