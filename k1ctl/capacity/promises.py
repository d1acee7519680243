"""Promises: what of the host was promised to whom, held by processes; and, as rows, by what has none (`reservations`).

A promise is a ticket of the queue engine in the host's folder ``capacity/``: a flock, so it ends with its last holder,
whatever killed that one, and a command that outlives its killed supervisor keeps it.
"""

from __future__ import annotations

import os
import time

from k1ctl.capacity import limits
from k1ctl.capacity.need import Need, from_document
from k1ctl.files import append_line, flock, read_bytes
from k1ctl.process.spec import PROMISE
from k1ctl.queue import names
from k1ctl.queue.line import NB, SH, UN, read_facts, survives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from k1ctl.queue.names import Name
    from k1ctl.queue.ticket import Ticket


__all__ = ["PROMISE", "Held", "Promise", "age", "folder", "held", "join", "look", "of_ticket", "waiting"]


class Promise:
    """What somebody was promised: ``id``, ``need``, ``what`` it is for, ``class_`` of the history, ``kind`` (build,
    queue-run, capacity-run, reservation ...), ``workspace`` and ``root``, ``run``; the owner's ``pid``, and ``group``
    and ``session`` of what runs under it, or the ``sessions`` where these are several; ``since`` and ``until`` (None:
    as long as somebody lives) in seconds since 1970; ``seen_bytes`` of memory that it uses now; ``waiting``: it is not
    let in yet.

    ``units`` {resource: units} is what the ticket's name says; ``priority`` by number, ``place`` its name in the line.
    """

    __slots__ = (
        "class_", "group", "id", "kind", "need", "owner", "pid", "place", "priority", "root", "run", "seen_bytes",
        "session", "sessions", "since", "units", "until", "waiting", "what", "workspace",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        need: Need,
        *,
        units: dict[str, int] | None = None,
        what: str = "",
        class_: str = "",
        kind: str = "",
        workspace: str = "",
        root: str = "",
        run: str = "",
        pid: int = 0,
        group: int = 0,
        session: int = 0,
        sessions: Sequence[int] = (),
        since: float = 0.0,
        until: float | None = None,
        seen_bytes: int = 0,
        waiting: bool = False,
        priority: int = names.PRIORITIES["normal"],
        place: str = "",
        owner: str = "",
    ) -> None:
        self.id, self.need, self.what, self.class_, self.kind = id, need, what, class_, kind
        self.units = limits.units(need) if units is None else units
        self.workspace, self.root, self.run, self.pid, self.group = workspace, root, run, pid, group
        self.session, self.since, self.until, self.seen_bytes = session, since, until, seen_bytes
        self.sessions = sessions
        self.waiting, self.priority, self.place, self.owner = waiting, priority, place, owner

    @property
    def memory(self) -> int:
        """Bytes that it counts for: the larger of what was promised and what is seen."""
        return max(self.units.get("mem", 0) * limits.MIB, self.seen_bytes)

    @property
    def state(self) -> str:
        """waiting, held (by processes), or reserved (a row with a deadline or an owner)."""
        return "waiting" if self.waiting else "held" if self.place else "reserved"

    def document(self) -> dict[str, Any]:
        """The promise as JSON."""
        from k1ctl.units import rfc3339

        return {
            "id": self.id,
            "state": self.state,
            "kind": self.kind,
            "what": self.what,
            "workspace": self.workspace,
            "root": self.root,
            "run": self.run or None,
            "pid": self.pid or None,
            "need": self.need.document(),
            "seen_bytes": self.seen_bytes,
            "since": rfc3339(self.since) if self.since else None,
            "until": None if self.until is None else rfc3339(self.until),
            "owner": self.owner or None,
        }


def folder() -> str:
    """Where the promises of this host lie."""
    from k1ctl.workspace import host_dir

    return os.path.join(host_dir(), "capacity")


def held(place: str = "", *, waiting: bool = False, seen: bool = True) -> list[Promise]:
    """The promises that hold now, reservations among them; with ``waiting`` those in line as well, in their order.

    ``seen``: what each uses is looked up, which takes a walk over all processes. Takes no lock, changes nothing.
    """
    from k1ctl.capacity import reservations

    place = place or folder()
    found = [p for p in (_read(place, name) for name in _tickets(place, "rw" if waiting else "r")) if p is not None]
    if seen:
        look(found)
    return found + reservations.held(place, beside={p.run for p in found if not p.waiting})


def waiting(place: str) -> list[Promise]:
    """Who waits for a promise, in the order of service. Takes no lock, changes nothing."""
    return [p for p in (_read(place, name) for name in _tickets(place, "w")) if p is not None]


def look(promises: list[Promise]) -> None:
    """Set ``seen_bytes`` of these promises: one walk over all processes, none when nobody holds anything."""
    if not any(p.session or p.group or p.sessions for p in promises if not p.waiting):
        return
    from k1ctl.capacity.processes import by_tree

    sessions, groups = by_tree()
    for promise in promises:
        if not promise.waiting:
            promise.seen_bytes = sessions.get(promise.session, 0) or groups.get(promise.group, 0)
            more = {*promise.sessions, *_within(promise.run)} - {promise.session}
            promise.seen_bytes += sum(sessions.get(n, 0) for n in more)


def join(place: str, around: str) -> None:
    """Have the memory of our session counted to the promises ``around`` us, which cover ours. Raises OSError."""
    session = os.getsid(0)
    if session != os.getpid():
        return  # another's session, which is not only ours
    for run in _runs(place, around):
        path = os.path.join(place, "nested", run)
        if os.path.exists(path):
            append_line(path, str(session))


def _runs(place: str, around: str) -> list[str]:
    marks = (line.split(" ", 2) for line in around.split("\n"))
    return [words[1] for words in marks if len(words) == 3 and words[2] == place and os.sep not in words[1]]


def _within(run: str) -> set[int]:
    """The sessions of the runs within this one."""
    words = (read_bytes(os.path.join(folder(), "nested", run)) or b"").split() if run else []
    return {int(word) for word in words if word.isdigit()}


def _tickets(place: str, states: str) -> list[Name]:
    try:
        files = sorted(os.listdir(os.path.join(place, "tickets")))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [n for n in map(names.parse, (f for f in files if f[0] in states)) if n is not None]


def _read(place: str, name: Name) -> Promise | None:
    """The promise behind a ticket, or None when nobody holds it any more."""
    try:
        fd = os.open(os.path.join(place, "tickets", name.file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if flock(fd, SH | NB, name.file) and not (name.state == "r" and survives(fd, name)):
            return None
        return of_ticket(name, read_facts(fd))
    finally:
        os.close(fd)


def of_ticket(name: Name, facts: dict[str, Any]) -> Promise:
    """The promise that a ticket's name and its owner's words are."""
    try:
        need = from_document(facts["need"])
    except (KeyError, TypeError, ValueError):
        need = Need(
            name.needs.get("mem", 0) * limits.MIB, name.needs.get("cpu", 0) / 100, agents=name.needs.get("agents", 0)
        )
    words: dict[str, Any] = {key: str(facts.get(key) or "") for key in ("what", "kind", "workspace", "root", "run")}
    group, session = (n if isinstance(n := facts.get(key), int) and n > 1 else 0 for key in ("group", "session"))
    several, since = facts.get("sessions"), facts.get("granted") or facts.get("asked_at")
    return Promise(
        str(name.seq),
        need,
        units=dict(name.needs),
        class_=str(facts.get("class") or ""),
        pid=name.pid,
        group=group,
        session=session,
        sessions=[n for n in several if isinstance(n, int) and n > 1] if isinstance(several, list) else [],
        since=float(since) if isinstance(since, int | float) else 0.0,
        waiting=name.state == "w",
        priority=name.priority,
        place=name.file,
        **words,
    )


class Held:
    """A promise that this process holds: ``promise``, and ``fd``, which a command that shall keep it inherits (-1 where
    a promise around us covers ours); ``mark`` is what the command's environment says of it, under `PROMISE`."""

    def __init__(
        self, promise: Promise, ticket: Ticket | None = None, *, mark: str = "", joined: list[int] | None = None
    ) -> None:
        self.promise, self.ticket, self.mark, self.joined = promise, ticket, mark, joined or []
        self.enlarge: Callable[[Need], None] | None = None

    @property
    def fd(self) -> int:
        return -1 if self.ticket is None else self.ticket.fd

    @property
    def place(self) -> str:
        """The folder of the host's promises."""
        return folder() if self.ticket is None else self.ticket.line.folder

    def tell(self, **facts: Any) -> None:
        """Add what others may know: ``group`` and ``session`` of what runs under it (with `k1ctl.groups.stamp`)."""
        if self.ticket is not None:
            self.ticket.tell(**facts)

    def environment(self, around: str = "") -> str:
        """The value of `PROMISE` for a command under this promise; ``around`` is the one of our own environment."""
        return "\n".join(filter(None, [around, self.mark]))

    def grow(self, need: Need) -> None:
        """Be promised ``need`` in all instead, without waiting. Raises BusyError no-capacity: then all is as before."""
        if self.enlarge is not None:
            self.enlarge(need)

    def release(self) -> None:
        """Give it back. A run within ours that goes on keeps it until it ends. Raises OSError."""
        from k1ctl.process import nested

        ticket, self.ticket = self.ticket, None
        if ticket is not None:
            run, place = self.promise.run, ticket.line.folder
            inner = nested.outlast(place, run, lambda: None)
            try:
                ticket.release()
            finally:
                if inner >= 0:
                    nested.over(place, run, inner)
                ticket.close()
        while self.joined:
            fd = self.joined.pop()
            flock(fd, UN, "")
            os.close(fd)


def age(promise: Promise, now: float | None = None) -> float:
    """Seconds since it was given."""
    return max(0.0, (time.time() if now is None else now) - promise.since) if promise.since else 0.0
