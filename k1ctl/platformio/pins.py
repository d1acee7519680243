"""Which packages of a ``platformio.ini`` have no fixed version: what is installed then depends on the day.

A version is fixed by ``name@1.2.3``, by an archive's address, or by a git address with a commit or tag behind ``#``
(PlatformIO Registry, "Package Specifications"); ``^``, ``~``, ``>`` and the like are ranges, and so is ``1.2``, which
PlatformIO takes as ``1.2.*``. The usual names of branches and of releases that move are no version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from configparser import ConfigParser

OPTIONS = ("platform", "platform_packages", "lib_deps")
_REFERENCE = re.compile(r"\$\{([^.{}]+)\.([^{}]+)\}")
_EXACT = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*")
_MOVING = ("heads", "master", "main", "develop", "HEAD", "latest", "stable", "nightly")
_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_LOCAL = ("symlink://", "file://", ".", "/", "~")
_DEPTH = 8  # references behind references
# What the Arduino frameworks bring themselves; their version is the platform's.
_BUILT_IN = (
    *("ArduinoOTA", "AsyncUDP", "BLE", "BluetoothSerial", "DNSServer", "EEPROM", "ESPmDNS", "FFat", "FS", "HTTPClient"),
    *("HTTPUpdate", "Hash", "I2S", "LittleFS", "Network", "NetworkClientSecure", "Preferences", "SD", "SD_MMC", "SPI"),
    *("SPIFFS", "Ticker", "USB", "Update", "WebServer", "WiFi", "WiFiClientSecure", "WiFiProv", "Wire"),
)


def unpinned(parser: ConfigParser) -> list[str]:
    """``OPTION: PACKAGE`` for each package without a fixed version, in the order of the file, each once."""
    found = []
    for section in parser.sections():
        if section != "env" and not section.startswith("env:"):
            continue
        for option in OPTIONS:
            text = _resolve(parser, section, _option(parser, section, option))
            found += [f"{option}: {package}" for package in _items(option, text) if not pinned(package)]
    return list(dict.fromkeys(found))


def _option(parser: ConfigParser, section: str, option: str) -> str:
    """What the section says, else those that it extends, the last named first, as PlatformIO looks."""
    waiting, seen = [section], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or not parser.has_section(name):
            continue
        seen.add(name)
        if parser.has_option(name, option):
            return parser.get(name, option) or ""
        waiting += re.split(r"[,\s]+", parser.get(name, "extends", fallback="") or "")
    return ""


def _items(option: str, text: str) -> Iterator[str]:
    for line in text.splitlines():
        for item in re.split(r",\s+", line) if option != "platform" else [line]:
            plain = item.strip()
            if plain and not plain.startswith(("#", ";", "$")):
                yield plain.partition(" ;")[0].strip()


def _resolve(parser: ConfigParser, section: str, text: str) -> str:
    """``text`` with its ``${SECTION.OPTION}`` filled in; what cannot be, stays."""
    for _ in range(_DEPTH):
        if not _REFERENCE.search(text):
            break
        text = _REFERENCE.sub(lambda m: _value(parser, section, m), text)
    return text


def _value(parser: ConfigParser, section: str, match: re.Match[str]) -> str:
    name = section if match[1] == "this" else match[1]
    return parser.get(name, match[2], fallback=match[0]) or ""


def pinned(package: str) -> bool:
    """Whether the version of ``package`` (as in ``platform``, ``lib_deps``, ``platform_packages``) is fixed, or its
    files are this host's."""
    source = package.partition("=")[2]
    address = (source if "://" in source else package).strip()
    if address.startswith(_LOCAL):
        return True
    if "://" in address or address.startswith("git@"):
        place, mark, ref = address.partition("#")
        if mark and ref:
            return ref not in _MOVING
        words = [word.removesuffix(end) for word in place.split("/")[3:] for end in ("", *_ARCHIVES)]
        return place.lower().endswith(_ARCHIVES) and not any(word in _MOVING for word in words)
    _, at, version = package.replace(" ", "").rpartition("@")
    if not at:
        return package.strip() in _BUILT_IN
    return bool(_EXACT.fullmatch(version.lstrip("=")))
