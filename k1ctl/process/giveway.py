"""Who holds a place of the queue and waits for room on the host gives way to who has room and waits for that place.

Else each would wait for the other without end: a run takes the queue's lease first and the promise second, but what
runs within a promise (a build of an agent that `capacity run` started) takes a lease behind it.
"""

from __future__ import annotations

import os

from k1ctl.errors import BusyError
from k1ctl.files import flock
from k1ctl.process.spec import PROMISE
from k1ctl.queue import names
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.line import NB, SH, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from k1ctl.process.attempt import Ending
    from k1ctl.process.supervisor import Supervisor


def promised(environ: str) -> dict[str, Any]:
    """What the ticket of one within promises says of them; ``environ`` is the value of `PROMISE`."""
    numbers = [int(number) for line in environ.split("\n") if (number := line.partition(" ")[0]).isdecimal()]
    return {"promises": numbers} if numbers else {}


def wanted(folder: str, resources: Collection[str], place: str) -> dict[str, str]:
    """{resource: workspace} of those of ``resources`` for which somebody waits in ``folder`` who runs within a promise
    of the host's folder ``place``. Takes no lock, changes nothing."""
    if not resources:
        return {}
    found: dict[str, str] = {}
    given = {int(file[4:14]) for file in _files(place) if file[0] == "r" and file[4:14].isdecimal()}
    for file in _files(folder) if given else ():
        name = names.parse(file) if file[0] == "w" else None
        shared = [] if name is None else [r for r in resources if r in name.lines]
        facts = _waiting(folder, file) if shared else {}
        numbers = facts.get("promises")
        if isinstance(numbers, list) and not given.isdisjoint(numbers):
            found.update(dict.fromkeys(shared, str(facts.get("workspace", "?"))))
    return found


def _files(folder: str) -> list[str]:
    try:
        return os.listdir(os.path.join(folder, "tickets"))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _waiting(folder: str, file: str) -> dict[str, Any]:
    """What the owner of a ticket wrote; {} when nobody holds it any more."""
    try:
        fd = os.open(os.path.join(folder, "tickets", file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    try:
        return {} if flock(fd, SH | NB, file) else read_facts(fd)
    finally:
        os.close(fd)


def in_the_way(sup: Supervisor, place: str) -> dict[str, str]:
    """As `wanted`, of all that this run and those around it hold."""
    mine = sup.ticket.needs if sup.ticket is not None else {}
    return wanted(queue_folder(sup.workspace, sup.config), {*mine, *sup.around}, place)


def step_back(sup: Supervisor, why: str, found: dict[str, str]) -> Ending | None:
    """Give the lease back to those ``found`` by `in_the_way`, and stand in line again behind them; None once it is ours
    again.

    Raises BusyError (no-capacity) where it is held around us, so not ours to give: then nobody but us can end it.
    """
    resource, who = next(((r, w) for r, w in found.items() if r in sup.around), next(iter(found.items())))
    if resource in sup.around:
        raise BusyError(
            f"no room now: {why}; and {who}, who has room, waits for {resource}, which is held around this call",
            hint=f"ask for room outside: name --need in the call that holds {resource}",
            code="no-capacity",
            reasons=[],
            expected_seconds=None,
        )
    sup.tell("warning", message=f"{who} has room on the host and waits for {resource}: it goes first")
    sup.note("capacity.gave_way", resource=resource, to=who)
    before, sup.ticket = sup.ticket, None
    sup.times.pop("granted", None)
    sup.run.record.pop("waits_for", None)
    if before is not None:
        before.release()
    ending = sup.stand_in_line(dict(sup.facts))
    if before is not None:
        before.close()  # only now: until there was another one its pipe heard the signals
    return ending


def marks() -> dict[str, Any]:
    """`promised` of the promises around this process."""
    return promised(os.environ.get(PROMISE, ""))
