"""What is read from mDNS on loopback, also when somebody says what no board says."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from k1ctl.device import mdns
from k1ctl.device.mdns import ARDUINO, HTTP
from k1ctl.errors import ConfigError

LOOPBACK, GROUP = "127.0.0.1", ("224.0.0.251", 5353)
SECONDS = 20.0  # a limit for a busy machine; what is looked for ends it
PTR, TXT, SRV, A = 12, 16, 33, 1


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.rstrip(".").split(".")) + b"\0"


def record(owner: str, kind: int, data: bytes, ttl: int = 120) -> bytes:
    return name(owner) + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def answer(*records: bytes) -> bytes:
    """RFC 1035, 4: a response with these records."""
    return struct.pack(">6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def board(host: str, address: str, port: int, txt: bytes, instance: str = "", kind: str = HTTP) -> bytes:
    owner = f"{instance or host.partition('.')[0]}.{kind}"
    place = struct.pack(">HHH", 0, 0, port) + name(host)
    return answer(
        record(kind, PTR, name(owner)),
        record(owner, SRV, place),
        record(owner, TXT, txt),
        record(host, A, socket.inet_aton(address)),
    )


def pairs(*texts: str) -> bytes:
    return b"".join(bytes([len(text)]) + text.encode() for text in texts)


@contextmanager
def said(*packets: bytes) -> Iterator[None]:
    """The packets, sent again and again to everybody on loopback."""
    stop = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
            while not stop.wait(0.03):
                for packet in packets:
                    sock.sendto(packet, GROUP)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def unique(word: str) -> str:
    return f"{word}-{os.getpid()}.local"


def test_two_boards_under_one_name() -> None:
    """Each of their addresses is a board of its own, so that both are asked who they are."""
    host = unique("twins")
    packets = [board(host, address, 80, pairs("device=K1.reinvented")) for address in ("10.9.8.1", "10.9.8.2")]
    with said(*packets):
        found = mdns.browse(SECONDS, LOOPBACK, lambda services: sum(s.host == host for s in services) == 2)
    own = [s for s in found if s.host == host]
    assert [(s.address, s.http_port, s.ota_port) for s in own] == [("10.9.8.1", 80, None), ("10.9.8.2", 80, None)]


def test_hostile_answers_do_no_harm() -> None:
    """Addresses that no board here has, ports that are none, text that is no text, packets that are no packets: what
    is left of them is clean, and the board beside them is found."""
    good, far, none, odd, printer = map(unique, ("good", "far", "none", "odd", "printer"))
    noise = random.Random(1)
    packets = [
        board(far, "8.8.8.8", 80, pairs("device=K1.reinvented")),
        board(far, "224.0.0.1", 80, pairs("device=K1.reinvented")),
        board(none, "10.9.8.3", 0, b"", kind=ARDUINO),
        board(odd, "10.9.8.4", 80, pairs("device=\x1b[2J" + "x" * 240) + b"\xff\xff\xfe=" + b"\x05a", instance="o"),
        board(printer, "10.9.8.5", 631, pairs("ty=Printer")),
        answer(record(HTTP, PTR, b"\xc0\x0c"), record(HTTP, SRV, b"\0")),
        *(noise.randbytes(noise.randrange(1, 300)) for _ in range(40)),
        *(answer(noise.randbytes(noise.randrange(1, 80))) for _ in range(40)),
        board(good, "10.9.8.6", 8080, pairs("device=K1.reinvented", "version=2.0", "version=3", "=x", "flag")),
    ]
    with said(*packets):
        found = mdns.browse(SECONDS, LOOPBACK, lambda services: {good, odd} <= {s.host for s in services})
    by_host = {s.host: s for s in found}
    assert not {far, none, printer} & set(by_host)
    assert by_host[good].txt == {"device": "K1.reinvented", "version": "2.0", "flag": ""}
    assert (by_host[good].address, by_host[good].http_port) == ("10.9.8.6", 8080)
    assert len(by_host[odd].txt["device"]) == 200


def test_a_name_has_the_address_that_is_announced() -> None:
    """Asked for by name, in any spelling; a record that is taken back at once is none."""
    host, gone = unique("named"), unique("gone")
    with said(answer(record(host, A, b"\x0a\x09\x08\x07")), answer(record(gone, A, b"\x0a\x09\x08\x07", ttl=0))):
        assert mdns.addresses(host.upper() + ".", SECONDS, LOOPBACK) == ["10.9.8.7"]
        assert mdns.addresses(gone, 0.2, LOOPBACK) == []


def test_an_interface_that_is_none() -> None:
    """A wrong interface is told before anything is sent."""
    with pytest.raises(ConfigError) as caught:
        mdns.browse(SECONDS, "en99")
    assert caught.value.code == "unknown-interface"
