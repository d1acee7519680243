"""The ESP32-S3's ROM loader and its stub: frames in, frames out, as Espressif's esptool talks to them.

Protocol: esptool's documentation, "Serial Protocol": SLIP frames; a request is ``00 COMMAND LENGTH(2) CHECKSUM(4)
DATA``, an answer ``01 COMMAND LENGTH(2) VALUE(4) DATA STATUS``; the status has 4 bytes from the ROM, 2 from the stub.
What is uploaded as a stub is not run: its start only makes this the stub.
"""

from __future__ import annotations

import hashlib
import struct
import time
import zlib
from typing import NamedTuple

from k1ctl.device.image import xor_bytes
from k1ctl.device.probe import normal_mac
from k1ctl.simulator.memory import SIZE, Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

END = b"\xc0"
_LONGEST = 128 * 1024  # bytes of a frame; the stub takes blocks of 16 KiB
_CHECKSUM_SEED = 0xEF
_SYNC, _ROM_SYNC_VALUE = 0x08, 0x20120707  # 0 would say that the stub runs already
_INVALID, _FAILED, _BAD_CHECKSUM = 5, 6, 7  # error codes of the ROM
_DATA = (0x03, 0x07, 0x11)  # commands that carry a checksum
# Registers of the ESP32-S3 that esptool looks at.
_CHIP_MAGIC, _MAC_LOW, _MAC_HIGH, _UART_DIVIDER = 0x40001000, 0x60007044, 0x60007048, 0x60000014
_SPI_COMMAND, _SPI_USER2, _SPI_W0 = 0x60002000, 0x60002020, 0x60002058
_READ_ID = 0x9F
_FLASH_ID = 0x1640EF  # a 4 MB flash
_CRYSTAL_40_MHZ = 347  # UART divider at 115200 baud
_S3 = 9  # chip id


class LinkLost(Exception):
    """The cable is pulled."""


class RomFaults(NamedTuple):
    """What goes wrong: no answer at all, a cell of each region that does not take its value, the link lost after so
    many frames with flash data, seconds that an erase takes, another chip id, another MAC, bytes a second that the
    flash takes (0: at once)."""

    silent: bool = False
    bad_cell: bool = False
    cut_after: int | None = None
    erase_seconds: float = 0.0
    chip_id: int = _S3
    mac: str = ""
    pace: float = 0.0


NO_FAULTS = RomFaults()


class Written(NamedTuple):
    """A region that was announced for writing, and how many bytes of it came."""

    offset: int
    size: int
    received: int


class _Region:
    """The region being written."""

    def __init__(self, offset: int, size: int, compressed: bool) -> None:
        self.offset, self.size, self.block, self.received = offset, size, 0, 0
        self.started = time.monotonic()
        self.inflate = zlib.decompressobj() if compressed else None


class _Reading:
    """A read that the host acknowledges block by block."""

    def __init__(self, data: bytes, block: int, in_flight: int) -> None:
        self.data, self.block, self.in_flight, self.sent = data, max(block, 1), max(in_flight, 1), 0

    def pieces(self, acknowledged: int) -> list[bytes]:
        """What may be sent now; the digest behind the last block's acknowledgement."""
        out = []
        while self.sent < len(self.data) and self.sent - acknowledged < self.block * self.in_flight:
            out.append(self.data[self.sent : self.sent + self.block])
            self.sent += self.block
        return out


class Rom:
    """One stay in the loader, from the reset into it to the reset out of it.

    ``mac`` is the chip's; ``pause(seconds)`` is called where the hardware takes its time.
    """

    def __init__(
        self, memory: Memory, mac: str, faults: RomFaults = NO_FAULTS, pause: Callable[[float], None] | None = None
    ) -> None:
        self.memory, self.faults, self.pause = memory, faults, pause
        self.stub, self.frames, self.rest = False, 0, b""
        self.done: list[Written] = []
        self.region: _Region | None = None
        self.reading: _Reading | None = None
        told = bytes.fromhex(normal_mac(faults.mac or mac))
        self.registers = {
            _CHIP_MAGIC: 9,
            _MAC_LOW: int.from_bytes(told[2:], "big"),
            _MAC_HIGH: int.from_bytes(told[:2], "big"),
            _UART_DIVIDER: _CRYSTAL_40_MHZ,
        }
        self.commands: dict[int, Callable[[bytes], bytes]] = {
            0x02: lambda d: self._begin(0x02, d, compressed=False),
            0x03: lambda d: self._block(0x03, d),
            0x04: lambda _: self._answer(0x04),
            0x05: lambda _: self._answer(0x05),
            0x06: self._start_stub,
            0x07: lambda _: self._answer(0x07),
            _SYNC: lambda _: self._answer(_SYNC, 0 if self.stub else _ROM_SYNC_VALUE) * 8,
            0x09: self._write_register,
            0x0A: lambda d: self._answer(0x0A, self._register(_words(d, 1)[0])),
            0x0B: lambda _: self._answer(0x0B),
            0x0D: lambda _: self._answer(0x0D),
            0x0E: self._read_slowly,
            0x0F: lambda _: self._answer(0x0F),
            0x10: lambda d: self._begin(0x10, d, compressed=True),
            0x11: lambda d: self._block(0x11, d),
            0x12: lambda _: self._answer(0x12),
            0x13: self._md5,
            0x14: lambda _: self._answer(0x14, 0, struct.pack("<IB7BII", 0, 0, *[0] * 7, faults.chip_id, 0)),
        }
        self.stub_commands: dict[int, Callable[[bytes], bytes]] = {
            0xD0: lambda _: self._erase(0xD0, 0, SIZE),
            0xD1: lambda d: self._erase(0xD1, *_words(d, 2)),
            0xD2: self._read,
            0xD3: lambda _: b"",
        }

    @property
    def written(self) -> list[Written]:
        """The regions written so far, also one that is not complete."""
        now = self.region
        return [*self.done, *([Written(now.offset, now.size, now.received)] if now else [])]

    def feed(self, data: bytes) -> bytes:
        """Take what the host sent; returns what it is answered. Raises LinkLost (a fault)."""
        *frames, self.rest = (self.rest + data).split(END)
        self.rest = self.rest[-_LONGEST:]
        return b"".join(self._frame(_unescaped(frame)) for frame in frames if frame)

    def _frame(self, frame: bytes) -> bytes:
        if self.reading is not None and len(frame) == 4:
            return self._acknowledged(int.from_bytes(frame, "little"))
        if len(frame) < 8 or frame[0] != 0 or self.faults.silent:
            return b""
        command, length, checksum = struct.unpack("<xBHI", frame[:8])
        data = frame[8 : 8 + length]
        do = self.commands.get(command) or (self.stub_commands.get(command) if self.stub else None)
        if do is None or len(data) != length:
            return self._answer(command, error=_INVALID)
        if command in _DATA and _CHECKSUM_SEED ^ xor_bytes(data[16:]) != checksum & 0xFF:
            return self._answer(command, error=_BAD_CHECKSUM)
        try:
            return do(data)
        except struct.error:
            return self._answer(command, error=_INVALID)

    def _answer(self, command: int, value: int = 0, data: bytes = b"", error: int = 0) -> bytes:
        status = bytes([1 if error else 0, error]) + (b"" if self.stub else b"\0\0")
        body = data + status
        return _escaped(struct.pack("<BBHI", 1, command, len(body), value) + body)

    # registers

    def _register(self, address: int) -> int:
        if address == _SPI_COMMAND:
            return 0  # whatever was started is done
        if address == _SPI_W0:
            return _FLASH_ID if self.registers.get(_SPI_USER2, 0) & 0xFF == _READ_ID else 0
        return self.registers.get(address, 0)

    def _write_register(self, data: bytes) -> bytes:
        for at in range(0, len(data), 16):
            address, value, mask, _ = struct.unpack_from("<IIII", data, at)
            self.registers[address] = self.registers.get(address, 0) & ~mask | value & mask
        return self._answer(0x09)

    def _start_stub(self, data: bytes) -> bytes:
        answer = self._answer(0x06)
        if _words(data, 1)[0]:
            return answer  # "stay in the loader"
        self.stub = True
        return answer + _escaped(b"OHAI")

    # flash

    def _begin(self, command: int, data: bytes, *, compressed: bool) -> bytes:
        size, _, _, offset = _words(data, 4)
        if offset + size > SIZE:
            return self._answer(command, error=_FAILED)
        self._close_region()
        self._pause_for_erase()
        self.memory.erase(offset, size)
        self.region = _Region(offset, size, compressed)
        return self._answer(command)

    def _block(self, command: int, data: bytes) -> bytes:
        length, number = _words(data, 2)
        region, block = self.region, data[16 : 16 + length]
        if region is None or number not in (region.block - 1, region.block):
            return self._answer(command, error=_FAILED)
        if number == region.block - 1:
            return self._answer(command)  # sent again because our answer was lost
        self.frames += 1
        if self.faults.cut_after is not None and self.frames > self.faults.cut_after:
            raise LinkLost
        if region.inflate is not None:
            try:
                block = region.inflate.decompress(block)
            except zlib.error:
                return self._answer(command, error=_FAILED)
        block = block[: region.size - region.received]
        if self.faults.bad_cell and block and not region.received:
            block = block[:-1] + bytes([block[-1] ^ 1])
        self.memory.write(region.offset + region.received, block)
        region.received += len(block)
        region.block += 1
        if self.faults.pace and self.pause:
            self.pause(max(0.0, region.started + region.received / self.faults.pace - time.monotonic()))
        return self._answer(command)

    def _close_region(self) -> None:
        self.done, self.region = self.written, None

    def _erase(self, command: int, offset: int, size: int) -> bytes:
        if offset + size > SIZE:
            return self._answer(command, error=_FAILED)
        self._close_region()
        self._pause_for_erase()
        self.memory.erase(offset, size)
        self.done.append(Written(offset, size, 0))
        return self._answer(command)

    def _pause_for_erase(self) -> None:
        if self.faults.erase_seconds and self.pause:
            self.pause(self.faults.erase_seconds)

    def _md5(self, data: bytes) -> bytes:
        offset, size = _words(data, 2)
        digest = hashlib.md5(self.memory.read(offset, size), usedforsecurity=False)
        return self._answer(0x13, 0, digest.digest() if self.stub else digest.hexdigest().encode())

    def _read_slowly(self, data: bytes) -> bytes:
        offset, size = _words(data, 2)
        return self._answer(0x0E, 0, self.memory.read(offset, min(size, 64)).ljust(64, b"\0"))

    def _read(self, data: bytes) -> bytes:
        offset, size, block, in_flight = _words(data, 4)
        self.reading = _Reading(self.memory.read(offset, size), block, in_flight)
        return self._answer(0xD2) + self._acknowledged(0)

    def _acknowledged(self, count: int) -> bytes:
        reading = self.reading
        assert reading is not None
        if count >= len(reading.data):
            self.reading = None
            return _escaped(hashlib.md5(reading.data, usedforsecurity=False).digest())
        return b"".join(map(_escaped, reading.pieces(count)))


def _words(data: bytes, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", data)


def _escaped(frame: bytes) -> bytes:
    return END + frame.replace(b"\xdb", b"\xdb\xdd").replace(END, b"\xdb\xdc") + END


def _unescaped(frame: bytes) -> bytes:
    return frame.replace(b"\xdb\xdc", END).replace(b"\xdb\xdd", b"\xdb")
