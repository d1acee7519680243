"""The device's side of ArduinoOTA's login: what it keeps of the password, its nonces, and what it takes for right.

Written for itself and not with the client's rules (k1ctl.device.login), so that both do not agree on one's error.
Facts: arduino-esp32, ArduinoOTA::setPassword and _onRx, before and after core 3.3.1.
"""

from __future__ import annotations

import hashlib
import hmac
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.device.login import Password

LOGINS = {  # how firmware may ask: (hash of the nonce, hash in which the password is kept)
    "md5": ("md5", "md5"),  # before core 3.3.1
    "sha256": ("sha256", "sha256"),
    "sha256-md5": ("sha256", "md5"),  # after it, with a hash that an older core made (setPasswordHash)
}
_ROUNDS = 10_000


class Login:
    """A device that asks for a password; ``rule`` is a key of `LOGINS`."""

    def __init__(self, password: Password, rule: str) -> None:
        self.rule = rule
        self.nonce_hash, kept = LOGINS[rule]
        self.kept = password.hashed(kept)
        self.digits = 2 * hashlib.new(self.nonce_hash, usedforsecurity=False).digest_size

    def nonce(self) -> str:
        """A fresh nonce: as long as the hash it was made with."""
        return hashlib.new(self.nonce_hash, os.urandom(16), usedforsecurity=False).hexdigest()

    def accepts(self, nonce: str, words: list[bytes]) -> bool | None:
        """Whether ``words`` (``200 CNONCE RESPONSE``) know the password; None for what is no such answer at all."""
        if len(words) != 3 or words[0] != b"200" or {len(word) for word in words[1:]} != {self.digits}:
            return None
        cnonce = words[1].decode("ascii", "replace")
        return hmac.compare_digest(self._expected(nonce, cnonce).encode(), words[2])

    def _expected(self, nonce: str, cnonce: str) -> str:
        if self.nonce_hash == "md5":
            return hashlib.md5(":".join((self.kept, nonce, cnonce)).encode(), usedforsecurity=False).hexdigest()
        salt = ":".join((nonce, cnonce)).encode()
        key = hashlib.pbkdf2_hmac("sha256", self.kept.encode(), salt, _ROUNDS).hex().encode()
        return hashlib.sha256(key + b":" + salt).hexdigest()
