"""What a device said, kept: ``ops/device/NAME.console/``, a file (0600) a session, its bytes as they came.

A file is named after its start (UTC) and the process that wrote it; ``.2``, ``.3`` behind that is the same session
past the size limit. Whoever writes one holds its flock, so that no other removes it.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import NamedTuple

from k1ctl.files import flock, same_file
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.workspace import Workspace

_END = ".log"
_LOOK = 1.0  # s between two looks whether the file is still there
_SEPARATORS = {ord(c): None for c in "-:."}


def folder(workspace: Workspace, name: str) -> str:
    """Where the logs of device ``name`` are."""
    from k1ctl.artifacts import file_name

    return workspace.ops_path("device", f"{file_name(name)}.console")


class Kept(NamedTuple):
    """A kept log: its ``path``, its ``session`` (the name without the number of the part), ``started_at`` (RFC 3339),
    its size in ``bytes``, when it was written last (``written``, seconds since the epoch), and whether it still is."""

    path: str
    session: str
    started_at: str
    bytes: int
    written: float
    open: bool

    def document(self) -> dict[str, Any]:
        """As JSON tells it."""
        at = rfc3339(self.written)
        return {
            "path": self.path,
            "session": self.session,
            "started_at": self.started_at,
            "bytes": self.bytes,
            "written_at": at,
            "open": self.open,
        }


def kept(place: str) -> list[Kept]:
    """The logs in a folder, oldest first."""
    found = []
    try:
        names = os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return []
    for name in names:
        row = _row(os.path.join(place, name)) if name.endswith(_END) else None
        if row is not None:
            found.append(row)
    return sorted(found, key=lambda row: (row.session, _part(row.path)))


def _row(path: str) -> Kept | None:
    name = os.path.basename(path).removesuffix(_END)
    session = name.partition(".")[0]
    stamp = session.partition("-")[0]
    if len(stamp) != 19 or stamp[8] != "T" or stamp[-1] != "Z":
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        there = os.fstat(fd)
        live = not flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, path)
    finally:
        os.close(fd)
    day, clock = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}", f"{stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}.{stamp[15:18]}"
    return Kept(path, session, f"{day}T{clock}Z", there.st_size, there.st_mtime, live)


def _part(path: str) -> int:
    part = os.path.basename(path).removesuffix(_END).partition(".")[2]
    return int(part) if part.isdigit() else 1


class Log:
    """The log of one session, written as the bytes come; a part of at most ``limit`` bytes, ``keep`` files in all.

    A disk that is full costs what could not be written, not the session: ``lost`` counts those bytes. A file that was
    cleaned away (git clean) is gone; the session goes on in another one within a second.
    """

    def __init__(self, place: str, *, keep: int, limit: int) -> None:
        self.place, self.keep, self.limit = place, max(keep, 1), max(limit, 1)
        self.looked = time.monotonic()
        self.session, self.path, self.part, self.fd, self.size, self.lost = "", "", 0, -1, 0, 0
        while self.fd < 0:
            self.session, self.part = f"{rfc3339().translate(_SEPARATORS)}-{os.getpid()}", 0
            try:
                self._next()
            except FileExistsError:  # two sessions of one process in one millisecond
                continue

    def _next(self) -> None:
        """Begin another part. Raises OSError."""
        os.makedirs(self.place, exist_ok=True)
        self.part += 1
        number = f".{self.part}" if self.part > 1 else ""
        path = os.path.join(self.place, f"{self.session}{number}{_END}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        flock(fd, fcntl.LOCK_EX, path)  # whoever lists the logs has it for a moment
        self.close()
        self.fd, self.path, self.size = fd, path, 0
        self._prune()

    def _prune(self) -> None:
        rows = kept(self.place)
        for row in rows[: max(len(rows) - self.keep, 0)]:
            if not row.open:
                try:
                    os.unlink(row.path)
                except OSError:
                    pass

    def write(self, data: bytes) -> None:
        """Append what the device said."""
        view = memoryview(data)
        while view:
            try:
                if self.size >= self.limit or self._cleaned_away():
                    self._next()
                count = os.write(self.fd, view[: self.limit - self.size])
            except OSError:
                self.lost += len(view)
                return
            self.size += count
            view = view[count:]

    def _cleaned_away(self) -> bool:
        now = time.monotonic()
        if now - self.looked < _LOOK:
            return False
        self.looked = now
        return not same_file(self.fd, self.path)

    def close(self) -> None:
        """It is complete."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def discard_if_empty(self) -> None:
        """Leave no file, and no ``path``, where the device said nothing."""
        self.close()
        if self.part == 1 and not self.size:
            try:
                os.unlink(self.path)
            except OSError:
                pass
            self.path = ""
