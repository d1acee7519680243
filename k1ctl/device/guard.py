"""One toucher of a device on this host, whatever repository it comes from.

The queue keeps order within a root; this lock keeps two roots apart, and a root whose ``ops/`` was wiped.
"""

from __future__ import annotations

import os
import time
from typing import Any

from k1ctl.errors import BusyError
from k1ctl.files import open_locked, read_json
from k1ctl.jsontext import dumps
from k1ctl.units import format_duration, rfc3339
from k1ctl.workspace import host_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GUARDS = "K1CTL_GUARDS"  # environment of a command: the guards held for it, "RUN PATH" a line
_LOOK = 0.1  # seconds; two roots rarely meet here, so asking again is simpler than being woken


def guard_key(device: Mapping[str, Any], mac: str = "") -> str:
    """The name a device is guarded by: its MAC, else ``host:port``."""
    from k1ctl.device.identity import normal_mac

    known = normal_mac(mac or str(device["mac"]))
    return known or f"{device['host']}:{device['ota_port']}"


def guard_path(key: str, folder: str = "") -> str:
    """The lock file of a key, below ``folder`` (default: the host's state folder)."""
    return os.path.join(folder or host_dir(), "device", f"{file_name(key)}.lock")


def file_name(key: str) -> str:
    """The key as a file's name."""
    return "".join(c if c.isalnum() or c in "-." else f"%{ord(c):02x}" for c in key).lstrip(".")


def covered(path: str) -> bool:
    """Whether a run around this process holds the guard ``path`` for it.

    An environment outlives a run, so the guard's file must still name that run, and its lock must be held.
    """
    marks = [line.partition(" ") for line in os.environ.get(GUARDS, "").split("\n")]
    runs = [run for run, _, place in marks if place == path]
    if not runs or holder(path).get("run") not in runs:
        return False
    fd = open_locked(path, blocking=False)
    if fd is None:
        return True
    os.close(fd)
    return False


class Guard:
    """A held guard; lives as long as the process, or until `release`."""

    def __init__(self, path: str, fd: int) -> None:
        self.path, self.fd = path, fd

    def release(self) -> None:
        """Let the next one in."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def holder(path: str) -> dict[str, Any]:
    """Who wrote himself into the lock file last: {workspace, run, pid, since}; empty when nobody readable did."""
    found = read_json(path)
    return found if isinstance(found, dict) else {}


def acquire(
    path: str,
    timeout: float,
    *,
    workspace: str = "",
    run: str = "",
    waiting: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Guard:
    """Hold the lock file ``path``, waiting at most ``timeout`` seconds.

    ``waiting`` is told once who holds it; ``stopped`` ends the wait early. Raises BusyError naming the holder (code
    device-guarded), ConfigError (no flock there), OSError.
    """
    end = time.monotonic() + timeout
    told = False
    while True:
        fd = open_locked(path, blocking=False)
        if fd is not None:
            break
        who = holder_text(path)
        if waiting and not told:
            waiting(who)
            told = True
        if time.monotonic() >= end or (stopped and stopped()):
            raise BusyError(
                f"the device is held by {who} (waited {format_duration(timeout)})",
                hint="another repository on this host uses it; try again when it is done",
                code="device-guarded",
            )
        time.sleep(min(_LOOK, max(end - time.monotonic(), 0.001)))
    try:
        text = dumps({"workspace": workspace, "run": run, "pid": os.getpid(), "since": rfc3339()}) + "\n"
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)
    except OSError:
        pass  # a full disk costs the name of the holder, not the guard
    return Guard(path, fd)


def holder_text(path: str) -> str:
    """Who holds the lock file, in a few words."""
    info = holder(path)
    if not info:
        return "another process"
    return f"{info.get('workspace') or 'someone'} (pid {info.get('pid')}, since {info.get('since')})"
