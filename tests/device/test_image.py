"""An image is taken only when it is whole, for the chip, and small enough."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.device.image import CHIP_IDS, ImageInfo, check_filesystem, check_image, xor_bytes
from k1ctl.errors import WrongDataError
from tests.device.fakes import make_image

SEGMENTS = st.lists(st.binary(min_size=0, max_size=300), min_size=1, max_size=16)
CHIPS = st.sampled_from(sorted(CHIP_IDS))


def refusal(image: bytes, chip: str = "esp32s3", size: int = 0) -> str:
    with pytest.raises(WrongDataError) as caught:
        check_image(image, chip, size)
    assert caught.value.exit_code == 65
    return caught.value.code


@given(SEGMENTS, CHIPS, st.booleans())
def test_valid_images_pass(segments: list[bytes], chip: str, digest: bool) -> None:
    """Every image made after the format is taken, and described."""
    image = make_image(segments, chip, digest)
    assert check_image(image, chip, len(image)) == ImageInfo(len(image), chip, len(segments), digest)


@given(SEGMENTS, CHIPS, st.booleans(), st.data())
def test_a_changed_magic_or_chip_is_refused(
    segments: list[bytes], chip: str, digest: bool, data: st.DataObject
) -> None:
    """One flipped bit in the magic or the chip id is always told by its own code."""
    image = bytearray(make_image(segments, chip, digest))
    at = data.draw(st.sampled_from([0, 12, 13]))
    image[at] ^= 1 << data.draw(st.integers(0, 7))
    assert refusal(bytes(image), chip) == ("image-foreign" if at == 0 else "image-wrong-chip")


@given(SEGMENTS, CHIPS, st.booleans(), st.data())
def test_truncation_is_refused(segments: list[bytes], chip: str, digest: bool, data: st.DataObject) -> None:
    """An image cut anywhere is refused."""
    image = make_image(segments, chip, digest)
    cut = data.draw(st.integers(0, len(image) - 1))
    assert refusal(image[:cut], chip) == ("image-empty" if cut == 0 else "image-truncated")


@given(SEGMENTS, st.data())
def test_a_flipped_bit_anywhere_is_refused(segments: list[bytes], data: st.DataObject) -> None:
    """With its digest, no single bit of an image can change unnoticed, but the digest's own presence."""
    image = bytearray(make_image(segments))
    at = data.draw(st.integers(0, len(image) - 1).filter(lambda i: i != 23))
    image[at] ^= 1 << data.draw(st.integers(0, 7))
    refusal(bytes(image))


@given(st.binary(max_size=200))
def test_random_bytes_never_crash_the_check(data: bytes) -> None:
    """Any file is either taken or refused."""
    for image in (data, b"\xe9" + data):
        try:
            check_image(image, "esp32s3")
        except WrongDataError:
            pass


@given(st.binary(max_size=500))
def test_xor_of_bytes(data: bytes) -> None:
    """Folding gives what a plain loop gives."""
    plain = 0
    for byte in data:
        plain ^= byte
    assert xor_bytes(data) == plain


def test_size_against_the_partition() -> None:
    """One byte more than the partition is refused, exactly fitting is not."""
    image = make_image()
    check_image(image, "esp32s3", len(image))
    assert refusal(image, size=len(image) - 1) == "image-too-large"


def test_no_chip_checks_only_size_and_emptiness() -> None:
    """chip = none takes any binary format, but nothing empty or too large, and no text that was named by mistake."""
    assert check_image(b"\x7fELF", "none") == ImageInfo(4, "", 0, False)
    assert refusal(b"", "none") == "image-empty"
    assert refusal(b"root:x:0:0:root:/root:/bin/sh\n", "none") == "image-foreign"
    assert check_image(b"\xe9", "none").size == 1
    assert refusal(b"\x0012345", "none", 4) == "image-too-large"


def test_segment_count_and_damage() -> None:
    """Impossible segment counts and damaged bytes have a code of their own."""
    image = make_image(digest=False)
    assert refusal(image[:1] + b"\x00" + image[2:]) == "image-damaged"
    assert refusal(image[:1] + b"\x11" + image[2:]) == "image-damaged"
    assert refusal(image[:40] + b"\xff" + image[41:]) == "image-damaged"


@given(SEGMENTS, CHIPS, st.booleans(), st.binary(max_size=2000))
def test_a_bootloader_is_no_application(segments: list[bytes], chip: str, digest: bool, behind: bytes) -> None:
    """A whole image without an application's description is refused, alone or with the rest of a flash behind it."""
    image = make_image(segments, chip, digest, description=b"\x50\0\0\0")
    assert refusal(image + behind, chip) == "image-foreign"


def test_a_path_is_read(tmp_path: Path) -> None:
    """A file is checked like its bytes."""
    path = tmp_path / "firmware.bin"
    path.write_bytes(make_image())
    assert check_image(path, "esp32s3").segments == 1


# Filesystem images


def superblock(size: int = 8192) -> bytes:
    """The beginning of a LittleFS, filled up to ``size`` bytes."""
    return (b"\x01\x00\x00\x00\xf0\x0f\xff\xf7littlefs" + b"\xff" * size)[:size]


def test_a_filesystem_image() -> None:
    """Whole sectors that fit pass; a warning tells of one that is smaller than its partition."""
    for image in (superblock(), bytes(4096), b"\xff" * 12288):
        assert check_filesystem(image) == check_filesystem(image, len(image)) == []
    (said,) = check_filesystem(superblock(), 0x30000)
    assert "8192 bytes" in said and "196608" in said


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", "image-empty"),
        (make_image(), "image-foreign"),
        (b"root:x:0:0::/:/bin/sh\n" * 200, "image-foreign"),
        (superblock(8000), "image-truncated"),
        (superblock(20480), "image-too-large"),
    ],
)
def test_what_is_no_filesystem_image(image: bytes, code: str) -> None:
    """Each has its code; --force lets pass only what merely looks wrong."""
    with pytest.raises(WrongDataError) as caught:
        check_filesystem(image, 16384)
    assert caught.value.code == code
    if image[:1] == b"\xe9" or code == "image-truncated":
        assert check_filesystem(image, force=True) == []
    else:
        with pytest.raises(WrongDataError):
            check_filesystem(image, 16384, force=True)


@pytest.mark.parametrize("chip", ["esp32s3", "none"])
def test_a_filesystem_is_no_application(chip: str) -> None:
    """A LittleFS is told by its superblock, also where no format is asked for."""
    assert refusal(superblock(), chip) == "image-foreign"
