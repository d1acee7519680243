"""The boards that are there, each once: what mDNS announces, what it says over HTTP, and what is plugged in.

The two views of one board are joined by its MAC: a board on the network is asked for it, the S3's own USB tells it. A
board is a configured device because of its MAC; an address, a name or a path only ever gives a remark.
"""

from __future__ import annotations

from k1ctl.device.identity import difference
from k1ctl.device.mdns import Service
from k1ctl.device.usb import Port, spelled, told_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from k1ctl.device.probe import Probe

ASK_SECONDS = 3.0  # for a board that was found to say who it is; the firmware answers that once a second for all
_HTTP_PORT = 80
_LONGEST = 200  # characters of an identity that are told
_DEFAULTS = {"ota_port": 3232, "http_port": _HTTP_PORT, "identity": "K1.reinvented"}


class Board:
    """A board: ``device`` the configured one that it is ("" for none), ``mac`` ("" when not known), ``identity`` and
    ``uptime_ms`` as it says over HTTP, ``services`` the announcements of it, ``port`` its USB port, ``remarks`` what
    does not fit the configuration or could not be known."""

    __slots__ = ("device", "identity", "mac", "port", "remarks", "services", "uptime_ms")

    def __init__(self, mac: str = "") -> None:
        self.mac, self.device, self.identity = mac, "", ""
        self.uptime_ms: int | None = None
        self.services: list[Service] = []
        self.port: Port | None = None
        self.remarks: list[str] = []

    @property
    def new(self) -> bool:
        """Whether it has said who it is, and that is no configured device."""
        return not self.device and bool(self.mac or self.identity)

    @property
    def hosts(self) -> list[str]:
        """Its names and addresses in the network."""
        return list(dict.fromkeys([*(s.host for s in self.services), *(s.address for s in self.services)]))

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "device": self.device,
            "mac": self.mac,
            "identity": self.identity,
            "uptime_ms": self.uptime_ms,
            "mdns": [service._asdict() for service in self.services],
            "usb_port": self.port.path if self.port else "",
            "remarks": self.remarks,
        }


Answers = dict[tuple[str, int], "Probe | str"]


def ask_all(services: Sequence[Service], seconds: float = ASK_SECONDS, known: Answers | None = None) -> Answers:
    """What each board says of itself over HTTP: {(address, port): its answer, or why there is none}; all at once.

    Who has said so already, in ``known``, is not asked again.
    """
    import threading

    from k1ctl.device.probe import probe
    from k1ctl.errors import K1ctlError

    found: Answers = dict(known or {})

    def ask(address: str, port: int) -> None:
        try:
            found[address, port] = probe({"host": address, "http_port": port}, seconds)
        except K1ctlError as exc:
            found[address, port] = exc.message

    places = {(s.address, s.http_port or _HTTP_PORT) for s in services}
    strangers = sorted(places - found.keys())
    threads = [threading.Thread(target=ask, args=place, daemon=True) for place in strangers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 1.0)
    return {place: found.get(place, "no answer in time") for place in places}


def plugged() -> tuple[list[Port], str]:
    """(The ports of this host that are an ESP32-S3's own USB, why they could not be listed)."""
    from k1ctl.device.usb import ports

    try:
        return ports(), ""
    except (ImportError, OSError) as exc:  # pyserial knows no way on this system, or it is shut
        return [], str(exc)


def port_of(device: Mapping[str, Any], ports: Sequence[Port]) -> Port | None:
    """The configured ``usb_port`` of a device where that is there, with the MAC it tells, which may be another board's;
    else the port that tells the device's MAC; None for neither."""
    import os

    mac, given = spelled(str(device["mac"])), str(device.get("usb_port") or "")
    if given and ("://" in given or os.path.exists(given)):
        return Port(given, told_at(given, ports))
    return next((port for port in ports if mac and port.mac == mac), None)


def join(
    services: Sequence[Service], answers: Answers, ports: Sequence[Port], devices: Iterable[Mapping[str, Any]]
) -> list[Board]:
    """The boards behind both views, configured ones first; ``devices`` are sections with their ``name``."""
    boards: list[Board] = []
    by_mac: dict[str, Board] = {}
    for service in services:
        answer = answers.get((service.address, service.http_port or _HTTP_PORT), "not asked")
        mac = "" if isinstance(answer, str) else spelled(answer.mac)
        board = by_mac.get(mac) if mac else None
        if board is None:
            board = Board(mac)
            boards.append(board)
            by_mac.update({mac: board} if mac else {})
        board.services.append(service)
        if isinstance(answer, str):
            board.remarks.append(f"it did not say who it is: {answer}")
        else:
            board.identity, board.uptime_ms = answer.identity[:_LONGEST], answer.uptime_ms
            if answer.rate_limited:
                board.remarks.append("it did not say who it is: it answered 429 until the deadline")
    for port in ports:
        board = by_mac.get(port.mac) if port.mac else None
        if board is None:
            board = Board(port.mac)
            boards.append(board)
            by_mac.update({port.mac: board} if port.mac else {})
        elif board.port:
            board.remarks.append(f"{port.path} tells the same MAC")
            continue
        board.port = port
        board.remarks += _not_ours(port)
    _recognise(boards, list(devices))
    _namesakes(boards)
    return sorted(boards, key=lambda b: (not b.device, b.device, b.mac, b.hosts))


def _recognise(boards: list[Board], devices: list[Mapping[str, Any]]) -> None:
    seen = [board.port for board in boards if board.port]
    for board in boards:
        own = [d for d in devices if board.mac and spelled(str(d["mac"])) == board.mac]
        near = [d for d in devices if d not in own and _named_by(board, d)]
        bare = [d for d in near if not d["mac"]]
        device = next(iter(own or bare), None)
        if device is not None:
            board.device = str(device["name"])
            given = port_of(device, seen)
            board.port = board.port or (given if given and given.mac in ("", board.mac) else None)
            board.remarks += _remarks(board, device, by_mac=bool(own))
        for other in near:
            if other is not device:
                board.remarks.append(_in_its_place(board, device, other))


def _in_its_place(board: Board, device: Mapping[str, Any] | None, other: Mapping[str, Any]) -> str:
    place, name = _named_by(board, other), other["name"]
    if device is not None and not (other["mac"] and board.mac):
        return f"{place} is configured as {name}, too"
    if not board.mac:
        return f"{place} is configured as {name}, which it may be"
    return (
        f"{place} is configured as {name} with the MAC {spelled(str(other['mac']))}: "
        "what is meant for it would be refused as wrong-device"
    )


def _not_ours(port: Port) -> list[str]:
    import os

    if not os.path.exists(port.path) or os.access(port.path, os.R_OK | os.W_OK):
        return []
    return [f"{port.path} may not be opened by this user (on Linux: the group dialout or uucp)"]


def _named_by(board: Board, device: Mapping[str, Any]) -> str:
    """The device's configured address, or port, where that leads to this board; else ""."""
    import os

    host, given = str(device["host"]).rstrip(".").lower(), str(device.get("usb_port") or "")
    there = any(
        host in (service.host, service.address) and (service.http_port or _HTTP_PORT) == int(device["http_port"])
        for service in board.services
    )
    if there:
        return host
    plugged = board.port and given and os.path.realpath(given) == os.path.realpath(board.port.path)
    return given if plugged else ""


def _remarks(board: Board, device: Mapping[str, Any], *, by_mac: bool) -> list[str]:
    found = []
    if not by_mac:
        found.append(f"{device['name']} has no `mac` configured, so only its address says that it is this one")
    host = str(device["host"]).rstrip(".").lower()
    if board.services and host not in board.hosts:
        found.append(
            f"it is at {', '.join(board.hosts)}; {device['name']} is configured with the host {host or '(none)'}"
        )
    wrong = difference(device, board.identity, board.mac) if board.identity else None
    if wrong:
        found.append(wrong[0])
    return found


def _namesakes(boards: list[Board]) -> None:
    """Two boards under one name: who asks for the name gets either."""
    for board in boards:
        for host in dict.fromkeys(s.host for s in board.services):
            if any(host in (s.host for s in other.services) for other in boards if other is not board):
                board.remarks.append(f"another board announces {host}, too; use its address as `host`")


def section(board: Board, taken: Iterable[str]) -> tuple[str, str]:
    """(A free name for a new board, the section of ``ops/k1ctl.toml`` that makes it a configured device)."""
    from k1ctl.output import clean

    service = board.services[0] if board.services else None
    shared = any("another board announces" in remark for remark in board.remarks)
    name = _free(board, set(taken))
    values: dict[str, Any] = {"host": ("" if service is None else service.address if shared else service.host)}
    values["mac"] = board.mac.upper()
    values["identity"] = board.identity or _DEFAULTS["identity"]
    values["ota_port"] = (service and service.ota_port) or _DEFAULTS["ota_port"]
    values["http_port"] = (service and service.http_port) or _DEFAULTS["http_port"]
    kept = {key: value for key, value in values.items() if value and _DEFAULTS.get(key) != value}
    texts = {key: _quoted(value) if isinstance(value, str) else str(value) for key, value in kept.items()}
    lines = [f"[devices.{name}]", *(f"{key} = {text}" for key, text in texts.items())]
    lines[1:1] = [f"# {clean(remark)}" for remark in board.remarks]
    if not service:
        lines.insert(1, f"# on USB only ({board.port.path if board.port else ''}); set host once it is on the network")
    return name, "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string: as JSON's, but without surrogates; half of a pair, which a board may say, is a ``?``."""
    from k1ctl.jsontext import dumps

    whole = text.encode("utf-8", "replace").decode()
    escaped = [dumps(c)[1:-1] if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in whole]
    return f'"{"".join(escaped)}"'


def _free(board: Board, taken: set[str]) -> str:
    """A name from its host name, with the end of its MAC where that is taken: ``k1-reinvented``, ``k1-3f2a01``."""
    label = board.services[0].host.partition(".")[0] if board.services else "k1"
    base = "".join(c for c in label if c.isascii() and (c.isalnum() or c in "-_"))[:40].strip("-_") or "k1"
    tail = board.mac.replace(":", "")[-6:]
    tries = [base, *([f"{base}-{tail}"] if tail else []), *(f"{base}-{n}" for n in range(2, len(taken) + 3))]
    return next(name for name in tries if name not in taken)
