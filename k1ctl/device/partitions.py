"""The partition table of an ESP32's flash, and which app slot the bootloader starts.

Formats: esp-idf, "Partition Tables" (32-byte entries, magic 0x50AA) and "Over The Air Updates" (otadata: two sectors,
each with a sequence number and its CRC-32; the higher valid one selects slot ``(number - 1) % slots``; with none valid
and no factory app the first slot starts).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from k1ctl.errors import WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TABLE_OFFSET, TABLE_SIZE = 0x8000, 0xC00  # bytes
APP, DATA = 0, 1  # types
OTA_0, OTA_15, OTADATA = 0x10, 0x1F, 0x00  # subtypes: of apps, and of data
SECTOR = 4096  # bytes
_MAGIC, _MD5_MAGIC = 0x50AA, 0xEBEB
_ENTRY = "<HBBII16sI"
_ENTRY_SIZE = struct.calcsize(_ENTRY)
_BLANK = 0xFFFFFFFF
_INVALID = (3, 4)  # ESP_OTA_IMG_INVALID, ESP_OTA_IMG_ABORTED


class Partition(NamedTuple):
    """One entry; ``kind`` and ``subtype`` as numbers, ``offset`` and ``size`` in bytes."""

    label: str
    kind: int
    subtype: int
    offset: int
    size: int


def parse(data: bytes) -> list[Partition]:
    """The entries of a table as read from `TABLE_OFFSET`. Raises WrongDataError (code no-partition-table)."""
    found = []
    for at in range(0, len(data) - _ENTRY_SIZE + 1, _ENTRY_SIZE):
        magic, kind, subtype, offset, size, label, _ = struct.unpack_from(_ENTRY, data, at)
        if magic != _MAGIC:
            break
        found.append(Partition(label.rstrip(b"\0").decode("ascii", "replace"), kind, subtype, offset, size))
    if not found:
        raise WrongDataError(
            "there is no partition table",
            hint="upload --via usb --full writes bootloader, partition table and app",
            code="no-partition-table",
        )
    return found


def encode(partitions: Iterable[Partition]) -> bytes:
    """A table of `TABLE_SIZE` bytes, with the MD5 entry that the bootloader checks."""
    from hashlib import md5

    rows = [struct.pack(_ENTRY, _MAGIC, p.kind, p.subtype, p.offset, p.size, p.label.encode(), 0) for p in partitions]
    table = b"".join(rows)
    table += struct.pack("<H14s", _MD5_MAGIC, b"\xff" * 14) + md5(table, usedforsecurity=False).digest()
    return table.ljust(TABLE_SIZE, b"\xff")


def app_slots(partitions: Sequence[Partition]) -> list[Partition]:
    """The app partitions that updates go to, ota_0 first."""
    slots = [p for p in partitions if p.kind == APP and OTA_0 <= p.subtype <= OTA_15]
    return sorted(slots, key=lambda p: p.subtype)


def otadata_of(partitions: Sequence[Partition]) -> Partition | None:
    """The partition that says which slot starts; None when the table has none."""
    return next((p for p in partitions if p.kind == DATA and p.subtype == OTADATA), None)


def selecting(slot: int, size: int = 2 * SECTOR) -> bytes:
    """What an otadata partition holds that starts app slot ``slot`` (0: the file that Arduino calls boot_app0)."""
    return _selection(slot + 1).ljust(size, b"\xff")


def selected(otadata: bytes, slots: int) -> int:
    """The number of the slot that ``otadata`` starts, of so many."""
    best = 0
    for at in (0, SECTOR):
        row = otadata[at : at + 32]
        if len(row) < 32:
            continue
        number, state = struct.unpack("<I20xI", row[:28])
        if number != _BLANK and row[28:] == _selection(number)[28:] and state not in _INVALID:
            best = max(best, number)
    return (best - 1) % slots if best and slots else 0


def _selection(number: int) -> bytes:
    from zlib import crc32

    head = struct.pack("<I", number)
    return head + b"\xff" * 24 + struct.pack("<I", crc32(head, _BLANK))
