"""Seeds: a ``node_modules`` built once for what it was built from, kept in k1ctl's cache, never changed afterwards.

A seed is the folder ``KEY`` with ``node_modules`` and ``seed.json`` beside it, renamed into its place when both are
whole. Whoever takes copies of it holds a shared flock of ``KEY.lock``; who builds or removes it an exclusive one, which
npm inherits. Its files are read-only; a digest over names, modes, sizes and times tells whether anybody changed one.
The digest is the seed's name among those of one key that replaced each other: who has links to files of one keeps it.
"""

from __future__ import annotations

import fcntl
import os
import random
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl import clone
from k1ctl.errors import K1ctlError
from k1ctl.files import flock, read_json, same_file, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

KEEP_SECONDS = 30 * 86400.0
KEEP_COUNT = 8  # beside the one just built
_TRIES = 3
_FRESH = ".tmp-"  # before a key: what is being built, or removed


class Seed(NamedTuple):
    """One that is whole and held: ``folder`` its ``node_modules``; ``facts`` what its builder noted; ``built`` whether
    this very call built it; ``read_only`` the files that were so before it became a seed; ``digest`` of its listing."""

    folder: str
    listing: clone.Listing
    facts: dict[str, Any]
    built: bool
    read_only: list[str]
    digest: str


@contextmanager
def hold(
    home: str,
    key: str,
    build: Callable[[str, int], dict[str, Any]],
    say: Callable[[str], None],
) -> Iterator[Seed]:
    """The seed of ``key`` in folder ``home``, built when it is missing or damaged, and kept while it is held.

    ``build(folder, lock)`` makes ``node_modules`` in ``folder`` and returns facts for `Seed.facts`; ``lock`` is the
    descriptor that its program should inherit. Raises what ``build`` raises, OSError, and K1ctlError (seed-unstable)
    when seeds come out damaged.
    """
    os.makedirs(home, mode=0o700, exist_ok=True)
    path, built, tries = os.path.join(home, f"{key}.lock"), False, 0
    while True:
        fd, failed = _shared(path, say), False
        try:
            seed = _whole(home, key)
            if seed is not None:
                os.utime(path)  # when it was used last: the oldest go first
                yield seed._replace(built=built)
                return
            if tries == _TRIES:
                raise K1ctlError(f"the seed {key} is changed by somebody as it is built", code="seed-unstable")
            if flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path) and same_file(fd, path):
                if _whole(home, key) is None:  # turning a shared lock into an exclusive one lets others in between
                    try:
                        _build(home, key, build, fd)
                    except BaseException:
                        failed = True
                        raise
                    tries, built = tries + 1, True
                fcntl.flock(fd, fcntl.LOCK_UN)  # also when npm left a daemon behind that inherited the descriptor
                continue
        finally:
            os.close(fd)
            if failed:  # a builder that outlived its call still holds the lock, and works in its folder: both stay
                with suppress(OSError):
                    _drop(home, key)
        time.sleep(random.uniform(0.01, 0.05))  # others look, too: one of them builds


def _shared(path: str, say: Callable[[str], None]) -> int:
    """A descriptor of ``path`` under a shared flock, waiting for whoever builds."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, path):
                say("another set-up is installing these very packages; waiting for it")
                flock(fd, fcntl.LOCK_SH, path)
            if same_file(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _whole(home: str, key: str) -> Seed | None:
    """The seed if it is what its builder left; None when it is missing, or a file is missing, more or another."""
    folder = os.path.join(home, key)
    told = read_json(os.path.join(folder, "seed.json"))
    if not isinstance(told, dict):
        return None
    modules = os.path.join(folder, "node_modules")
    try:
        listing = clone.scan(modules)
    except (OSError, K1ctlError):
        return None
    digest = listing.digest()
    if len(listing.files) != told.get("files") or digest != told.get("digest"):
        return None
    _close(modules, listing)
    return Seed(modules, listing, told.get("facts", {}), False, told.get("read_only", []), digest)


def replaced(homes: Iterable[str], key: str, digest: str) -> bool:
    """Whether a seed of ``key`` is another than that of ``digest``, which somebody changed, or which was gone."""
    told = [read_json(os.path.join(home, key, "seed.json")) for home in homes]
    return any(isinstance(t, dict) and t.get("digest") != digest for t in told)


def _build(home: str, key: str, build: Callable[[str, int], dict[str, Any]], lock: int) -> None:
    folder, scratch = os.path.join(home, key), os.path.join(home, _FRESH + key)
    remove(folder, scratch)
    os.mkdir(scratch, 0o700)
    try:
        begun = time.monotonic()
        facts = build(scratch, lock)
        for name in os.listdir(scratch):
            if name != "node_modules":
                os.unlink(os.path.join(scratch, name))
        modules = os.path.join(scratch, "node_modules")
        os.makedirs(modules, exist_ok=True)  # npm makes none for no packages
        read_only = _close(modules, clone.scan(modules))
        listing = clone.scan(modules)
        told = {
            "key": key,
            "files": len(listing.files),
            "bytes": sum(item.size for item in listing.files),
            "digest": listing.digest(),
            "build_seconds": round(time.monotonic() - begun, 3),
            "read_only": read_only,
            "facts": facts,
        }
        write_json(os.path.join(scratch, "seed.json"), told)
        os.rename(scratch, folder)
    except BaseException:
        with suppress(OSError):
            clone.remove_tree(scratch)
        raise


def _close(modules: str, listing: clone.Listing) -> list[str]:
    """Take the right to write from all files: hard links to them are changed by nobody unawares. Returns those that
    nobody could write before."""
    before = []
    for item in listing.files:
        mode = stat.S_IMODE(item.mode)
        if not mode & stat.S_IWUSR:
            before.append(item.path)
        if mode & 0o222:
            os.chmod(os.path.join(modules, item.path), mode & ~0o222)
    return before


def remove(folder: str, scratch: str) -> None:
    """Remove a seed, for who holds its exclusive lock: out of its place in one step, then file by file."""
    clone.remove_tree(scratch)
    try:
        os.rename(folder, scratch)
    except FileNotFoundError:
        return
    clone.remove_tree(scratch)


def prune(home: str, keep: str, *, seconds: float = KEEP_SECONDS, count: int = KEEP_COUNT) -> list[str]:
    """Remove the seeds not used for ``seconds``, and the longest unused beyond ``count``; never one that is held, nor
    ``keep``. Returns their keys."""
    found: list[tuple[float, str]] = []
    for name in os.listdir(home):
        if name.startswith(".k1ctl-probe-"):  # of a call that was killed while it tried the filesystem
            _forget(os.path.join(home, name))
        key = name.removesuffix(".lock")
        if key != name and key != keep:
            try:
                found.append((os.stat(os.path.join(home, name)).st_mtime, key))
            except FileNotFoundError:
                continue
    found.sort(reverse=True)
    old = time.time() - seconds
    return [key for at, (used, key) in enumerate(found) if (used < old or at >= count) and _drop(home, key)]


def _forget(path: str) -> None:
    try:
        if os.stat(path).st_mtime < time.time() - 60:
            os.unlink(path)
    except FileNotFoundError:
        pass


def _drop(home: str, key: str) -> bool:
    """Whether the seed went; one that is held stays."""
    path = os.path.join(home, f"{key}.lock")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path) or not same_file(fd, path):
            return False
        remove(os.path.join(home, key), os.path.join(home, _FRESH + key))
        os.unlink(path)  # last, under the lock: who waits for it finds another file there and begins anew
        return True
    finally:
        os.close(fd)
