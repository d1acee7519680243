"""A run within a run: what the outer one holds is not asked for again, and is not given back before the inner one ends.

An inner run has a supervisor and a session of its own, so it may outlive the outer command. It holds a shared lock on
a file named after the outer run; the outer supervisor needs that lock alone before it gives its lease back.
"""

from __future__ import annotations

import os
import stat
import time

from k1ctl.errors import UsageError
from k1ctl.files import flock
from k1ctl.queue import names
from k1ctl.queue.line import EX, NB, SH, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LEASES = "K1CTL_LEASES"  # environment of a command: the leases it runs under, "NUMBER RUN FOLDER" a line


def mark(ticket: int, run: str, folder: str) -> str:
    """How a lease stands in the environment of the command that runs under it."""
    return f"{ticket} {run} {folder}"


def join(folder: str, environ: str | None) -> tuple[dict[str, int], list[int]]:
    """({resource: slots} held by the runs around us, descriptors that keep those runs' leases from ending).

    ``environ`` is the value of `LEASES`. A mark is believed only when the queue in ``folder`` has that very ticket as
    a lease of that very run: an environment outlives a lease. The descriptors go to the command. Raises OSError.
    """
    have: dict[str, int] = {}
    held: list[int] = []
    for line in (environ or "").split("\n"):
        ticket, _, rest = line.partition(" ")
        run, _, place = rest.partition(" ")
        if place != folder or not run or os.sep in run:
            continue
        fd = _open(folder, run)
        flock(fd, SH, run)  # waits only while the outer run is giving its lease back; then it is not one any more
        found = _lease(folder, ticket, run)
        if found is None:
            os.close(fd)
            continue
        os.set_inheritable(fd, True)
        held.append(fd)
        for resource, count in found.items():
            have[resource] = max(have.get(resource, 0), count)
    return have, held


def adopt(folder: str, descriptors: list[int]) -> dict[str, int]:
    """{resource: slots} of the scripts' leases that ``descriptors``, which our caller left open for us, keep.

    We and our command hold them too, so they last as long as we do. The guards of their devices are believed from now
    on, as those of a run around us are.
    """
    files = []
    for fd in descriptors:
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                files.append(fd)
        except OSError:
            continue
    if not files:
        return {}
    from k1ctl.device.guard import GUARDS
    from k1ctl.queue import offer

    have: dict[str, int] = {}
    for lease in offer.held_by(folder, files):
        facts = lease.facts()
        if facts.get("kind") != "script":  # a run's is believed by its mark, which says that it is not being given back
            continue
        for resource, count in lease.name.needs.items():
            have[resource] = max(have.get(resource, 0), count)
        marks = [f"{facts.get('lease', '')} {path}" for path in facts.get("guards", [])]
        os.environ[GUARDS] = "\n".join([*filter(None, [os.environ.get(GUARDS, "")]), *marks])
    return have


def settled(resources: dict[str, int], have: dict[str, int]) -> dict[str, int]:
    """``resources`` with what is held around us in the place of a choice that it is one of."""
    found = {}
    for resource, count in resources.items():
        held = [r for r in names.alternatives(resource) if have.get(r, 0) >= count]
        found[held[0] if held else resource] = count
    return found


def still_needed(
    resources: dict[str, int], have: dict[str, int], outer: str = "k1ctl queue run {} -- ..."
) -> dict[str, int]:
    """``resources`` without those held around us, by a call like ``outer``: waiting for them would never end.

    What is still wanted must sort behind all that is held, so that two nested runs cannot wait for each other.
    Raises UsageError.
    """
    rest = {}
    for resource, count in resources.items():
        if count <= have.get(resource, 0):
            continue
        if have and min(names.alternatives(resource)) <= max(have):
            held = " ".join(f"{r}={n}" if n > 1 else r for r, n in sorted(have.items()))
            each = names.alternatives(resource)
            wanted = " or ".join(each)
            raise UsageError(
                f"{wanted} is asked for by a command that holds {held}: two such runs could wait for each other",
                hint=f"name all in the outer call: {outer.format(f'{each[0]} {held}')}",
                code="nested-order",
            )
        rest[resource] = count
    return rest


def outlast(folder: str, run: str, told: Callable[[], None]) -> int:
    """Wait until no inner run of ``run`` lives, and keep new ones out: a descriptor for `over` once all is given back.

    -1 when there never was one. ``told`` is called once when it has to wait.
    """
    path = os.path.join(folder, "nested", run)
    if not os.path.exists(path):
        return -1
    fd = _open(folder, run)
    if not flock(fd, EX | NB, path):
        told()
        while not flock(fd, EX | NB, path):
            time.sleep(0.05)
    return fd


def within(folder: str, run: str) -> bool:
    """Whether an inner run of ``run`` lives."""
    path = os.path.join(folder, "nested", run)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not flock(fd, EX | NB, path)
    finally:
        os.close(fd)


def over(folder: str, run: str, fd: int) -> None:
    """What `outlast` held is not needed any more: the lease is given back, and nobody believes its mark."""
    try:
        os.unlink(os.path.join(folder, "nested", run))
    except OSError:
        pass
    os.close(fd)


def sweep(folder: str) -> None:
    """Remove the files of runs that hold nothing any more: their supervisors were killed, or a mark was out of date."""
    place, tickets = os.path.join(folder, "nested"), os.path.join(folder, "tickets")
    try:
        left = set(os.listdir(place))  # before the leases: a run has no lease again once it had one
        leases = [file for file in os.listdir(tickets) if file.startswith("r")] if left else []
    except FileNotFoundError:
        return
    for file in leases:
        try:
            fd = os.open(os.path.join(tickets, file), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        left.discard(str(read_facts(fd).get("run")))
        os.close(fd)
    for run in left:
        path = os.path.join(place, run)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if flock(fd, EX | NB, path):  # an inner run that outlived it keeps the lock
                os.unlink(path)
            os.close(fd)
        except FileNotFoundError:
            continue


def _open(folder: str, run: str) -> int:
    path = os.path.join(folder, "nested", run)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _lease(folder: str, ticket: str, run: str) -> dict[str, int] | None:
    """What this ticket holds, if it is a lease of this run."""
    tickets = os.path.join(folder, "tickets")
    try:
        found = next(n for n in map(names.parse, os.listdir(tickets)) if n and n.state == "r" and str(n.seq) == ticket)
        fd = os.open(os.path.join(tickets, found.file), os.O_RDONLY | os.O_CLOEXEC)
    except (StopIteration, FileNotFoundError):
        return None
    try:
        return found.needs if read_facts(fd).get("run") == run else None
    finally:
        os.close(fd)
