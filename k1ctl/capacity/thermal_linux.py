"""How hot the host is, in macOS's words, from /sys/class/thermal (Documentation/driver-api/thermal/sysfs-api.rst) and
from the processor's chips below /sys/class/hwmon (Documentation/hwmon/sysfs-interface.rst)."""

from __future__ import annotations

import os

from k1ctl.capacity.kernelfiles import read as text_of

LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
_TRIPS = {b"passive": 1, b"hot": 2, b"critical": 3}  # at passive the system slows down, at critical it goes off
_MARKS = {"max": 1, "crit": 2, "emergency": 3}
_CHIPS = (b"coretemp", b"k10temp", b"zenpower", b"cpu_thermal", b"soc_thermal", b"apple_soc", b"scmi_sensors")
_LIKELY = range(1, 200_000)  # millidegrees: firmware that does not know says 0, -274000 or 255000


def read(root: str = "") -> tuple[str | None, float | None]:
    """(the level, the hottest place in degrees Celsius); None where nothing tells. Never raises."""
    worst, hottest = -1, None
    for temperature, marks in [*_zones(f"{root}/sys/class/thermal"), *_chips(f"{root}/sys/class/hwmon")]:
        hottest = max(hottest or temperature, temperature)
        worst = max([worst, 0 if marks else -1, *(level for at, level in marks if temperature >= at)])
    return (LEVELS[worst] if worst >= 0 else None), (None if hottest is None else hottest / 1000)


def _zones(folder: str) -> list[tuple[int, list[tuple[int, int]]]]:
    """(temperature, [(mark, level)]) of each thermal zone, in millidegrees."""
    found = []
    for zone in _entries(folder, "thermal_zone"):
        temperature = _millidegrees(text_of(f"{zone}/temp"))
        if temperature is None:
            continue
        marks = []
        for i in range(16):
            kind = text_of(f"{zone}/trip_point_{i}_type").strip()
            if not kind:
                break
            at = _millidegrees(text_of(f"{zone}/trip_point_{i}_temp"))
            if kind in _TRIPS and at is not None:
                marks.append((at, _TRIPS[kind]))
        found.append((temperature, marks))
    return found


def _chips(folder: str) -> list[tuple[int, list[tuple[int, int]]]]:
    """The same of each sensor of the processor; a disk's would wake it."""
    found = []
    for chip in _entries(folder, "hwmon"):
        if text_of(f"{chip}/name").strip() not in _CHIPS:
            continue
        for name in _names(chip):
            if not (name.startswith("temp") and name.endswith("_input")):
                continue
            temperature = _millidegrees(text_of(f"{chip}/{name}"))
            if temperature is None:
                continue
            stem = f"{chip}/{name.removesuffix('_input')}"
            marks = [(_millidegrees(text_of(f"{stem}_{mark}")), level) for mark, level in _MARKS.items()]
            found.append((temperature, [(at, level) for at, level in marks if at is not None]))
    return found


def _entries(folder: str, prefix: str) -> list[str]:
    return [f"{folder}/{name}" for name in _names(folder) if name.startswith(prefix)]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _millidegrees(data: bytes) -> int | None:
    try:
        value = int(data)
    except ValueError:
        return None
    return value if value in _LIKELY else None
