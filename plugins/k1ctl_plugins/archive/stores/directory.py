"""A store in a folder: another disk, or one that the network brings.

A file is written beside its place, flushed and renamed, so that under a key there is the old or the new, whole. No
link below the folder is followed. Where the disk is not mounted, its mount point is an empty folder like any other:
so the folder has to hold the file ``.k1ctl-store``, which only a person's word makes.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import contextmanager

from k1ctl.errors import ConfigError
from k1ctl.stores import Store, StoreError, check_key, is_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MARKER = ".k1ctl-store"
_TEMPORARY = "~"  # what a temporary file's name begins with: in no key
_LEFT_BEHIND = 86400.0  # s: a temporary file that nobody touched for so long is nobody's any more
_BLOCK = 1 << 20  # bytes
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # what filesystems of a network say to it for a folder
_HINTS = {
    errno.ENOSPC: "free some room there; what was sent already is not sent again",
    errno.EDQUOT: "free some of its quota; what was sent already is not sent again",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "its folder belongs to somebody else: chown or chmod it",
}
_TRIES = 5  # a folder that somebody empties and removes meanwhile is made again so often
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryStore(Store):
    """The store ``name`` in the folder ``path`` (absolute, or below ``~``), which has to be there.

    Every use raises ConfigError for another path.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, os.path.expanduser(path)

    def prepare(self) -> None:
        from k1ctl.files import write_json
        from k1ctl.units import rfc3339

        with self._told():
            self._check_folder()
            marker = os.path.join(self.path, MARKER)
            if not os.path.lexists(marker):
                write_json(marker, {"format": 1, "at": rfc3339()}, fsync=True)

    def put(self, key: str, path: str) -> None:
        with self._told(), open(path, "rb") as source, self._top() as top:
            *folders, name = check_key(key).split("/")
            for attempt in range(_TRIES):
                try:
                    with _descend(top, folders, make=True) as folder:
                        _write(folder, name, source)
                    return
                except FileNotFoundError:
                    if attempt == _TRIES - 1:
                        raise
                    source.seek(0)

    def get(self, key: str, path: str) -> None:
        with self._told(), self._top() as top:
            *folders, name = check_key(key).split("/")
            try:
                with _descend(top, folders) as folder:
                    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                raise KeyError(key) from None
            with open(fd, "rb") as source:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise KeyError(key)
                _copy_new(source, path)

    def list(self, prefix: str) -> list[tuple[str, int]]:
        with self._told(), self._top() as top:
            parts = prefix.split("/")[:-1]
            if parts and not is_key("/".join(parts)):
                return []
            try:
                with _descend(top, parts) as folder:
                    found = list(_walk(folder, "".join(f"{part}/" for part in parts), prefix))
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(found)

    def delete(self, key: str) -> None:
        with self._told(), self._top() as top:
            *folders, name = check_key(key).split("/")
            try:
                with _descend(top, folders) as folder:
                    os.unlink(name, dir_fd=folder)
                while folders:  # those that hold nothing any more go as well
                    with _descend(top, folders[:-1]) as folder:
                        os.rmdir(folders.pop(), dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as exc:
                if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    def _check_folder(self) -> None:
        if not os.path.isabs(self.path):
            why = f"{self.path!r} is not absolute" if self.path else "is not set"
            raise ConfigError(f"[stores.{self.name}] path {why}", hint='as in path = "~/nas/k1ctl"', code="bad-store")
        if not os.path.isdir(self.path):
            raise StoreError(
                f"store {self.name}: there is no folder {self.path}",
                hint="mount its disk, or make the folder and push with --init-store",
                code="store-missing",
            )

    @contextmanager
    def _top(self) -> Iterator[int]:
        """A descriptor of the folder, whose marker was seen."""
        self._check_folder()
        fd = os.open(self.path, _FOLDER & ~os.O_NOFOLLOW)
        try:
            try:
                marked = stat.S_ISREG(os.stat(MARKER, dir_fd=fd, follow_symlinks=False).st_mode)
            except FileNotFoundError:
                marked = False
            if not marked:
                raise StoreError(
                    f"store {self.name}: {self.path} holds no {MARKER}, so it may be a mount point without its disk",
                    hint=f"mount it; for a new store push with --init-store --store {self.name}",
                    code="store-unmarked",
                )
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            named = str(exc.filename or "")
            where = named if os.path.isabs(named) else self.path  # relative: of a file within
            hint = _HINTS.get(exc.errno or 0, "check its disk or its network, then call it again")
            raise StoreError(f"store {self.name}: {exc.strerror}: {where}", hint=hint) from exc


@contextmanager
def _descend(top: int, parts: list[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder ``parts`` below ``top``, no link followed. Raises OSError."""
    fd = os.dup(top)
    try:
        for part in parts:
            if make:
                try:
                    os.mkdir(part, 0o700, dir_fd=fd)
                except FileExistsError:
                    pass
            inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _write(folder: int, name: str, source: BinaryIO) -> None:
    """Put what ``source`` holds under ``name`` in one step."""
    _sweep(folder)
    temporary = f"{_TEMPORARY}{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        with open(fd, "wb") as out:
            _pour(source, out)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        try:
            os.unlink(temporary, dir_fd=folder)
        except OSError:
            pass
        raise
    try:
        os.fsync(folder)
    except OSError as exc:
        if exc.errno not in _NO_FSYNC:
            raise


def _pour(source: BinaryIO, out: BinaryIO) -> None:
    while block := source.read(_BLOCK):
        out.write(block)
    out.flush()
    os.fsync(out.fileno())


def _copy_new(source: BinaryIO, path: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
        try:
            _pour(source, out)
        except BaseException:
            os.unlink(path)
            raise


def _sweep(folder: int) -> None:
    """Remove temporary files of writers that are gone."""
    oldest = time.time() - _LEFT_BEHIND
    for name in os.listdir(folder):
        if name.startswith(_TEMPORARY):
            try:
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < oldest:
                    os.unlink(name, dir_fd=folder)
            except OSError:
                pass


def _walk(folder: int, path: str, prefix: str) -> Iterator[tuple[str, int]]:
    """(Key, bytes) of every file below ``folder``, whose path is ``path``, that begins with ``prefix``."""
    for name in os.listdir(folder):
        key = f"{path}{name}"
        if not is_key(key) or not (key.startswith(prefix) or prefix.startswith(f"{key}/")):
            continue
        try:
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(about.st_mode):
                with _descend(folder, [name]) as inner:
                    yield from _walk(inner, f"{key}/", prefix)
            elif stat.S_ISREG(about.st_mode) and key != MARKER:
                yield key, about.st_size
        except FileNotFoundError:  # somebody deletes meanwhile
            continue
