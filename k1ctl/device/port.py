"""One opener of a device's serial port on this host, and how a flash gets it from a console.

Two files in the host's state folder, both held by flock, so that a killed process leaves nothing behind. Whoever has
the port open holds ``console/KEY.lock``. A flash that needs it holds ``console/KEY.want`` until it is done; a console
looks at that several times a second, closes the port, and opens it again once nobody wants it.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager

from k1ctl.device.guard import file_name
from k1ctl.errors import BusyError
from k1ctl.files import flock, open_locked, read_json
from k1ctl.jsontext import dumps
from k1ctl.units import format_duration, rfc3339
from k1ctl.workspace import host_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

LOOK = 0.1  # s between two looks at a lock: a console closes its port within one, so asking again is enough


def key_of(device: Mapping[str, Any], path: str = "", mac: str = "") -> str:
    """The name a device's port is locked by: its configured MAC, else the one that the port tells, else its path."""
    from k1ctl.device.probe import normal_mac

    return normal_mac(str(device.get("mac") or "")) or normal_mac(mac) or os.path.realpath(path)


def _path(key: str, end: str, folder: str) -> str:
    return os.path.join(folder or host_dir(), "console", f"{file_name(key)}.{end}")


class Hold:
    """The port is ours; lives as long as the process, or until `release`."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        """Let the next one have it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def wanted(key: str, folder: str = "") -> bool:
    """Whether somebody waits for the port, or works on it, and asks consoles to keep away."""
    path = _path(key, "want", folder)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, path)
    finally:
        os.close(fd)


def holder_text(key: str, folder: str = "") -> str:
    """Who took the port last, in a few words."""
    return _signed(_path(key, "lock", folder))


def wanter_text(key: str, folder: str = "") -> str:
    """Who asked for the port last, in a few words."""
    return _signed(_path(key, "want", folder))


def _signed(path: str) -> str:
    found = read_json(path)
    if not isinstance(found, dict):
        return "another process"
    return f"{found.get('what')} of {found.get('workspace') or 'someone'} (pid {found.get('pid')})"


def take(key: str, *, what: str, workspace: str = "", folder: str = "") -> Hold | None:
    """Hold the port's lock for a console; None while somebody has it or wants it. ``what`` is what others are told.

    Raises ConfigError (no flock there), OSError.
    """
    if wanted(key, folder):
        return None
    path = _path(key, "lock", folder)
    fd = open_locked(path, blocking=False)
    if fd is None:
        return None
    _sign(fd, what, workspace)
    return Hold(fd)


def _sign(fd: int, what: str, workspace: str) -> None:
    text = dumps({"what": what, "workspace": workspace, "pid": os.getpid(), "since": rfc3339()}) + "\n"
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)
    except OSError:
        pass  # a full disk costs the name of the holder, not the lock


@contextmanager
def borrowed(
    key: str,
    timeout: float,
    say: Callable[[str], None] = lambda text: None,
    *,
    what: str = "a flash over USB",
    workspace: str = "",
    folder: str = "",
    check: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Have the port for a flash: ask our console to close it, wait until it has, and keep it closed until we are done.

    Both locks go to the children that inherit descriptors: a write that outlives its worker keeps the port. ``say`` is
    told once who is waited for; ``check`` is called meanwhile and may raise. ``folder`` stands for the host's state
    folder. Raises BusyError (code port-busy) naming the holder after ``timeout`` seconds, ConfigError (no flock there),
    OSError.
    """
    end, told = time.monotonic() + timeout, False
    held: list[int] = []
    try:
        for kind in ("want", "lock"):
            path = _path(key, kind, folder)
            while (fd := open_locked(path, blocking=False)) is None:
                if not told and kind == "lock":
                    say(f"waiting for the port: {holder_text(key, folder)}")
                    told = True
                check()
                if time.monotonic() >= end:
                    raise _busy(key, timeout, folder)
                time.sleep(LOOK / 4)
            os.set_inheritable(fd, True)
            held.append(fd)
            _sign(fd, what, workspace)
        yield
    finally:
        for fd in reversed(held):
            os.close(fd)


def _busy(key: str, timeout: float, folder: str) -> BusyError:
    return BusyError(
        f"the serial port is held by {holder_text(key, folder)}, which did not close it in {format_duration(timeout)}",
        hint="is it stopped (^Z)? Let it go on, or end it; then try again",
        code="port-busy",
    )
