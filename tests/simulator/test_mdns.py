"""What a simulated device announces, on loopback: found, told apart from its neighbours, and taken back."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from k1ctl.device import mdns
from k1ctl.device.mdns import Service
from k1ctl.simulator.mdns import HOST, LOOPBACK, host_of
from k1ctl.simulator.simulated import SimulatedDevice, mac_of

SECONDS = 20.0  # a limit for a busy machine; what is looked for ends it


def unique(word: str) -> str:
    """A host name that no other test on this machine announces: loopback is one network for all of them."""
    return f"k1-{word}-{os.getpid()}"


def of(hosts: set[str]) -> Callable[[list[Service]], list[Service]]:
    """Those of these hosts that were heard in full: each service of a board has an announcement of its own."""
    return lambda services: [
        s for s in services if s.host.removesuffix(".local") in hosts and s.ota_port and s.http_port and s.txt
    ]


def test_two_devices_are_found_and_one_takes_its_leave(tmp_path: Path) -> None:
    """Each is found under its own name with its ports and the firmware's TXT records; as one stops, who listens
    forgets it, and the other stays."""
    one, two = unique("one"), unique("two")
    mine = of({one, two})
    both: list[Service] = []
    with SimulatedDevice(tmp_path / "1", mdns=one) as first, ExitStack() as stack:
        simulated = SimulatedDevice(tmp_path / "2", mdns=two, password="secret", identity="K1.other")
        second = stack.enter_context(simulated)

        def left(services: list[Service]) -> bool:
            if len(mine(services)) == 2 and not both:
                both.extend(mine(services))
                stack.close()
            return bool(both) and len(mine(services)) == 1

        found = mine(mdns.browse(SECONDS, LOOPBACK, left))
    assert [(s.host, s.instance, s.address, s.ota_port, s.http_port) for s in both] == [
        (f"{one}.local", one, LOOPBACK, first.ota_port, first.http_port),
        (f"{two}.local", two, LOOPBACK, second.ota_port, second.http_port),
    ]
    assert [s.txt for s in both] == [
        {"device": "K1.reinvented", "version": "2.0", "api": "/api"},
        {"device": "K1.other", "version": "2.0", "api": "/api"},
    ]
    assert found == both[:1]


def test_a_device_that_is_away_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No announcement as it starts, no goodbye as it stops."""
    from zeroconf import Zeroconf

    sent: list[object] = []
    monkeypatch.setattr(Zeroconf, "async_send", lambda _, out, *where: sent.append(out))
    with SimulatedDevice(tmp_path, "offline=inf", mdns=unique("away")):
        pass
    assert sent == []


def test_each_name_is_a_board_of_its_own() -> None:
    """k1 is the firmware's host name and the MAC it always had; every other name has its own of both, the same ones
    each time, and a host name is one whatever the name holds."""
    assert (host_of("k1"), mac_of("k1")) == (HOST, "02:4B:31:00:00:01")
    names = ["k1", "k2", "desk_two", "K3"]
    assert len({mac_of(name) for name in names}) == len({host_of(name) for name in names}) == len(names)
    assert mac_of("k2") == mac_of("k2") and mac_of("k2").startswith("02:4B:31:")
    assert (host_of("desk_two"), host_of("K3")) == (f"{HOST}-desk-two", f"{HOST}-k3")
    assert len(host_of("x" * 300)) <= 63


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where zeroconf is not installed it says how to install it, before anything is served."""
    from k1ctl.errors import NotFoundError

    monkeypatch.setattr(mdns, "available", lambda: False)
    with pytest.raises(NotFoundError) as caught:
        SimulatedDevice(tmp_path, mdns="k1-none")
    assert (caught.value.code, caught.value.hint) == ("mdns-missing", "pip install 'k1ctl[mdns]'")
    assert not (tmp_path / "requests.json").exists()
