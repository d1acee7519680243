"""An interface by its name or one of its addresses; what is neither is refused with those there are."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import psutil
import pytest

from k1ctl.device.interface import own_address
from k1ctl.errors import ConfigError


def loopback() -> str:
    """The name of this host's loopback interface."""
    return next(n for n, a in psutil.net_if_addrs().items() if any(x.address == "127.0.0.1" for x in a))


def test_by_name_and_by_address() -> None:
    """Both name the same place."""
    assert own_address(loopback()) == own_address("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize("name", ["en99", "192.0.2.7", "k1.local", "::1"])
def test_what_is_not_of_this_host(name: str) -> None:
    """Exit 78, and the hint lists what could be meant."""
    with pytest.raises(ConfigError) as caught:
        own_address(name)
    assert (caught.value.code, caught.value.exit_code) == ("unknown-interface", 78)
    assert name in caught.value.message and f"{loopback()} (127.0.0.1" in caught.value.hint


def test_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in the device's network, else the first; an interface with IPv6 only cannot be used."""

    def address(text: str, mask: str = "255.255.255.0", family: int = socket.AF_INET) -> SimpleNamespace:
        return SimpleNamespace(family=family, address=text, netmask=mask)

    there = {"en0": [address("10.0.0.5"), address("192.168.1.9")], "en1": [address("fe80::1", "", socket.AF_INET6)]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: there)
    assert own_address("en0", "192.168.1.105") == "192.168.1.9"
    assert own_address("en0", "172.16.0.1") == own_address("en0") == "10.0.0.5"
    with pytest.raises(ConfigError, match="without an IPv4 address") as caught:
        own_address("en1")
    assert caught.value.hint == "this host has en0 (10.0.0.5, 192.168.1.9)"
