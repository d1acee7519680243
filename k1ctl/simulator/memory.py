"""The simulated chip's flash: a file of 4 MB, laid out as the firmware's partitions.csv, and what boots from it."""

from __future__ import annotations

import os

from k1ctl.device import partitions
from k1ctl.device.image import CHIP_IDS, MAGIC, check_image
from k1ctl.device.partitions import APP, DATA, Partition
from k1ctl.errors import WrongDataError

SIZE = 4 << 20  # bytes
CHIP = "esp32s3"
BOOTLOADER, APP0 = 0x0, 0x10000  # offsets; the bootloader's is that of the S3
FILE = "flash.bin"
_SEGMENT, _DIGEST = 8, 32
LAYOUT = (  # firmware, partitions.csv
    Partition("nvs", DATA, 0x02, 0x9000, 0x5000),
    Partition("otadata", DATA, partitions.OTADATA, 0xE000, 0x2000),
    Partition("app0", APP, partitions.OTA_0, APP0, 0x1E0000),
    Partition("app1", APP, partitions.OTA_0 + 1, 0x1F0000, 0x1E0000),
    Partition("spiffs", DATA, 0x82, 0x3D0000, 0x30000),
)


class Memory:
    """The flash in ``folder``; a new one holds a bootloader, the partition table and no app."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, FILE)
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if os.fstat(self.fd).st_size != SIZE:
            self.erase(0, SIZE)
            self.write(BOOTLOADER, _bootloader())
            self.write(partitions.TABLE_OFFSET, partitions.encode(LAYOUT))

    def close(self) -> None:
        """Free the descriptor."""
        os.close(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from ``offset`` on; fewer where the flash ends."""
        return os.pread(self.fd, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Put ``data`` there, up to the end of the flash."""
        os.pwrite(self.fd, data[: max(0, SIZE - offset)], offset)

    def erase(self, offset: int, size: int) -> None:
        """Make the sectors from ``offset`` on read 0xFF."""
        end = min(SIZE, offset + -(-size // partitions.SECTOR) * partitions.SECTOR)
        self.write(offset, b"\xff" * (end - offset))

    def slots(self) -> list[Partition]:
        """The app slots of the table in the flash; none where it is damaged."""
        try:
            return partitions.app_slots(partitions.parse(self.read(partitions.TABLE_OFFSET, partitions.TABLE_SIZE)))
        except WrongDataError:
            return []

    def selected(self) -> int:
        """The number of the slot that otadata names."""
        place = self._otadata()
        return partitions.selected(self.read(place.offset, place.size), len(self.slots())) if place else 0

    def follow(self, image: bytes | None) -> None:
        """Do what an update over the network did: ``image`` in the slot that was not selected, and that selected."""
        slots = self.slots()
        if image is None or not slots or self.read(slots[self.selected()].offset, len(image)) == image:
            return
        chosen = (self.selected() + 1) % len(slots) if self.boots() is not None else self.selected()
        self.erase(slots[chosen].offset, slots[chosen].size)
        self.write(slots[chosen].offset, image)
        place = self._otadata()
        if place:
            self.write(place.offset, partitions.selecting(chosen, place.size))

    def boots(self, running: bytes | None = None) -> bytes | None:
        """The app that starts: the selected slot's, else another whole one; None when the chip cannot start any.

        ``running`` is what it ran before, which counts as whole whatever it looks like.
        """
        slots = self.slots()
        if self.read(BOOTLOADER, 1) != bytes([MAGIC]):
            return None
        first = self.selected() if slots else 0
        for slot in [*slots[first:], *slots[:first]]:
            if running and self.read(slot.offset, len(running)) == running:
                return running
            data = self.read(slot.offset, slot.size)
            try:
                check_image(data, CHIP)
            except WrongDataError:
                continue
            return data[: image_length(data)]
        return None

    def _otadata(self) -> Partition | None:
        try:
            return partitions.otadata_of(partitions.parse(self.read(partitions.TABLE_OFFSET, partitions.TABLE_SIZE)))
        except WrongDataError:
            return None


def image_length(data: bytes) -> int:
    """Bytes of the application image that ``data`` begins with, as its header tells them."""
    at = 24
    for _ in range(data[1]):
        at += _SEGMENT + int.from_bytes(data[at + 4 : at + 8], "little")
    return at + 16 - at % 16 + (_DIGEST if data[23] == 1 else 0)


def _bootloader() -> bytes:
    """A whole image without meaning: enough for a bootloader to be there."""
    head = bytearray(24)
    head[0], head[1] = MAGIC, 1
    head[12:14] = CHIP_IDS[CHIP].to_bytes(2, "little")
    return bytes(head) + bytes([0, 0, 0xC8, 0x3F, 4, 0, 0, 0]) + bytes(4) + bytes(11) + b"\xef"
