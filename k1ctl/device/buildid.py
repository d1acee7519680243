"""Which build a device says it runs, and whether that is the one that was sent.

The K1's own firmware tells none. One that does is asked where ``devices.NAME.build_id`` says; what it has to tell
follows from the image itself, or from the commit it was built of.
"""

from __future__ import annotations

import re

from k1ctl.errors import ConfigError, WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SHA256, VERSION, COMMIT = "sha256", "version", "commit"  # rules: what `targets.NAME.build_id` may be
_DESCRIPTION_AT, _DESCRIPTION = 0x20, bytes.fromhex("3254cdab")  # esp_app_desc_t begins with its magic word
_VERSION_AT, _VERSION_LENGTH, _ELF_AT, _ELF_LENGTH = 0x30, 32, 0xB0, 32  # its fields version and app_elf_sha256
_LEAST = {SHA256: 8, COMMIT: 7}  # hex digits that tell builds apart


def place(text: str) -> tuple[str, list[str]]:
    """(Route, keys) of a ``build_id`` setting such as ``/api/device/info:build.id``. Raises ConfigError."""
    path, colon, keys = text.partition(":")
    if not (colon and path.startswith("/") and all(keys.split("."))) or any(c.isspace() for c in text):
        raise ConfigError(
            f"build_id {text!r} is not a route and the keys in its document",
            hint='as in build_id = "/api/device/info:build.id"',
            code="bad-build-id",
        )
    return path, keys.split(".")


def expected(image: bytes, manifest: Mapping[str, Any], rule: str) -> list[str]:
    """What a device that runs ``image`` may tell, by the rule of its target.

    ``sha256``: the image's SHA-256, and that of its ELF, which the linker's tool leaves in the app's description
    (esp_app_format.h; esp_app_get_elf_sha256 tells it on the device). ``version``: the description's version.
    ``commit``: the manifest's, with ``-dirty`` behind it where the tree was changed. Raises WrongDataError (code
    no-build-id) where the image has none of it.
    """
    from hashlib import sha256

    described = image[_DESCRIPTION_AT : _DESCRIPTION_AT + 4] == _DESCRIPTION
    if rule == SHA256:
        elf = image[_ELF_AT : _ELF_AT + _ELF_LENGTH].hex() if described else ""
        return [sha256(image).hexdigest(), *([elf] if elf.strip("0") else [])]
    if rule == VERSION:
        raw = image[_VERSION_AT : _VERSION_AT + _VERSION_LENGTH] if described else b""
        found = raw.partition(b"\0")[0].decode("utf-8", "replace")
    else:
        commit = str(manifest.get("commit") or "")
        found = f"{commit}-dirty" if commit and manifest.get("dirty") else commit
    if not found:
        raise WrongDataError(
            f"artifact {manifest.get('id', '')} has no {rule} that the device could tell",
            hint='build it in a git repository, or set build_id = "sha256" in its target',
            code="no-build-id",
        )
    return [found]


def told(document: Any, keys: list[str]) -> str:
    """The build id in an answer of the device; "" where it tells none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return str(document) if isinstance(document, str | int) and not isinstance(document, bool) else ""


def matches(word: str, ids: list[str], rule: str) -> bool:
    """Whether the device's word names one of ``ids``: whole, or where they are digests by their first digits."""
    if rule == VERSION:
        return word in ids
    digits, dash, rest = word.lower().partition("-")
    if len(digits) < _LEAST[rule] or not re.fullmatch("[0-9a-f]+", digits):
        return False
    for known in ids:
        whole, known_dash, known_rest = known.lower().partition("-")
        if whole.startswith(digits) and (dash, rest) == (known_dash, known_rest):
            return True
    return False
