"""The folder of tickets: the mutex, the listing, and who in it is alive."""

from __future__ import annotations

import fcntl
import os
import time

from k1ctl.errors import ConfigError
from k1ctl.files import flock, same_file
from k1ctl.jsontext import dumps, loads
from k1ctl.queue import names
from k1ctl.queue.order import Room, eligible
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from typing import Any

    from k1ctl.queue.names import Name

_NUMBERS = 10**10  # ticket numbers have ten digits in a name
EX, SH, NB, UN = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB, fcntl.LOCK_UN


class Waiting:
    """The waiting tickets of one look, in the order of service; a name is read only when somebody comes to it.

    A hundred names take longer to read than all the rest of a decision, which mostly needs the first.
    """

    __slots__ = ("_files", "_known")

    def __init__(self, files: list[str], known: dict[str, Name | None]) -> None:
        self._files, self._known = files, known

    def __iter__(self) -> Iterator[Name]:
        return self.behind("")

    def behind(self, place: str) -> Iterator[Name]:
        """Those whose names come behind the name ``place``."""
        return self._named(file for file in self._files if file > place)

    def _named(self, files: Iterable[str]) -> Iterator[Name]:
        known = self._known
        for file in files:
            if file not in known:
                known[file] = names.parse(file)
            name = known[file]
            if name is not None:
                yield name

    def ahead_of(self, place: str) -> Iterator[Name]:
        """Those whose names come before the name ``place``."""
        return self._named(file for file in self._files if file < place)

    def entangled(self) -> bool:
        """Whether one of them wants several resources or has a choice: then not only the first in a line has room."""
        text = "".join(self._files)
        return "," in text or names.CHOICE in text

    def choices(self) -> Iterator[Name]:
        """Those that have a choice."""
        there = names.CHOICE in "".join(self._files)  # mostly not, and this tells in a third of the time
        return self._named([file for file in self._files if names.CHOICE in file] if there else ())


class Line:
    """All tickets of one queue folder; ``with line:`` holds the mutex, and every decision is made under it.

    ``note(event, **fields)`` is told what happens to tickets whose owner is gone; ``park_seconds`` is how long such a
    waiter's place is kept.
    """

    def __init__(self, folder: str, *, park_seconds: float = 900.0, note: Callable[..., None] | None = None) -> None:
        self.folder, self.park_seconds = folder, park_seconds
        self.tickets = os.path.join(folder, "tickets") + os.sep
        self.note = note or (lambda event, **fields: None)
        self.survivors: set[int] = set()  # leases met in the last look whose supervisor is dead and whose command lives
        self._mutex = os.path.join(folder, "mutex")
        self._fd = -1
        self._known: dict[str, Name | None] = {}

    def __enter__(self) -> Line:
        while True:
            if self._fd < 0:
                self._open()
                continue
            flock(self._fd, EX, self._mutex)
            if same_file(self._fd, self._mutex) and os.path.isdir(self.tickets):
                return self
            os.close(self._fd)  # somebody cleaned the folder away
            self._fd = -1

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self._fd, UN)

    def _open(self) -> None:
        try:
            os.makedirs(self.tickets, exist_ok=True)
            self._fd = os.open(self._mutex, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # cleaned away between the two
            return
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
            there = self.tickets.rstrip(os.sep)
            if isinstance(exc, FileExistsError) and (os.path.isdir(there) or not os.path.lexists(there)):
                return  # it came or went at this very moment
            raise ConfigError(
                f"{self.folder} cannot be the queue's folder: {exc.filename} is in the way", code="bad-queue-folder"
            ) from exc

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # what follows is called with the mutex held

    def scan(self) -> tuple[list[Name], Waiting, list[Name], set[str]]:
        """(running, waiting, parked, paused resources); tickets in the order of service."""
        files = sorted(os.listdir(self.tickets))
        known = self._known  # parsing is most of a scan's time, and a step scans several times
        if len(known) > 4 * len(files) + 100:
            known.clear()
        kinds: dict[str, list[Name]] = {"r": [], "p": []}
        waiting, paused = [], set()
        for file in files:
            if file[0] == "w":
                waiting.append(file)
            elif file[1:2] == "." and file[0] in "PD":
                paused.add(file[2:])
            else:
                if file not in known:
                    known[file] = names.parse(file)
                name = known[file]
                if name is not None:
                    kinds[name.state].append(name)
        return kinds["r"], Waiting(waiting, known), kinds["p"], paused

    def next_number(self) -> int:
        """The next ticket number. It only grows: kept in the mutex file, never taken from a clock."""
        text = os.pread(self._fd, 32, 0).split(b"\n")[0].strip()
        last = int(text) if text.isdigit() else 0
        if last >= _NUMBERS:
            last = 0
        for file in os.listdir(self.tickets):  # a damaged or restored file must not give a living number again
            number = file[4:14]
            if file[3:4] == "." and number.isdecimal():
                last = max(last, int(number))
        os.pwrite(self._fd, b"%-20d\n" % (last + 1), 0)
        return last + 1

    def alive(self, name: Name) -> bool:
        """Whether somebody still holds the ticket's lock, or its command outlived it; a dead ticket is put away."""
        path = self.tickets + name.file
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if not flock(fd, SH | NB, path):
                return True
            if name.state == "r" and survives(fd, name):
                self.survivors.add(name.seq)
                return True
            closed = name.state == "r" and read_facts(fd).get("kind") == "script"
        finally:
            os.close(fd)
        self.put_away(name, closed=closed)
        return False

    def put_away(self, name: Name, *, closed: bool = False) -> None:
        """A dead waiter with a key is parked, any other dead ticket removed.

        ``closed``: a script's lease, which ends by closing its descriptor: that is no death.
        """
        path = self.tickets + name.file
        try:
            if name.state == "w" and name.key:
                os.utime(path)
                os.rename(path, self.tickets + name.with_state("p"))
                self.note("queue.parked", ticket=name.seq)
            else:
                os.unlink(path)
                if closed:
                    self.note("queue.released", ticket=name.seq, resources=name.needs)
                else:
                    self.note("queue.reaped", ticket=name.seq, was="running" if name.state == "r" else "waiting")
        except FileNotFoundError:
            pass

    def expire_parked(self, parked: list[Name]) -> list[Name]:
        """Remove places that were parked too long ago; the rest is returned."""
        kept = []
        for name in parked:
            path = self.tickets + name.file
            try:
                age = time.time() - os.stat(path).st_mtime
                if age > self.park_seconds or age < -86400:  # the second: a clock that was set back by a day or more
                    os.unlink(path)
                    self.note("queue.reaped", ticket=name.seq, was="parked")
                    continue
            except FileNotFoundError:
                continue
            kept.append(name)
        return kept

    def take_over(self, key: str) -> tuple[Name, int] | None:
        """The ticket of this key whose waiter died, locked for us, with its descriptor; None when there is none."""
        _, waiting, parked, _ = self.scan()
        for name in [*self.expire_parked(parked), *waiting]:
            if name.key != key:
                continue
            path = self.tickets + name.file
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            if flock(fd, SH | NB, path):  # nobody owns it; those who watched it may still hold it shared for a moment
                for _ in range(40):
                    if flock(fd, EX | NB, path):
                        return name, fd
                    time.sleep(0.0005)
            os.close(fd)
        return None

    def wake_first(self, resources: Collection[str], waiting: Waiting, paused: set[str], after: str = "") -> None:
        """Wake the first living waiter (behind the name ``after``) for each of the resources."""
        first = [self._first_waiting(r, waiting, paused, after) for r in resources]
        for name in {n.seq: n for n in first if n is not None}.values():
            self.look_again(name)

    def _first_waiting(self, resource: str, waiting: Waiting, paused: set[str], after: str) -> Name | None:
        for name in waiting.behind(after):
            if resource in name.lines and not name.held_back(paused) and self.alive(name):
                return name
        return None

    def wake_eligible(self, slots: Callable[[str], int], seq: int) -> None:
        """Wake everyone but ``seq`` who has room now. Where some want several resources, it need not be the first."""
        running, waiting, _, paused = self.scan()
        for name, _ in eligible(waiting, self.room(running, slots), paused, self.alive):
            if name.seq != seq:
                self.look_again(name)

    def wake_all(self) -> None:
        """Wake every living waiter."""
        for name in self.scan()[1]:
            if self.alive(name):
                self.look_again(name)

    def room(self, running: list[Name], slots: Callable[[str], int]) -> Room:
        """What the living ones of the leases ``running`` leave free. Who lives is asked first: who dies between the two
        questions may have left what it had to one without a ticket."""
        return Room(lambda r: -sum(n.needs[r] for n in running if r in n.needs and self.alive(n)) + slots(r))

    def look_again(self, name: Name) -> None:
        """Wake a living waiter. Its lock was seen held, so its pid is its own; every wake-up is allowed to fail."""

        try:
            os.kill(name.pid, signals.SIGUSR1)
        except OSError:
            pass


def lift(folder: str, mark: str) -> bool:
    """Take a mark that holds tickets back (a pause) away and wake all; False when it was not there."""
    line = Line(folder)
    try:
        with line:
            try:
                os.unlink(line.tickets + mark)
            except FileNotFoundError:
                return False
            finally:
                line.wake_all()
        return True
    finally:
        line.close()


def survives(fd: int, name: Name) -> bool:
    """A lease without a lock holder: the supervisor died. Does what it started still run without the lock?

    Python's subprocess and Node close the lock's descriptor for their children. A supervisor that was killed before it
    wrote its command's group down leaves at least its own number, which is its session's.
    """
    from k1ctl import groups

    facts = read_facts(fd)
    if not facts.get("group"):
        return groups.session_lives(name.pid, os.fstat(fd).st_mtime)
    return groups.lives(facts["group"], facts)


def read_facts(fd: int) -> dict[str, Any]:
    """What the owner wrote about itself into its ticket; {} when torn or empty."""
    try:
        facts = loads(os.pread(fd, 65536, 0).decode())
    except (ValueError, OSError):
        return {}
    return facts if isinstance(facts, dict) else {}


def write_facts(fd: int, facts: dict[str, Any]) -> None:
    """Replace what stands in the owner's own ticket. A full disk loses only what people would read."""
    data = dumps(facts).encode() + b"\n"
    try:
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
    except OSError:
        pass
