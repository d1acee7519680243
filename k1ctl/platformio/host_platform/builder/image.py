"""Write an ESP32-S3 application image around code that was built for the host.

Format: https://docs.espressif.com/projects/esptool/en/latest/esp32s3/advanced-topics/firmware-image-format.html
(header, segments, XOR checksum, appended SHA-256) and ``esp_app_desc_t`` of ESP-IDF's esp_app_format component.
The device would refuse to run it, as the instructions are the host's; everything that checks images accepts it.
"""

import hashlib
import os
import struct
import subprocess

CHIP_ESP32S3 = 9
_MAGIC, _CHECKSUM_SEED = 0xE9, 0xEF
_APP_MAGIC = 0xABCD5432
_DROM, _IROM = 0x3C000000, 0x42000000  # where the S3 maps flash as data and as code
_PAGE = 0x10000  # a mapped segment has the same offset within a page in the file and in memory
_FLASH_DIO, _FLASH_80M_4MB = 2, 0x2F
_DATA = (".rodata", ".data")


def describe(version: str, project: str, digest: bytes) -> bytes:
    """The 256-byte application descriptor, without date and time: equal sources give equal images."""

    def text(value: str, size: int) -> bytes:
        return value.encode()[: size - 1].ljust(size, b"\0")

    head = struct.pack("<II8x", _APP_MAGIC, 0)
    names = text(version, 32) + text(project, 32) + bytes(32) + text("host", 32)
    return (head + names + digest + struct.pack("<HHB3x", 0, 99, 16)).ljust(256, b"\0")


def write(code: bytes, data: bytes, *, version: str, project: str, digest: bytes) -> bytes:
    """The whole image; ``data`` follows the descriptor in the first segment, ``code`` (may be empty) is the second.

    ``digest`` is the SHA-256 of the linked program: whatever differs there makes another image.
    """
    segments = [(_DROM, describe(version, project, digest) + data)]
    if code:
        segments.append((_IROM, code))
    header = struct.pack("<BBBBI", _MAGIC, len(segments), _FLASH_DIO, _FLASH_80M_4MB, _IROM)
    out = bytearray(header + struct.pack("<B3xHBHH4xB", 0xEE, CHIP_ESP32S3, 0, 0, 99, 1))
    checksum = _CHECKSUM_SEED
    for base, content in segments:
        content += bytes(-len(content) % 4)
        out += struct.pack("<II", base + (len(out) + 8) % _PAGE, len(content)) + content
        checksum ^= _xor(content)
    out += bytes(15 - len(out) % 16) + bytes([checksum])
    return bytes(out) + hashlib.sha256(out).digest()


def _xor(content: bytes) -> int:
    """XOR over all bytes, in big words: a loop over 1 MB of bytes takes 50 ms."""
    word = 8192
    total = 0
    for start in range(0, len(content), word):
        total ^= int.from_bytes(content[start : start + word], "little")
    size = word
    while size > 1:
        size //= 2
        total = (total >> (8 * size)) ^ (total & ((1 << (8 * size)) - 1))
    return total


def section(objcopy: str, program: str, name: str) -> bytes:
    """One section of the program, b"" when it has none. Raises CalledProcessError."""
    part = f"{program}{name}.part"
    try:
        subprocess.run([objcopy, "-O", "binary", "-j", name, program, part], check=True, stdout=subprocess.DEVNULL)
        with open(part, "rb") as f:
            return f.read()
    finally:
        if os.path.exists(part):
            os.unlink(part)


def convert(program: str, target: str, *, objcopy: str, version: str, project: str) -> None:
    """Pack ``program``; without objcopy (macOS) the whole linked file is the data. Raises OSError."""
    with open(program, "rb") as f:
        linked = f.read()
    code, data = b"", linked
    if objcopy:
        code, data = section(objcopy, program, ".text"), b"".join(section(objcopy, program, s) for s in _DATA)
    digest = hashlib.sha256(linked).digest()
    with open(target, "wb") as f:
        f.write(write(code, data, version=version, project=project, digest=digest))
