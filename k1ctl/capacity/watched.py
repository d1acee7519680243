"""The folder of a limited command: what it may use, who watches it, what was seen of it, how it ended.

``<host_dir()>/capacity/limited/<id>/`` holds ``spec.json``; ``watch`` and ``standby``, which the two guardians hold
flocked, and ``owner``, which who started it does; ``seen``, figures that a guardian writes in place; and
``verdict.json``, when a guardian ended the command.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time

from k1ctl.files import flock, read_json, write_json
from k1ctl.workspace import host_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from typing import Any

WATCH, STANDBY, OWNER = "watch", "standby", "owner"
_SEEN = struct.Struct("=7d")
_FIELDS = ("now", "peak", "largest", "cpu", "suspended_at", "suspended_seconds", "rests_until")
_NB = fcntl.LOCK_EX | fcntl.LOCK_NB
_HALF = 60.0  # s that a folder may be without a spec


def folder_of_all() -> str:
    """Where the folders of this host's limited commands lie."""
    return os.path.join(host_dir(), "capacity", "limited")


class Seen:
    """What the guardians saw, shared by all who map the file; it outlives them.

    ``now``, ``peak``, ``largest`` bytes (the tree, its highest, one process's highest), ``cpu`` seconds;
    ``suspended_at`` (0: it runs) and ``suspended_seconds`` in all; ``rests_until`` it is not suspended again. Times are
    CLOCK_MONOTONIC.
    """

    def __init__(self, folder: str) -> None:
        import mmap

        fd = os.open(os.path.join(folder, "seen"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < _SEEN.size:
                os.ftruncate(fd, _SEEN.size)
            self._map: mmap.mmap = mmap.mmap(fd, _SEEN.size)
        finally:
            os.close(fd)

    def get(self) -> dict[str, float]:
        """All figures by name."""
        return dict(zip(_FIELDS, _SEEN.unpack(self._map[:]), strict=True))

    def put(self, **figures: float) -> None:
        """Write some of them."""
        for name, value in figures.items():
            struct.pack_into("=d", self._map, 8 * _FIELDS.index(name), value)

    def close(self) -> None:
        """Let the file go."""
        self._map.close()


class Watched:
    """One limited command's folder.

    The spec: ``id``, ``session`` and ``leave_out`` (a group of it that is its owner's; 0: none), ``memory`` bytes and
    ``cpus`` it may use (0: any), ``means`` (cgroup, watchdog), ``cpu_means`` (cgroup, affinity, duty, ""), ``cores`` it
    is kept on, ``cgroup`` {memory, cpu: folder}, ``since`` (seconds since 1970) and ``leader_start`` (of the session's
    leader, to know a number that was given away again), ``mark`` (a word in its environment), ``what`` it is,
    ``relief`` {suspend, kill: percent of the host's memory}, ``path``: sys.path of who started it.
    """

    def __init__(self, folder: str, spec: dict[str, Any]) -> None:
        self.folder, self.spec = folder, spec

    def path(self, name: str) -> str:
        """A file of the folder."""
        return os.path.join(self.folder, name)

    def lock(self, name: str, *, wait: bool = False) -> int:
        """A descriptor that holds the lock file ``name``; -1 when another has it and we do not wait. Raises OSError."""
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if flock(fd, fcntl.LOCK_EX if wait else _NB, self.path(name)):
            return fd
        os.close(fd)
        return -1

    def guarded(self, name: str = WATCH) -> bool:
        """Whether a guardian holds ``watch`` (or ``standby``)."""
        try:
            fd = self.lock(name)
        except OSError:
            return False
        if fd >= 0:
            os.close(fd)
        return fd < 0

    def verdict(self) -> dict[str, Any] | None:
        """What a guardian that ended the command left."""
        found = read_json(self.path("verdict.json"))
        return found if isinstance(found, dict) else None

    def judge(self, code: str, message: str, **facts: Any) -> None:
        """Leave word of why the command is ended, before it is; the first word stays. Raises OSError."""
        if self.verdict() is None:
            word = {"code": code, "message": message, "at": time.time(), **facts}
            write_json(self.path("verdict.json"), word, mode=0o600)

    def restore(self) -> None:
        """Make the folder again when somebody took it away. Raises OSError."""
        if not os.path.exists(self.path("spec.json")):
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            write_json(self.path("spec.json"), self.spec, mode=0o600)

    def remove(self) -> None:
        """Take the folder and its cgroups away; guardians that still have its files open end by themselves."""
        import shutil

        if self.spec["cgroup"]:
            from k1ctl.capacity import cgroup

            cgroup.remove(self.spec["cgroup"])
        shutil.rmtree(self.folder, ignore_errors=True)


def create(spec: dict[str, Any]) -> Watched:
    """A new folder for ``spec``, which has an ``id``. Raises OSError."""
    folder = os.path.join(folder_of_all(), spec["id"])
    os.makedirs(folder_of_all(), mode=0o700, exist_ok=True)
    os.mkdir(folder, 0o700)
    found = Watched(folder, spec)
    Seen(folder).close()
    write_json(found.path("spec.json"), spec, mode=0o600)
    return found


def load(folder: str) -> Watched | None:
    """The limited command of a folder; None when there is none, or it is another user's."""
    try:
        spec = read_json(os.path.join(folder, "spec.json"))
    except OSError:
        return None
    return Watched(folder, spec) if isinstance(spec, dict) and spec.keys() >= {"id", "session", "since"} else None


def forsaken() -> bool:
    """Whether there is a limited command without owner and watchdog, or what is left of one; costs two flocks each."""
    base = folder_of_all()
    found = [Watched(os.path.join(base, name), {}) for name in _names(base)]
    return any(not command.guarded() and not command.guarded(OWNER) for command in found)


def sweep() -> None:
    """Take away the folders of starts that were killed before they had a command."""
    import shutil

    base = folder_of_all()
    for folder in (os.path.join(base, name) for name in _names(base)):
        try:
            if not os.path.exists(os.path.join(folder, "spec.json")) and time.time() - os.stat(folder).st_mtime > _HALF:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue


def every() -> list[Watched]:
    """All limited commands of this host, living or not."""
    base = folder_of_all()
    return [w for w in (load(os.path.join(base, name)) for name in _names(base)) if w is not None]


def standing_still() -> list[Watched]:
    """The limited commands that are suspended for want of memory, and living. Raises OSError."""
    return [command for command in every() if command.guarded() and _suspended(command)]


def _suspended(command: Watched) -> bool:
    seen = Seen(command.folder)
    try:
        return bool(seen.get()["suspended_at"])
    finally:
        seen.close()


def _names(base: str) -> list[str]:
    try:
        return sorted(os.listdir(base))
    except FileNotFoundError:
        return []
