"""Offered tickets: files that scripts open on a descriptor of their own, to hold a lease by it.

An offer lies beside the line (``offers/``) and claims nothing. Once `queue acquire` has been let in for it, one rename
makes the script's file the lease: from then on the script's descriptor is what keeps it.
"""

from __future__ import annotations

import os
import stat
import time

from k1ctl.errors import BusyError, K1ctlError, UsageError
from k1ctl.files import flock
from k1ctl.queue import names
from k1ctl.queue.line import EX, NB, SH, read_facts, write_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.queue.names import Name

_KEEP = 86400.0  # s an offer that nobody claims is kept
_HINT = 'exec 9<>"$(k1ctl queue ticket device:k1)"; k1ctl queue acquire --fd 9'


class Offer:
    """The file behind a descriptor: its ``path``, its ``name``, and whether it is a lease already (``held``)."""

    __slots__ = ("held", "name", "path")

    def __init__(self, path: str, name: Name) -> None:
        self.path, self.name, self.held = path, name, name.state == "r"

    def facts(self) -> dict[str, Any]:
        """What was written into it."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_facts(fd)
        finally:
            os.close(fd)


def create(folder: str, needs: dict[str, int], priority: int, key: str, label: str, device: str = "") -> str:
    """Make an offer and return its path; those that nobody claimed for a day are removed.

    ``key`` is "" for one of its own, so that only the same descriptor finds its kept place again; ``device`` what a
    group of one device stands for. Raises UsageError, OSError.
    """
    offers = os.path.join(folder, "offers")
    _sweep(offers)
    while True:
        unique = int.from_bytes(os.urandom(4))
        name = names.build("o", priority, unique, os.getpid(), key or os.urandom(8).hex(), needs)
        path = os.path.join(offers, name)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        except FileNotFoundError:
            os.makedirs(offers, exist_ok=True)
            continue
        write_facts(fd, {"label": label, **({"device": device} if device else {})})
        os.close(fd)
        return path


def _sweep(offers: str) -> None:
    for file in _listed(offers):
        path = os.path.join(offers, file)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if time.time() - os.fstat(fd).st_mtime > _KEEP and flock(fd, SH | NB, path):
                os.unlink(path)
        except FileNotFoundError:
            pass
        finally:
            os.close(fd)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def behind(folder: str, fd: int) -> Offer:
    """The offer or lease of this queue that descriptor ``fd`` of the caller has open. Raises K1ctlError."""
    try:
        mine = os.fstat(fd)
    except (OSError, OverflowError) as exc:
        raise UsageError(f"descriptor {fd} is not open", hint=_HINT, code="no-descriptor") from exc
    found = next(_matching(folder, {(mine.st_dev, mine.st_ino)}), None)
    if found is not None:
        return found
    if stat.S_ISREG(mine.st_mode) and mine.st_nlink == 0:
        raise gone(fd)
    raise UsageError(f"descriptor {fd} is no ticket of the queue in {folder}", hint=_HINT, code="no-ticket")


def gone(fd: int) -> K1ctlError:
    """The error where the file behind a descriptor is not in the queue's folder any more."""
    return K1ctlError(
        f"the ticket behind descriptor {fd} was cleaned away; it may have waited too long to be acquired",
        hint=_HINT,
        code="ticket-gone",
    )


def held_by(folder: str, descriptors: list[int]) -> list[Offer]:
    """The leases that these descriptors of ours, which lead to files, keep."""
    files = {(s.st_dev, s.st_ino) for s in map(os.fstat, descriptors)}
    return [offer for offer in _matching(folder, files) if offer.held] if files else []


def _matching(folder: str, files: set[tuple[int, int]]) -> Iterator[Offer]:
    offers, tickets = os.path.join(folder, "offers"), os.path.join(folder, "tickets")
    known = [(offers, file, names.parse("w" + file[1:])) for file in _listed(offers) if file.startswith("o")]
    known += [(tickets, file, names.parse(file)) for file in _listed(tickets) if file.startswith("r")]
    for place, file, valid in known:
        path = os.path.join(place, file)
        try:
            there = os.stat(path)
        except FileNotFoundError:
            continue
        if valid is not None and (there.st_dev, there.st_ino) in files:
            yield Offer(path, names.Name(file))


def lock(fd: int) -> None:
    """Have the caller's descriptor hold the lock of its file; it may hold it already. Raises BusyError."""
    if not flock(fd, EX | NB, ""):
        raise BusyError("another descriptor holds this ticket", hint=_HINT, code="ticket-taken")


def claim_lock(folder: str, fd: int) -> str:
    """The lock file of whoever stands in line for the file behind ``fd``, offered or let in."""
    return os.path.join(folder, "offers", f"claim.{os.fstat(fd).st_ino}")
