"""Which of this host's addresses a device is to connect back to."""

from __future__ import annotations

import socket

from k1ctl.errors import ConfigError


def own_address(name: str, peer: str = "") -> str:
    """The IPv4 address that ``name``, an interface of this host or one of its addresses, stands for.

    Of several addresses of one interface it is the one in the network of ``peer`` (an IPv4 address), else the first.
    Raises ConfigError (code unknown-interface) that lists the interfaces there are.
    """
    try:
        socket.inet_pton(socket.AF_INET, name)
    except OSError:
        return _of_interface(name, peer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((name, 0))
        except OSError:
            raise _unknown(f"{name} is no address of this host", _interfaces()) from None
    return name


def _of_interface(name: str, peer: str) -> str:
    there = _interfaces()
    found = there.get(name, [])
    if not found:
        raise _unknown(
            f"{name!r} is {'an interface without an IPv4 address' if name in there else 'no interface'}", there
        )
    near = [address for address, mask in found if peer and mask and _network(address, mask) == _network(peer, mask)]
    return (near or [address for address, _ in found])[0]


def _interfaces() -> dict[str, list[tuple[str, str]]]:
    """Every interface with its IPv4 addresses and their masks."""
    import psutil

    told = psutil.net_if_addrs()
    return {name: [(a.address, a.netmask or "") for a in told[name] if a.family == socket.AF_INET] for name in told}


def _network(address: str, mask: str) -> int:
    both = (int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big") for text in (address, mask))
    return next(both) & next(both)


def _unknown(why: str, there: dict[str, list[tuple[str, str]]]) -> ConfigError:
    listed = ", ".join(f"{name} ({', '.join(a for a, _ in found)})" for name, found in there.items() if found)
    return ConfigError(why, hint=f"this host has {listed or 'no IPv4 address'}", code="unknown-interface")
