"""The views of one device: HTTP through the shared record, mDNS, and the serial ports."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.device import discover, images, mdns, occupancy, resets, survey
from k1ctl.device.probe import Probe, document, read
from k1ctl.device.usb import Port, spelled
from k1ctl.device.verdict import ANSWERED, BROKEN, CODES, INFO, WRONG, Verdict, judge
from k1ctl.errors import K1ctlError
from k1ctl.units import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.device.health import Record
    from k1ctl.device.mdns import Service
    from k1ctl.workspace import Workspace


class Info:
    """A device's settings and what each view shows: ``record`` and ``verdict`` of HTTP (None when nobody came to an
    answer, for which ``why`` is the reason), ``services`` that are announced of it, ``port``; ``missing`` says why a
    view is not there; ``contradictions`` what cannot be true together, each {code, message}; ``started`` when it last
    started, {at, explained_by, after_image}: who had it then ("" for nobody), and whether that was after the image was
    put on it, so that another one may have been since."""

    def __init__(self, device: dict[str, Any]) -> None:
        self.device = device
        self.record: Record | None = None
        self.verdict: Verdict | None = None
        self.services: list[Service] = []
        self.port: Port | None = None
        self.missing: dict[str, str] = {}
        self.contradictions: list[dict[str, str]] = []
        self.queue: dict[str, Any] = {}
        self.image: dict[str, Any] | None = None
        self.last_upload: dict[str, Any] | None = None
        self.started: dict[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """As in `k1ctl.errors.EXIT_CODES`."""
        if any(told["code"] in ("wrong-device", CODES[BROKEN]) for told in self.contradictions):
            return 65
        seen = (self.verdict is not None and self.verdict.reachable) or self.services or self.port
        return 0 if seen else 69

    def contradict(self, code: str, message: str) -> None:
        """Note what cannot be true together."""
        self.contradictions.append({"code": code, "message": message})

    def hints(self) -> list[str]:
        """What to do about it."""
        found = [self.verdict.hint] if self.verdict and self.verdict.hint else []
        return [*found, *(["its view of mDNS needs: " + mdns.HINT] if not mdns.available() else [])]

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints; with an ``error`` of the usual shape unless it is 0."""
        record, verdict, device = self.record, self.verdict, self.device
        told = (record or {}).get("answers", {}).get(INFO, {}).get("document") or {}
        http = None
        if record and verdict:
            when = {"probed_at": record["probed_at"], "age_seconds": round(record["age_seconds"], 3)}
            http = {"state": verdict.state, "message": verdict.message, **verdict.values, **when}
        document = {
            "ok": self.exit_code == 0,
            "device": device["name"],
            "configured": {k: device[k] for k in ("host", "http_port", "ota_port", "mac", "identity", "groups")},
            "http": http,
            "build": told["build"] if isinstance(told.get("build"), dict) else None,
            "mdns": [service._asdict() for service in self.services],
            "usb": {"port": self.port.path, "mac": self.port.mac} if self.port else None,
            "missing": self.missing,
            "contradictions": self.contradictions,
            "started": self.started,
            "image": self.image,
            "last_upload": self.last_upload,
            **self.queue,
        }
        if self.exit_code:
            document["error"] = self._error()
        return document

    def _error(self) -> dict[str, Any]:
        if self.exit_code == 65:
            first = next(t for t in self.contradictions if t["code"] in ("wrong-device", CODES[BROKEN]))
        else:
            first = {"code": "device-offline", "message": self.missing.get("http", "no view shows it")}
        return {**first, "hint": next(iter(self.hints()), ""), "exit_code": self.exit_code}


def info(
    workspace: Workspace, config: Config, name: str | None, *, interface: str, seconds: float, max_age: float
) -> Info:
    """All views of the device ``name`` (default: [defaults] device). Raises ConfigError."""
    name = name or str(config.get("defaults", "device"))
    device = survey.configured(config, [name])[name]
    found = Info(device)
    _over_http(workspace, config, found, max_age)
    _on_usb(found)
    _announced(found, interface or str(device["interface"]), seconds)
    found.queue = occupancy.of_devices(workspace, config, [name])[name]
    found.image = images.read(workspace, name)["current"]
    found.last_upload = occupancy.last_uploads(workspace, [name]).get(name)
    found.started = _started(workspace, config, found)
    return found


def _started(workspace: Workspace, config: Config, found: Info) -> dict[str, Any] | None:
    told = resets.sample(found.record) if found.record and found.verdict and found.verdict.reachable else None
    if told is None:
        return None
    who = resets.explanation(workspace, config, found.device, told.started_at)
    try:
        put = parse_rfc3339(str(found.image["at"])) if found.image else told.started_at
    except (KeyError, ValueError):  # not a time that we wrote
        put = told.started_at
    after = not who and told.started_at > put + resets.AFTER_SECONDS
    return {"at": rfc3339(told.started_at), "explained_by": who, "after_image": after}


def _over_http(workspace: Workspace, config: Config, found: Info, max_age: float) -> None:
    device, name = found.device, str(found.device["name"])
    window = float(config.get("device", "window"))
    record = survey.ask_each(workspace, {name: device}, window=window, max_age=max_age)[name]
    if isinstance(record, str):
        found.missing["http"] = record
        return
    verdict = judge(record, device)
    if verdict.reachable and INFO in verdict.missing:  # well, but others had just asked who it is
        record = _who_is_it(found, record)
        verdict = judge(record, device)
    found.record, found.verdict = record, verdict
    if verdict.state in (WRONG, BROKEN):
        found.contradict(CODES[verdict.state], verdict.message)
    elif not verdict.reachable:
        found.missing["http"] = verdict.message


def _who_is_it(found: Info, record: Record) -> Record:
    """The record with what the device says of itself once it may be asked again."""
    device = found.device
    try:
        told = document(device, INFO, float(device["probe_timeout"]))
        read(f"{device['host']}:{device['http_port']}", told, 0.0)
    except K1ctlError as exc:
        found.missing["identity"] = exc.message
        return record
    at = {"document_at": rfc3339(), "document_monotonic": time.monotonic()}
    answer = {"outcome": ANSWERED, "code": "", "message": "", "hint": "", "document": told, **at}
    return {**record, "answers": {**record["answers"], INFO: answer}}


def _on_usb(found: Info) -> None:
    device = found.device
    mac, given = spelled(str(device["mac"])), str(device["usb_port"])
    ports, why = discover.plugged()
    found.port = discover.port_of(device, ports)
    there = ", ".join(map(str, ports))
    if found.port is None:
        told = f"there is only {there}" if there else "no ESP32-S3 is plugged in"
        wanted = (
            f"no port tells the MAC {mac}" if mac else "it has no `mac` configured, by which its port would be known"
        )
        found.missing["usb"] = why or (f"{given} is not there" if given else f"{wanted}; {told}")
    elif given and mac and found.port.mac not in ("", mac):
        found.contradict("wrong-device", f"usb_port {given} tells the MAC {found.port.mac}, not {mac}")


def _announced(found: Info, interface: str, seconds: float) -> None:
    """The announcements of this board: at the address that answered, else of whichever board has its MAC."""
    device = found.device
    host, port = str(device["host"]).rstrip(".").lower(), int(device["http_port"])
    right = bool(found.verdict and found.verdict.reachable)
    told = str((found.verdict.values["ip"] if found.verdict else None) or "")

    def near(service: Service) -> bool:
        own = service.host == host or service.address in (host, told)
        return own and service.http_port in (None, port)

    def whole(services: list[Service]) -> bool:
        return any(service.http_port and service.ota_port and near(service) for service in services)

    try:
        heard = mdns.browse(seconds, interface, whole if right else None)
    except K1ctlError as exc:
        if exc.code == "unknown-interface":
            raise
        found.missing["mdns"] = exc.message
        return
    places = [service for service in heard if near(service)]
    mac = spelled(str(device["mac"]))
    ambiguous = len({service.address for service in places}) > 1
    if mac and (ambiguous or not right):
        places = _with_mac(found, heard, places, mac)
    elif ambiguous:
        found.contradict("name-taken-twice", f"more than one board announces {host}: {_listed(places)}")
    found.services, others = places, [service for service in heard if near(service)]
    if not places:
        where = f" on {interface}" if interface else ""
        nobody = f"nobody announced it within {seconds:g} s{where}"
        another = f"in its place another board announces itself: {_listed(others)}"
        found.missing.setdefault("mdns", another if others else nobody)
    _compare(found, host)


def _with_mac(found: Info, heard: list[Service], places: list[Service], mac: str) -> list[Service]:
    """Those that have the MAC when asked; the others at its place are told."""
    answers = discover.ask_all(heard, known=_said(found))
    boards = discover.join(heard, answers, [], [found.device])
    own = [service for board in boards if board.mac == mac for service in board.services]
    known = any(told["code"] == "wrong-device" for told in found.contradictions)
    several = bool(own) or len({service.address for service in places}) > 1
    for board in boards:
        if board.mac == mac or known or not any(service in places for service in board.services):
            continue
        where, name = _listed(board.services), found.device["name"]
        if board.mac or several:
            who = f"the MAC {board.mac}" if board.mac else "a board that did not say who it is"
            code = "wrong-device" if board.mac and not own else "name-taken-twice"
            found.contradict(code, f"{where} is {who}, {name} is configured as {mac}")
        else:  # the only one there: most likely the device, which is known once it answers
            found.missing["mdns"] = f"{where} is announced in its place, and did not say who it is"
    return own


def _said(found: Info) -> discover.Answers:
    """What the board at the configured address has just said, so that it is not asked twice within its window."""
    device, values = found.device, found.verdict.values if found.verdict else {}
    if not found.record or not values.get("mac"):
        return {}
    told = Probe(True, values["identity"] or "", values["mac"], values["uptime_ms"], values["ip"] or "", False, 0.0)
    return {(str(device["host"]), int(device["http_port"])): told}


def _listed(services: list[Service]) -> str:
    return ", ".join(f"{service.host} ({service.address})" for service in services)


def _compare(found: Info, host: str) -> None:
    """What is announced of the right board, against its section."""
    device = found.device
    for service in found.services:
        if host and host not in (service.host, service.address):
            found.contradict(
                "other-address", f"it is at {_listed([service])}; {device['name']} is configured with the host {host}"
            )
        for key, port in (("ota_port", service.ota_port), ("http_port", service.http_port)):
            if port is not None and port != int(device[key]):
                found.contradict("other-port", f"mDNS announces {key} {port}, configured is {device[key]}")
        said = service.txt.get("device")
        if said and device["identity"] and said != device["identity"]:
            found.contradict(
                "other-identity", f"mDNS announces the device {said!r}, configured is {device['identity']!r}"
            )
