"""Flashes under way: what no limit, relief or end of a stress run ever signals, wherever in a limited tree it began.

A flash is what the queue takes for one: a run that holds a device and goes on whatever becomes of its caller. While it
works its supervisor holds ``<host_dir()>/capacity/spared/SESSION.*`` flocked; the command has the descriptor, too, so a
flash whose supervisor was killed is spared until it ends. The queue's tickets do not tell: a flash for which a run
around it holds the device has none.
"""

from __future__ import annotations

import fcntl
import os

from k1ctl.errors import K1ctlError
from k1ctl.files import flock, open_locked
from k1ctl.workspace import host_dir

OFFERED = 500  # oom_score_adj of limited commands, at least: the kernel takes them before the agent that started them


class Mark:
    """One flash's mark: ``path``, and the descriptor ``fd`` that is to be inherited by whoever works on it."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path, self.fd = path, fd

    def end(self) -> None:
        """The flash is over; who was left behind by it and has the descriptor is nobody's flash."""
        try:
            os.unlink(self.path)
        except OSError:
            pass
        os.close(self.fd)


def mark(session: int) -> Mark:
    """Spare a session until `Mark.end`, or until nobody has the descriptor. Raises K1ctlError (no flock), OSError."""
    _sweep()
    path = os.path.join(_folder(), f"{session}.{os.urandom(4).hex()}")
    found = open_locked(path, mode=0o600)
    assert found is not None  # it waited
    os.set_inheritable(found, True)
    return Mark(path, found)


def withdraw() -> None:
    """Take back that the kernel may end us before others: what `leash` offered, a process may refuse again
    (proc_pid_oom_score_adj(5))."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as f:
            if int(f.read()) == OFFERED:
                f.seek(0)
                f.write("0")
    except (OSError, ValueError):
        pass  # no Linux, or it was set by who had the right to


def sessions() -> frozenset[int]:
    """The sessions in which a flash is under way. One look at a folder, and at a lock for each."""
    return frozenset(int(name.partition(".")[0]) for name in _names() if _held(os.path.join(_folder(), name)))


def _folder() -> str:
    return os.path.join(host_dir(), "capacity", "spared")


def _names() -> list[str]:
    try:
        return [name for name in os.listdir(_folder()) if name.partition(".")[0].isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _held(path: str) -> bool:
    """Whether somebody works; one that cannot be looked at is left alone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, path)
    except K1ctlError:
        return True
    finally:
        os.close(fd)


def _sweep() -> None:
    """Take away the marks of those that were killed."""
    for name in _names():
        path = os.path.join(_folder(), name)
        fd = open_locked(path, blocking=False, mode=0o600)
        if fd is not None:
            os.unlink(path)
            os.close(fd)
