"""All that is known of a device, for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.device.verdict import figure
from k1ctl.output import clean, style
from k1ctl.units import format_duration
from k1ctl_plugins.device.list.flow import queue_text, upload_text

if TYPE_CHECKING:
    from k1ctl_plugins.device.info.flow import Info

_BUILD = {"arduino": "Arduino", "arduino_release": "", "idf_ver": "IDF", "platformio_platform": "", "framework": ""}


def sheet(found: Info) -> str:
    """One line a fact; what is missing says why, what cannot be true together is red."""
    document, now = found.document(), time.time()
    rows = [
        ("state", _state(document)),
        ("network", _network(document)),
        ("firmware", _build(document["build"])),
        ("mDNS", _mdns(document)),
        ("USB", _usb(document)),
        ("image", _image(document["image"], document["started"], now)),
        ("upload", upload_text(document["last_upload"], now)),
        ("queue", queue_text(document)),
    ]
    name = document["device"]
    lines = [style(clean(str(name)), "bold"), *(f"  {label:<9} {clean(text)}" for label, text in rows)]
    lines += [style(clean(f"  {told['code']}: {told['message']}"), "red") for told in document["contradictions"]]
    return "\n".join(lines)


def _state(document: dict[str, Any]) -> str:
    http = document["http"]
    if http is None:
        return f"unknown: {document['missing'].get('http', '')}"
    words = [figure(k, http[k]) for k in ("fps", "heap_free_bytes", "rssi_dbm") if http[k] is not None]
    if http["uptime_ms"] is not None:
        words.append(f"up {format_duration(http['uptime_ms'] / 1000)}")
    why = f": {http['message']}" if http["message"] else ""
    return f"{http['state']}{why}{'; ' if words else ''}{', '.join(words)}"


def _network(document: dict[str, Any]) -> str:
    http, configured = document["http"] or {}, document["configured"]
    who = ", ".join(str(http[key]) for key in ("identity", "mac", "ip") if http.get(key))
    unsaid = document["missing"].get("identity")
    who += f"{' ' if who else ''}(it did not say who it is: {unsaid})" if unsaid else ""
    return f"{configured['host'] or '(no host)'}:{configured['http_port']}{f': {who}' if who else ''}"


def _build(build: dict[str, Any] | None) -> str:
    if not build:
        return "-"
    return ", ".join(
        f"{_BUILD.get(key, key)} {value}".strip() for key, value in build.items() if value not in ("", None)
    )


def _mdns(document: dict[str, Any]) -> str:
    if not document["mdns"]:
        return f"- ({document['missing'].get('mdns', '')})"
    return "; ".join(
        f"{s['host']} at {s['address']}, OTA {s['ota_port'] or '-'}, HTTP {s['http_port'] or '-'}"
        for s in document["mdns"]
    )


def _usb(document: dict[str, Any]) -> str:
    usb = document["usb"]
    if usb is None:
        return f"- ({document['missing'].get('usb', '')})"
    return f"{usb['port']} ({usb['mac'] or 'its MAC is asked before a write'})"


def _image(image: dict[str, Any] | None, started: dict[str, Any] | None, now: float) -> str:
    if image is None:
        return "- (no upload of this root has put one on it)"
    doubt = ""
    if started is not None and started["after_image"]:
        doubt = f"; it restarted at {started['at']}, past the queue: it may run another"
    return f"{image.get('target', '')} {image.get('artifact', '')}: {upload_text(image, now)}{doubt}".strip()
