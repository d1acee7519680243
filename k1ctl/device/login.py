"""The login of ArduinoOTA: where its password comes from, and what answers a device's nonce.

Protocol (arduino-esp32, libraries/ArduinoOTA, tools/espota.py): ``AUTH NONCE`` asks, ``200 CNONCE RESPONSE`` answers.
A nonce of 32 hex digits (before core 3.3.1): RESPONSE is the MD5 of ``HASH:NONCE:CNONCE``, HASH the password's MD5.
A nonce of 64: KEY is PBKDF2-HMAC-SHA256 of HASH with the salt ``NONCE:CNONCE`` in 10000 rounds, RESPONSE the SHA-256 of
``KEY:NONCE:CNONCE``, HASH the password's SHA-256, or its MD5 where the firmware stores that. Every hash goes in and
out as hex text.
"""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HASHES = {32: ("md5",), 64: ("sha256", "md5")}  # digits of a nonce: hashes of the password to try, in this order
ROUNDS = 10_000
_LIMIT = 4096  # bytes of a password file that are looked at


class Password:
    """A password that cannot be printed by accident: nothing but its hashes leaves the object."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        self._text = text

    def hashed(self, name: str) -> str:
        """Its ``md5`` or ``sha256`` as hex digits."""
        import hashlib

        return hashlib.new(name, self._text, usedforsecurity=False).hexdigest()


def answer(password: Password, nonce: str, hash_name: str) -> bytes:
    """The datagram that answers ``nonce``, with the password hashed by ``hash_name`` (one of `HASHES`)."""
    cnonce = os.urandom(len(nonce) // 2).hex()
    return f"200 {cnonce} {response(password.hashed(hash_name), nonce, cnonce)}\n".encode()


def response(password_hash: str, nonce: str, cnonce: str) -> str:
    """What proves that one knows ``password_hash`` (hex digits) for these nonces; the nonce's length tells the rule."""
    from hashlib import md5, pbkdf2_hmac, sha256

    salt = f"{nonce}:{cnonce}"
    if len(nonce) == 32:
        return md5(f"{password_hash}:{salt}".encode(), usedforsecurity=False).hexdigest()
    key = pbkdf2_hmac("sha256", password_hash.encode(), salt.encode(), ROUNDS).hex()
    return sha256(f"{key}:{salt}".encode()).hexdigest()


def configured(device: Mapping[str, Any]) -> Password | None:
    """The password that a device's section names: the variable ``password_env`` when it is set, else the first line of
    ``password_file`` (an absolute path). None when neither is configured.

    Raises ConfigError (code ota-password-missing, ota-password-file), without a word of what was found.
    """
    variable, path = str(device.get("password_env") or ""), str(device.get("password_file") or "")
    text = os.environ.get(variable, "") if variable else ""
    if text:
        return Password(os.fsencode(text))
    if path:
        return Password(_read(path))
    if variable:
        raise ConfigError(
            f"the environment variable {variable}, the OTA password of {_name(device)}, is not set",
            hint="set it where k1ctl is called, or name a password_file in the device's section",
            code="ota-password-missing",
        )
    return None


def needed(host: str) -> ConfigError:
    """The error of a device that asks for a password which nobody configured."""
    return ConfigError(
        f"{host} asks for an OTA password, and none is configured",
        hint="set password_env (the name of an environment variable) or password_file in the device's section",
        code="ota-password-needed",
    )


def _name(device: Mapping[str, Any]) -> str:
    return str(device.get("name") or device.get("host") or "the device")


def _read(path: str) -> bytes:
    """The first line of a file that only its owner, who is us, can read."""
    import stat

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us
    except OSError as exc:
        raise _unusable(f"cannot be read: {exc.strerror}", path, "write the password into it, then chmod 600") from exc
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise _unusable("is no file", path, "name a file that holds the password in its first line")
        if facts.st_uid != os.geteuid():
            raise _unusable("belongs to another user", path, "use a file of your own")
        if facts.st_mode & 0o077:
            mode = stat.S_IMODE(facts.st_mode)
            raise _unusable(f"can be read or written by others (mode {mode:o})", path, f"chmod 600 {path}")
        text = os.read(fd, _LIMIT).split(b"\n", 1)[0].removesuffix(b"\r")
    finally:
        os.close(fd)
    if not text:
        raise _unusable("has an empty first line", path, "write the password into its first line")
    return text


def _unusable(why: str, path: str, hint: str) -> ConfigError:
    return ConfigError(f"password_file {path} {why}", hint=hint, code="ota-password-file")
