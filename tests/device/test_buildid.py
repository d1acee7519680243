"""Which build a device says it runs, and whether that is the one that was sent."""

from __future__ import annotations

import hashlib

import pytest

from k1ctl.device import buildid
from k1ctl.errors import ConfigError, WrongDataError
from tests.device.fakes import DESCRIPTION, make_image

ELF = hashlib.sha256(b"elf").digest()
DESCRIBED = DESCRIPTION[:16] + b"v1.4-3-gabcdef\0".ljust(32, b"x") + DESCRIPTION[48:144] + ELF + DESCRIPTION[176:]
IMAGE = make_image(description=DESCRIBED)
MANIFEST = {"id": "a1", "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False}


@pytest.mark.parametrize("text", ["", "build.id", "/api/info", "/api/info:", "/api/info:a..b", "/api/in fo:a"])
def test_what_is_no_place(text: str) -> None:
    """A setting that is no route with keys is exit 78."""
    with pytest.raises(ConfigError):
        buildid.place(text)
    assert buildid.place("/api/device/info:build.id") == ("/api/device/info", ["build", "id"])


def test_what_is_expected() -> None:
    """By digest the image's or its ELF's; by version the description's; by commit the manifest's, and whether the tree
    was changed."""
    image = hashlib.sha256(IMAGE).hexdigest()
    assert buildid.expected(IMAGE, MANIFEST, "sha256") == [image, ELF.hex()]
    assert buildid.expected(make_image(), {}, "sha256") == [hashlib.sha256(make_image()).hexdigest()]
    assert buildid.expected(IMAGE, MANIFEST, "version") == ["v1.4-3-gabcdef"]
    assert buildid.expected(IMAGE, {**MANIFEST, "dirty": True}, "commit") == [f"{MANIFEST['commit']}-dirty"]
    for image_without, rule in ((make_image(), "version"), (b"not ours", "version"), (IMAGE, "commit")):
        with pytest.raises(WrongDataError) as caught:
            buildid.expected(image_without, {"id": "a1", "commit": None}, rule)
        assert caught.value.code == "no-build-id"


@pytest.mark.parametrize(
    ("word", "ids", "rule", "same"),
    [
        ("0123456789ABCDEF", ["0123456789abcdef00"], "sha256", True),
        ("0123456", ["0123456789abcdef00"], "sha256", False),
        ("", ["0123456789abcdef00"], "sha256", False),
        ("0123456", ["0123456789abcdef00"], "commit", True),
        ("0123456-dirty", ["0123456789abcdef00"], "commit", False),
        ("0123456-dirty", ["0123456789abcdef00-dirty"], "commit", True),
        ("0123456", ["0123456789abcdef00-dirty"], "commit", False),
        ("01234567zz", ["01234567zz"], "sha256", False),
        ("v1.4", ["v1.4"], "version", True),
        ("v1", ["v1.4"], "version", False),
    ],
)
def test_what_matches(word: str, ids: list[str], rule: str, same: bool) -> None:
    """Digests by their first digits, 8 or 7 at least; a version as a whole; a changed tree is another build."""
    assert buildid.matches(word, ids, rule) is same


def test_what_is_told() -> None:
    """A text or a number at the end of the keys; everything else tells nothing."""
    document = {"build": {"id": "ab", "number": 7, "list": [1], "yes": True}}
    said = [buildid.told(document, ["build", key]) for key in ("id", "number", "list", "yes", "none")]
    assert said == ["ab", "7", "", "", ""] and buildid.told([], ["build"]) == ""
