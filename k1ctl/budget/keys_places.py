"""Where keys are: a variable of this call's environment, or a file that only its owner reads.

A value is read to see that it is there and whether two names hold the same one, and is never told, kept or handed on.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from k1ctl.budget.keys import Key

SET, NOT_SET = "set", "not set"
_LIMIT = 4096  # bytes of a key file that are looked at


class Place:
    """Where a key was looked for: ``kind`` env or file, ``name`` of the variable or the file, ``state`` (`SET`, or why
    it is of no use), and a mark that two places with one value share in this process."""

    __slots__ = ("_mark", "kind", "name", "state")

    def __init__(self, kind: str, name: str, state: str, mark: bytes = b"") -> None:
        self.kind, self.name, self.state, self._mark = kind, name, state, mark

    @property
    def usable(self) -> bool:
        return self.state == SET

    def same(self, other: Place) -> bool:
        """Whether both hold one value."""
        return bool(self._mark) and self._mark == other._mark


def look(keys: Iterable[Key], environ: Mapping[str, str] | None = None) -> dict[str, Place]:
    """{key's name: its place}. The variable counts where it is set, else the file."""
    import hmac

    env, secret = os.environ if environ is None else environ, os.urandom(32)
    found = {}
    for key in keys:
        value, kind, name, state = b"", "env", key.env, NOT_SET
        if key.env and env.get(key.env, "").strip():
            value, state = os.fsencode(env[key.env].strip()), SET
        elif key.file:
            kind, name = "file", key.file
            value, state = _in_file(key.file)
        found[key.name] = Place(kind, name, state, hmac.digest(secret, value, "sha256") if value else b"")
    return found


def _in_file(path: str) -> tuple[bytes, str]:
    """(The first line, what is to be said of the file): nothing is read of one that others can read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hold us
    except FileNotFoundError:
        return b"", "no such file"
    except OSError as exc:
        return b"", f"cannot be read: {exc.strerror}"
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return b"", "is no file"
        if facts.st_uid != os.geteuid():
            return b"", "belongs to another user"
        if facts.st_mode & 0o077:
            return b"", f"open to others (mode {stat.S_IMODE(facts.st_mode):o}); chmod 600 it"
        value = os.read(fd, _LIMIT).split(b"\n", 1)[0].strip()
    finally:
        os.close(fd)
    return value, SET if value else "has an empty first line"


def twins(keys: Iterable[Key], places: Mapping[str, Place]) -> dict[str, str]:
    """{key: the earlier key that holds the same value}."""
    found: dict[str, str] = {}
    seen: list[str] = []
    for key in keys:
        first = next((name for name in seen if places[name].same(places[key.name])), "")
        if first:
            found[key.name] = first
        else:
            seen.append(key.name)
    return found


def warnings(keys: Iterable[Key], places: Mapping[str, Place]) -> list[str]:
    """What is to be said of names that share an account or a value."""
    keys = list(keys)
    said = []
    for bucket in dict.fromkeys(key.bucket for key in keys):
        names = [key.name for key in keys if key.bucket == bucket]
        if len(names) > 1:
            said.append(
                f"{', '.join(names)} share the bucket {bucket}: limits belong to the account, so together they have"
                " its limit once"
            )
    for name, first in twins(keys, places).items():
        said.append(f"{name} and {first} hold the same key: {name} is left out")
    return said
