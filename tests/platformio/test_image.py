from __future__ import annotations

import hashlib
import importlib.util
import os
import struct
from functools import reduce
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st

from k1ctl.platformio import HOST_PLATFORM


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image", os.path.join(HOST_PLATFORM, "builder", "image.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


IMAGE = load()


def parse(data: bytes) -> list[tuple[int, int, bytes]]:
    """Check an image the way a bootloader does; its segments as (address, offset in the file, content)."""
    magic, count = data[0], data[1]
    assert magic == 0xE9
    assert struct.unpack_from("<H", data, 12) == (9,)
    assert data[23] == 1
    at, segments, checksum = 24, [], 0xEF
    for _ in range(count):
        address, size = struct.unpack_from("<II", data, at)
        content = data[at + 8 : at + 8 + size]
        assert len(content) == size and size % 4 == 0
        segments.append((address, at + 8, content))
        checksum = reduce(lambda a, b: a ^ b, content, checksum)
        at += 8 + size
    end = (at // 16 + 1) * 16
    assert data[end - 1] == checksum
    assert data[end:] == hashlib.sha256(data[:end]).digest()
    return segments


@given(st.binary(max_size=20000), st.binary(max_size=20000), st.text(max_size=50))
def test_every_image_is_valid(code: bytes, content: bytes, version: str) -> None:
    """Magic, chip, segments, checksum, digest and descriptor are right for any content, which is all there."""
    data = IMAGE.write(code, content, version=version, project="p", digest=bytes(32))
    segments = parse(data)
    assert struct.unpack_from("<I", segments[0][2]) == (0xABCD5432,)
    assert segments[0][2][256:].startswith(content)
    assert not code or segments[1][2].startswith(code)
    for address, offset, _ in segments:
        assert address % 0x10000 == offset % 0x10000


def test_the_descriptor_names_version_and_project() -> None:
    """What the build says about itself stands where the device would read it."""
    found = IMAGE.describe("1.2.3", "k1", b"d" * 32)
    assert len(found) == 256
    assert found[16:48].rstrip(b"\0") == b"1.2.3"
    assert found[48:80].rstrip(b"\0") == b"k1"
    assert found[144:176] == b"d" * 32
