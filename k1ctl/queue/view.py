"""Looking at the queue and acting on it from outside: who holds, who waits, how long still; cancel, pause, resume."""

from __future__ import annotations

import os
import time

from k1ctl.errors import K1ctlError
from k1ctl.files import flock
from k1ctl.queue import names
from k1ctl.queue.line import NB, SH, Line, lift, read_facts, survives, write_facts
from k1ctl.queue.service import out_of_service, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.queue.names import Name


class TicketNotFoundError(K1ctlError):
    """No ticket with this number or run id stands in the queue."""

    code = "no-such-ticket"


_STATES = {"r": "running", "w": "waiting", "p": "parked"}
# What a ticket's owner wrote of itself that is told; of another type it is damage, and not told.
_OWNERS = {
    **dict.fromkeys(("run", "kind", "workspace", "command", "label", "queued_at", "granted_at", "waits_for"), str),
    "group": int,
    "keep": bool,
    "owner": int,
    "holder": str,
}


def entries(folder: str) -> list[dict[str, Any]]:
    """Every ticket, running ones first, then waiting ones in the order of service, then parked ones.

    Each: ``ticket``, ``state`` (running, waiting, parked, or dead when its owner is gone and nobody has put it away
    yet), ``priority``, ``asked_priority`` where ageing or somebody changed it, ``bumped`` when it stands before others
    of its priority, ``resources``, ``position`` (waiting only; 1 = next in the lines of its resources), and what the
    owner wrote: ``run``, ``workspace``, ``command``, ``label``, ``queued_at``, ``granted_at``, ``waits_for`` (let in,
    it waits for room on the host: why). Takes no lock, changes nothing.
    """
    rows: list[dict[str, Any]] = []
    line: list[Name] = []  # the living waiters so far
    for name in _names(folder):
        facts, held = _facts(folder, name)
        state = _STATES[name.state]
        if state != "parked" and not held:
            if name.state == "r" and facts.get("kind") == "script":
                continue  # given back: a script's descriptor closes without putting the file away
            state = "dead"
        row = {
            "ticket": name.seq,
            "state": state,
            "priority": names.priority_name(name.priority),
            "resources": name.needs,
            "pid": name.pid,
        }
        if state != "running":
            row.update(_moved(name, facts))
        if state == "waiting":
            row["position"] = 1 + sum(_share(name, each) for each in line)
            line.append(name)
        told = {k: facts[k] for k, kind in _OWNERS.items() if isinstance(facts.get(k), kind)}
        rows.append({**row, **{k: v for k, v in told.items() if v or k != "waits_for"}})
    return rows


def _moved(name: Name, facts: dict[str, Any]) -> dict[str, Any]:
    """How a ticket's place differs from what it asked for."""
    found: dict[str, Any] = {}
    asked = facts.get("asked")
    if isinstance(asked, int) and names.class_of(asked) != names.class_of(name.priority):
        found["asked_priority"] = names.priority_name(asked)
    if name.priority != names.class_of(name.priority):
        found["bumped"] = True
    return found


def _names(folder: str) -> list[Name]:
    try:
        files = os.listdir(os.path.join(folder, "tickets"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [n for n in map(names.parse, files) if n is not None]
    return sorted(found, key=lambda n: ("rwp".index(n.state), n.file))


def _facts(folder: str, name: Name) -> tuple[dict[str, Any], bool]:
    """(what the owner wrote, whether the lock is held). A shared lock held for an instant by a look disturbs nobody."""
    try:
        fd = os.open(os.path.join(folder, "tickets", name.file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}, False
    try:
        facts = read_facts(fd)
        held = not flock(fd, SH | NB, name.file)
        return facts, held or (name.state == "r" and survives(fd, name))
    finally:
        os.close(fd)


def paused(folder: str) -> dict[str, str]:
    """{resource that nobody new gets: reason}; for a device out of service that begins with `names.OUT_OF_SERVICE`."""
    return pauses(folder) | {f"device:{device}": told(facts) for device, facts in out_of_service(folder).items()}


def pauses(folder: str) -> dict[str, str]:
    """{resource that `pause` stopped: reason}."""
    found = {}
    tickets = os.path.join(folder, "tickets")
    try:
        files = os.listdir(tickets)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for file in sorted(files):
        if file.startswith("P."):
            try:
                with open(os.path.join(tickets, file), encoding="utf-8", errors="replace") as f:
                    found[file[2:]] = f.read().strip()
            except OSError:
                continue
    return found


class Standing:
    """How one ticket stands: ``position`` (1 = next), the ``holders``, ``expected_seconds`` until the start or None."""

    __slots__ = ("expected_seconds", "holders", "paused", "position")

    def __init__(
        self, position: int, holders: list[dict[str, Any]], expected_seconds: float | None, paused: dict[str, str]
    ) -> None:
        self.position, self.holders, self.expected_seconds, self.paused = position, holders, expected_seconds, paused


def standing(folder: str, seq: int, slots: Callable[[str], int], *, pid: int = 0) -> Standing | None:
    """How ticket ``seq`` stands, or None when it does not wait any more.

    With ``pid`` that process's ticket: it has another number when the folder was cleaned away meanwhile.
    """
    found = _names(folder)
    mine = next((n for n in found if n.state == "w" and (n.pid == pid if pid else n.seq == seq)), None)
    if mine is None:
        return None
    ahead = [n for n in found if n.state == "w" and n.file < mine.file and _share(mine, n) and _facts(folder, n)[1]]
    running = [n for n in found if n.state == "r" and _share(mine, n)]
    now = time.time()
    holders = []
    for name in running:
        facts, _ = _facts(folder, name)
        holders.append({**facts, "ticket": name.seq, "held_seconds": max(0.0, now - facts.get("started", now))})
    reasons = paused(folder)
    stopped = {r: reasons[r] for r in mine.lines if r in reasons} if mine.held_back(reasons.keys()) else {}
    lines = [r for r in mine.lines if r not in reasons]
    held = {h["ticket"]: h["held_seconds"] for h in holders}
    frees = {r: _frees(folder, r, slots(r), [held[n.seq] for n in running if r in n.needs]) for r in lines}
    unknown = stopped or any(h.get("waits_for") for h in holders)  # nobody knows when that one begins
    expected = None if unknown else _expected(mine, ahead, frees)
    return Standing(len(ahead) + 1, holders, expected, stopped)


def _share(one: Name, other: Name) -> bool:
    """Whether two tickets stand in one line."""
    return not set(one.lines).isdisjoint(other.lines)


class _Frees:
    """When the slots of a resource become free, in seconds from now, if each hold is as long as the ``typical`` one."""

    def __init__(self, typical: float, times: list[float]) -> None:
        self.typical, self.times = typical, times

    def take(self) -> None:
        """One more is served there, as soon as it can be."""
        self.times[0] += self.typical
        self.times.sort()


def _frees(folder: str, resource: str, slots: int, held: list[float]) -> _Frees | None:
    """None without a record of holds."""
    from k1ctl.queue import history

    typical = history.typical(folder, resource)
    if typical is None:
        return None
    times = sorted(max(0.0, typical - seconds) for seconds in held)
    return _Frees(typical, [0.0] * max(0, max(1, slots) - len(times)) + times)


def _expected(mine: Name, ahead: list[Name], frees: dict[str, _Frees | None]) -> float | None:
    """Seconds until all that ``mine`` needs has room for one behind those ahead, served in order; None: not known."""
    for name in ahead:
        for each in _served_by(name, frees):
            if each is not None:
                each.take()
    found = _served_by(mine, frees)
    known = [each.times[0] for each in found if each is not None]
    return round(max(known), 3) if known and len(known) == len(mine.needs) else None


def _served_by(name: Name, frees: dict[str, _Frees | None]) -> list[_Frees | None]:
    """What a ticket will be served by: of a choice, what is free first."""
    found: list[_Frees | None] = []
    for resource in name.needs:
        each = [f for f in (frees.get(r) for r in names.alternatives(resource)) if f is not None]
        found.append(min(each, key=lambda f: f.times[0]) if each else None)
    return found


def find(folder: str, wanted: str) -> dict[str, Any]:
    """The entry with this ticket number or run id. Raises TicketNotFoundError."""
    for row in entries(folder):
        if wanted in (str(row["ticket"]), row.get("run")):
            return row
    raise TicketNotFoundError(f"no ticket or run {wanted!r} is in the queue", hint="k1ctl queue list shows them")


def cancel(folder: str, ticket: int, by: str) -> bool:
    """Take a waiting or parked ticket out of the line; False when it neither waits nor is parked (any more)."""
    line = Line(folder)
    with line:
        _, waiting, parked, _ = line.scan()
        name = next((n for n in [*waiting, *parked] if n.seq == ticket), None)
        if name is None:
            return False
        path = line.tickets + name.file
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            write_facts(fd, {**read_facts(fd), "cancelled": by})
        finally:
            os.close(fd)
        living = name.state == "w" and line.alive(name)
        try:
            os.unlink(path)
        except FileNotFoundError:  # it was dead and has just been parked
            try:
                os.unlink(line.tickets + name.with_state("p"))
            except FileNotFoundError:
                pass
        if living:
            line.look_again(name)
    line.close()
    return True


def bump(folder: str, ticket: int, priority: str = "", *, dry_run: bool = False) -> tuple[Name, Name] | None:
    """Put a waiting ticket before all others of its priority, or into ``priority`` at the place of its number.

    Returns its name before and after; None when it does not wait (any more). The places of all others, among each
    other, stay.
    """
    line = Line(folder)
    with line:
        waiting = line.scan()[1]
        name = next((n for n in waiting if n.seq == ticket), None)
        if name is None or not line.alive(name):
            return None
        rivals = [n for n in waiting if n.seq != ticket and _share(name, n)]
        rank = names.front_of(name.priority, [n.priority for n in rivals if n.file < name.file])
        after = names.Name(name.with_priority(names.PRIORITIES[priority] if priority else rank))
        if not dry_run and after.file != name.file:
            os.rename(line.tickets + name.file, line.tickets + after.file)
            for each in [after, *rivals]:  # whom it passed has to watch it now, whom it let pass may have room
                if line.alive(each):
                    line.look_again(each)
    line.close()
    return name, after


def position(folder: str, name: Name) -> int:
    """Where a waiting ticket of this name stands in the lines of its resources; 1 = next."""
    rivals = [n for n in _names(folder) if n.state == "w" and n.seq != name.seq and n.file < name.file]
    return 1 + sum(_share(name, n) and _facts(folder, n)[1] for n in rivals)


def pause(folder: str, resource: str, reason: str) -> bool:
    """Let nobody new have ``resource``; False when it was paused already. Who runs goes on."""
    names.check_resource(resource)
    with Line(folder) as line:
        path = line.tickets + "P." + resource
        new = not os.path.exists(path)
        with open(path, "w", encoding="utf-8") as f:
            f.write(reason + "\n")
        line.wake_all()  # a ticket that names a paused resource claims nothing else any more
    line.close()
    return new


def resume(folder: str, resource: str) -> bool:
    """Undo `pause`; False when it was not paused."""
    return lift(folder, "P." + resource)


def describe(entry: dict[str, Any]) -> str:
    """An entry's owner in a few words: workspace, command, label."""
    words = [str(entry.get("workspace", "?")), str(entry.get("label") or entry.get("command") or "?")]
    return ": ".join(words)
