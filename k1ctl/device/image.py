"""Is this file an application image for that chip, or one of a filesystem: whole, and small enough?

Format: Espressif's application image (esp-idf, "Firmware Image Format"; esp_app_format.h): a 24-byte header, the
segments with 8-byte headers, zero padding so that the XOR checksum is the last byte of a 16-byte block, and, when
byte 23 is 1, the SHA-256 of all that. The first segment of an application begins with its description (esp_app_desc_t),
that of a bootloader does not. Images of SPIFFS, LittleFS and FAT have no header in common; they are whole
sectors of flash, which is all that can be said of every one of them (LittleFS names itself at byte 8).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from k1ctl.errors import WrongDataError

MAGIC = 0xE9
SECTOR = 4096  # bytes: the flash is erased by it, so partitions and what fills them are multiples
_LITTLEFS = b"littlefs"  # of the superblock's first entry, which lies behind revision count and tag
CHIP_IDS = {"esp32": 0, "esp32s2": 2, "esp32c3": 5, "esp32s3": 9, "esp32c6": 13}
MAX_SEGMENTS = 16  # ESP_IMAGE_MAX_SEGMENTS
_HEADER, _SEGMENT_HEADER, _DIGEST = 24, 8, 32
_DESCRIPTION = (0xABCD5432).to_bytes(4, "little")  # ESP_APP_DESC_MAGIC_WORD
_CHECKSUM_SEED = 0xEF


class ImageInfo(NamedTuple):
    """What an image says of itself: ``size`` in bytes; chip and segments are "" and 0 when not looked at."""

    size: int
    chip: str
    segments: int
    has_digest: bool


def check_image(image: bytes | str | os.PathLike[str], chip: str, partition_size: int = 0) -> ImageInfo:
    """Check the image (its bytes, or the path of a file) for ``chip`` (a key of `CHIP_IDS`).

    ``none`` is for devices of another make: any binary format passes, also one that happens to begin as ESP's does;
    what is plainly text does not. ``partition_size`` is the largest size in bytes the device takes (0: no check).
    Raises WrongDataError with the code image-empty, image-foreign, image-wrong-chip, image-truncated, image-damaged or
    image-too-large; OSError.
    """
    data = image if isinstance(image, bytes) else _read(image)
    if not data:
        raise WrongDataError("the image is empty", code="image-empty", hint="build it again")
    if data[8:16] == _LITTLEFS:
        raise WrongDataError(
            "the file is the image of a LittleFS, not an application",
            code="image-foreign",
            hint="--filesystem sends it",
        )
    info = _check_binary(data) if chip == "none" else _check_format(data, chip)
    if partition_size and len(data) > partition_size:
        raise WrongDataError(
            f"the image has {len(data)} bytes, the app partition takes {partition_size}",
            code="image-too-large",
            hint="make the firmware smaller, or correct partition_size of the target",
        )
    return info


def check_filesystem(image: bytes | str | os.PathLike[str], size: int = 0, *, force: bool = False) -> list[str]:
    """Check the image of a filesystem (its bytes, or the path of a file); returns warnings, one sentence each.

    ``size`` is that of the partition in bytes (0: no check). ``force`` lets pass what begins as an application image
    or does not end with a sector. Raises WrongDataError with the code image-empty, image-foreign, image-truncated or
    image-too-large; OSError.
    """
    data = image if isinstance(image, bytes) else _read(image)
    if not data:
        raise WrongDataError("the image is empty", code="image-empty", hint="build it again")
    if data[0] == MAGIC and not force:
        raise WrongDataError(
            f"the file begins with 0x{MAGIC:02x} as an application image does; a filesystem was asked for",
            code="image-foreign",
            hint="leave out --filesystem to send an application; --force sends it into the filesystem all the same",
        )
    _check_binary(data)
    if len(data) % SECTOR and not force:
        raise WrongDataError(
            f"the image has {len(data)} bytes: a filesystem's is a multiple of {SECTOR}",
            code="image-truncated",
            hint="build it again (a copy was cut short?); --force sends it all the same",
        )
    if size and len(data) > size:
        raise WrongDataError(
            f"the image has {len(data)} bytes, the filesystem's partition has {size}",
            code="image-too-large",
            hint="build it for the device's partition table, or correct filesystem_size of the target",
        )
    if size and len(data) < size:
        return [f"the image has {len(data)} bytes, the partition {size}: was it built for another partition table?"]
    return []


def _read(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as f:
        return f.read()


def _check_binary(data: bytes) -> ImageInfo:
    head = data[:4096]
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        raise WrongDataError(
            "the file is text, not an image", code="image-foreign", hint="upload the binary that the build made"
        )
    return ImageInfo(len(data), "", 0, False)


def _check_format(data: bytes, chip: str) -> ImageInfo:
    if data[0] != MAGIC:
        raise WrongDataError(
            f"the file begins with 0x{data[0]:02x}: not an ESP application image (0x{MAGIC:02x})",
            code="image-foreign",
            hint='upload the .bin file, not the .elf; chip = "none" in the target\'s section turns the check off',
        )
    if len(data) < _HEADER:
        raise _truncated(data, _HEADER)
    found = int.from_bytes(data[12:14], "little")
    if found != CHIP_IDS[chip]:
        name = next((n for n, number in CHIP_IDS.items() if number == found), f"chip id {found}")
        raise WrongDataError(
            f"the image is for {name}, the target is {chip}",
            code="image-wrong-chip",
            hint="check the PlatformIO environment and `chip` of the target",
        )
    count = data[1]
    if not 1 <= count <= MAX_SEGMENTS:
        raise _damaged(f"it claims {count} segments (1 to {MAX_SEGMENTS} are possible)")
    end, checksum = _walk(data, count)
    has_digest = data[23] == 1
    _check_tail(data, end, checksum, has_digest)
    if not data.startswith(_DESCRIPTION, _HEADER + _SEGMENT_HEADER):
        raise WrongDataError(
            "the image describes no application: it is a bootloader's, or one of the whole flash (merged, factory)",
            code="image-foreign",
            hint="upload the application alone, firmware.bin; in an app slot this one would not start",
        )
    return ImageInfo(len(data), chip, count, has_digest)


def _walk(data: bytes, count: int) -> tuple[int, int]:
    """(The offset behind the last segment, the XOR of all segment bytes)."""
    at, checksum = _HEADER, _CHECKSUM_SEED
    for _ in range(count):
        if at + _SEGMENT_HEADER > len(data):
            raise _truncated(data, at + _SEGMENT_HEADER)
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += _SEGMENT_HEADER
        if at + size > len(data):
            raise _truncated(data, at + size)
        checksum ^= xor_bytes(data[at : at + size])
        at += size
    return at, checksum


def _check_tail(data: bytes, end: int, checksum: int, has_digest: bool) -> None:
    length = end + 16 - end % 16
    if length + (_DIGEST if has_digest else 0) > len(data):
        raise _truncated(data, length + (_DIGEST if has_digest else 0))
    if data[length - 1] != checksum:
        raise _damaged(f"its checksum is 0x{data[length - 1]:02x}, its bytes give 0x{checksum:02x}")
    if has_digest:
        from hashlib import sha256

        if sha256(data[:length]).digest() != data[length : length + _DIGEST]:
            raise _damaged("its SHA-256 does not match its bytes")


def xor_bytes(data: bytes) -> int:
    """The XOR of all bytes, by folding halves: a bare loop over a megabyte takes 60 ms."""
    value, width = int.from_bytes(data, "little"), len(data)
    while width > 1:
        half = (width + 1) // 2
        value = (value >> (8 * half)) ^ (value & ((1 << (8 * half)) - 1))
        width = half
    return value


def _truncated(data: bytes, need: int) -> WrongDataError:
    return WrongDataError(
        f"the image has {len(data)} bytes, its header asks for at least {need}",
        code="image-truncated",
        hint="build it again; a copy was cut short",
    )


def _damaged(why: str) -> WrongDataError:
    return WrongDataError(f"the image is damaged: {why}", code="image-damaged", hint="build it again")
