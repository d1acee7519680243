"""Looking at the queue and acting on it from outside: who holds, who waits, how long still; cancel, pause, resume."""

from __future__ import annotations

import os
import time

from k1ctl.errors import K1ctlError
from k1ctl.files import flock
from k1ctl.queue import names
from k1ctl.queue.line import NB, SH, Line, read_facts, survives, write_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.queue.names import Name


class TicketNotFoundError(K1ctlError):
    """No ticket with this number or run id stands in the queue."""

    code = "no-such-ticket"


_STATES = {"r": "running", "w": "waiting", "p": "parked"}


def entries(folder: str) -> list[dict[str, Any]]:
    """Every ticket, running ones first, then waiting ones in the order of service, then parked ones.

    Each: ``ticket``, ``state`` (running, waiting, parked, or dead when its owner is gone and nobody has put it away
    yet), ``priority``, ``asked_priority`` where ageing or somebody changed it, ``bumped`` when it stands before others
    of its priority, ``resources``, ``position`` (waiting only; 1 = next in the lines of its resources), and what the
    owner wrote: ``run``, ``workspace``, ``command``, ``label``, ``queued_at``, ``granted_at``. Takes no lock,
    changes nothing.
    """
    rows: list[dict[str, Any]] = []
    line: list[dict[str, int]] = []  # what the living waiters so far ask for
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
            row["position"] = 1 + sum(not name.needs.keys().isdisjoint(needs) for needs in line)
            line.append(name.needs)
        wanted = ("run", "kind", "workspace", "command", "label", "queued_at", "granted_at", "group", "keep", "owner")
        rows.append({**row, **{k: facts[k] for k in wanted if k in facts}})
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
    """{paused resource: reason}."""
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
    rivals = [n for n in found if n.state == "w" and not mine.needs.keys().isdisjoint(n.needs)]
    ahead = [n for n in rivals if n.file < mine.file and _facts(folder, n)[1]]
    running = [n for n in found if n.state == "r" and not mine.needs.keys().isdisjoint(n.needs)]
    now = time.time()
    holders = []
    for name in running:
        facts, _ = _facts(folder, name)
        holders.append({**facts, "ticket": name.seq, "held_seconds": max(0.0, now - facts.get("started", now))})
    times = [_expected(folder, r, slots(r), holders, running, ahead) for r in mine.needs]
    known = [t for t in times if t is not None]
    expected = round(max(known), 3) if known and len(known) == len(times) else None
    stopped = {r: why for r, why in paused(folder).items() if r in mine.needs}
    return Standing(len(ahead) + 1, holders, expected, stopped)


def _expected(
    folder: str, resource: str, slots: int, holders: list[dict[str, Any]], running: list[Name], ahead: list[Name]
) -> float | None:
    """Seconds until ``resource`` has room for one behind those ahead: the median of past holds, served in order."""
    from k1ctl.queue import history

    typical = history.typical(folder, resource)
    if typical is None:
        return None
    held = {h["ticket"]: h["held_seconds"] for h in holders}
    frees: list[float] = sorted(max(0.0, typical - held[n.seq]) for n in running if resource in n.needs)
    frees = [0.0] * max(0, max(1, slots) - len(frees)) + frees
    for _ in range(sum(resource in n.needs for n in ahead)):
        frees[0] += typical
        frees.sort()
    return frees[0]


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
        rivals = [n for n in waiting if n.seq != ticket and not name.needs.keys().isdisjoint(n.needs)]
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
    return 1 + sum(not name.needs.keys().isdisjoint(n.needs) and _facts(folder, n)[1] for n in rivals)


def pause(folder: str, resource: str, reason: str) -> bool:
    """Let nobody new have ``resource``; False when it was paused already. Who runs goes on."""
    names.check_resource(resource)
    with Line(folder) as line:
        path = line.tickets + "P." + resource
        new = not os.path.exists(path)
        with open(path, "w", encoding="utf-8") as f:
            f.write(reason + "\n")
        _wake_all(line)  # a ticket that names a paused resource claims nothing else any more
    line.close()
    return new


def resume(folder: str, resource: str) -> bool:
    """Undo `pause`; False when it was not paused."""
    with Line(folder) as line:
        try:
            os.unlink(line.tickets + "P." + resource)
        except FileNotFoundError:
            return False
        finally:
            _wake_all(line)
    line.close()
    return True


def _wake_all(line: Line) -> None:
    for name in line.scan()[1]:
        if line.alive(name):
            line.look_again(name)


def describe(entry: dict[str, Any]) -> str:
    """An entry's owner in a few words: workspace, command, label."""
    words = [str(entry.get("workspace", "?")), str(entry.get("label") or entry.get("command") or "?")]
    return ": ".join(words)
