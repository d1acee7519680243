"""Files that survive a crash: replaced whole, appended whole, locked for as long as somebody lives."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from k1ctl.errors import BusyError, ConfigError
from k1ctl.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LINE_LIMIT = 4096  # bytes: one O_APPEND write of this size is not torn on a local filesystem
_NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def read_bytes(path: str) -> bytes | None:
    """The file's bytes, or None when it is not there."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_atomic(path: str, data: bytes | str, *, mode: int = 0o644, fsync: bool = False, scratch: str = "") -> None:
    """Replace ``path`` in one step: readers see the old content or the new, never a part; makes missing folders.

    ``fsync`` also survives a power cut. ``scratch`` is where the temporary file lies instead of beside ``path``: a
    folder on the same filesystem. Raises OSError.
    """
    data = data.encode() if isinstance(data, str) else data
    folder = scratch or os.path.dirname(path) or "."
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.{os.urandom(3).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(temporary, flags, mode)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        fd = os.open(temporary, flags, mode)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if fsync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def sync_data(fd: int) -> None:
    """Make what was written to the file behind ``fd``, by whomever, survive a power cut. Raises OSError."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync(2) leaves it in the drive's cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def sync_folders(*folders: str) -> None:
    """Make what was made, renamed or removed in these folders survive a power cut. Raises OSError."""
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_named(path: str, data: bytes | str) -> None:
    """Write a file that a user named: replaced in one step, behind a link where ``path`` is one; a terminal, a pipe or
    ``/dev/null`` is written to and stays what it is. Raises OSError.
    """
    if writes_through(path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(fd, "wb") as f:
            os.set_blocking(fd, True)
            f.write(data.encode() if isinstance(data, str) else data)
        return
    write_atomic(os.path.realpath(path), data)


def writes_through(path: str) -> bool:
    """Whether ``path`` is one that `write_named` writes to without replacing it; a folder is, and cannot be written."""
    try:
        return path.startswith(("/dev/std", "/dev/fd/", "/proc/")) or not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def write_json(path: str, value: Any, *, mode: int = 0o644, fsync: bool = False) -> None:
    """Replace ``path`` by one JSON document. Raises OSError."""
    write_atomic(path, dumps(value) + "\n", mode=mode, fsync=fsync)


def read_json(path: str) -> Any:
    """The JSON document in ``path``, or None when there is none or it cannot be parsed."""
    data = read_bytes(path)
    try:
        return None if data is None else loads(data.decode())
    except ValueError:
        return None


def append_line(path: str, line: str) -> None:
    """Append one line in one write, so that no two writers tear each other's; makes missing folders.

    Raises ValueError when the line is longer than `LINE_LIMIT` bytes, OSError when it cannot be written whole.
    """
    data = (line + "\n").encode()
    if len(data) > LINE_LIMIT:
        raise ValueError(f"a line of {len(data)} bytes; {LINE_LIMIT} at most")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        fd = os.open(path, flags, 0o644)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(fd)


def append_recent(path: str, line: str, limit: int) -> None:
    """Append a line to a file of past figures, whose older half goes when it passes ``limit`` bytes.

    A file that cannot be written is no error: only an estimate is lost. Two at once may lose lines when it is halved.
    """
    try:
        append_line(path, line)
        if os.stat(path).st_size > limit:
            lines = (read_bytes(path) or b"").splitlines(keepends=True)
            write_atomic(path, b"".join(lines[len(lines) // 2 :]))
    except OSError:
        pass


def flock(fd: int, operation: int, path: str) -> bool:
    """``fcntl.flock``; False when another holder is there (only with LOCK_NB).

    Raises ConfigError when the filesystem has no flock.
    """
    try:
        fcntl.flock(fd, operation)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno in _NO_FLOCK:
            raise ConfigError(
                f"{path}: this filesystem has no flock ({exc.strerror})",
                hint="keep ops/ on a local disk, or set [queue] dir to a folder on one",
                code="no-flock",
            ) from exc
        raise
    return True


def open_locked(path: str, *, blocking: bool = True, mode: int = 0o644) -> int | None:
    """A descriptor of ``path`` held under an exclusive flock; None when busy and not ``blocking``.

    The file is made when missing and never unlinked by k1ctl; when somebody else removed or replaced it while we
    waited (``git clean``), the lock is taken anew on the file that is there now. Close the descriptor to release.
    Raises ConfigError (no flock), OSError.
    """
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            continue
        try:
            locked = flock(fd, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB), path)
            if not locked:
                os.close(fd)
                return None
            if same_file(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def same_file(fd: int, path: str) -> bool:
    """Whether ``path`` still names the file behind ``fd``."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)


class Locked:
    """``with Locked(path):`` holds an exclusive flock; with ``blocking=False`` raises BusyError when it is held."""

    def __init__(self, path: str, *, blocking: bool = True) -> None:
        self.path, self.blocking, self.fd = path, blocking, -1

    def __enter__(self) -> Locked:
        fd = open_locked(self.path, blocking=self.blocking)
        if fd is None:
            raise BusyError(f"{self.path} is held by another process")
        self.fd = fd
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)
