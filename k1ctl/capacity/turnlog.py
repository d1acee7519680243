"""What happened here: builds, uploads, and the turns of workspaces that they make up, from the events and the records.

A turn begins when a workspace asks for a build slot and ends with that build, or with the upload that follows before
its next build. Read only; what is damaged or torn is passed over and counted. The newest events are read first and no
more than `MOST` lines of them, so that years of history take no longer than the last months.
"""

from __future__ import annotations

import os
import time
from collections import deque

from k1ctl.events import parse
from k1ctl.files import read_json
from k1ctl.units import parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

MOST = 100_000  # lines of events that are read, the newest
RECORDS = 2000  # run folders that are looked at, the newest: process.keep_runs keeps 1000
DAYS = 30  # that are read unless told otherwise
AWAY = 7200.0  # s: a workspace that does nothing for longer does not think but is left alone
_TOLD = (b'"queue.granted"', b'"capacity.granted"', b'"run.ended"', b'"queue.released"', b'"build.finished"')
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
NEVER = 1e9  # s: no run is so long
_BYTES = 64 << 20  # of events that are read, the newest: twice what `MOST` lines mostly have
_LONGEST = 8192  # bytes of a line: k1ctl.events writes shorter ones


class Work:
    """One run that held a slot or a device: ``resources`` {name: slots}; ``asked``, ``began`` and ``ended`` in seconds
    since 1970; ``kind`` as in its record (build, upload, run)."""

    __slots__ = ("asked", "began", "ended", "kind", "resources", "run", "workspace")

    def __init__(
        self, run: str, workspace: str, kind: str, resources: Iterable[str], asked: float, began: float, ended: float
    ) -> None:
        self.run, self.workspace, self.kind, self.resources = run, workspace, kind, tuple(resources)
        self.asked, self.began, self.ended = asked, began, ended


class Turn:
    """A workspace's turn: ``slot`` is the resource it was built on; ``wait``, ``build``, ``upload_wait`` and ``upload``
    in seconds (no upload: both 0); ``think``: seconds of doing neither until it asked again, None where that is not
    known or it was left alone; ``begun`` in seconds since 1970; ``length``: all of it but the thinking."""

    __slots__ = ("begun", "build", "ended", "idle", "slot", "think", "upload", "upload_wait", "wait", "workspace")

    def __init__(self, work: Work, slot: str) -> None:
        self.workspace, self.slot, self.begun, self.ended = work.workspace, slot, work.asked, work.ended
        self.wait, self.build = max(0.0, work.began - work.asked), work.ended - work.began
        self.upload_wait = self.upload = self.idle = 0.0
        self.think: float | None = None

    @property
    def length(self) -> float:
        return self.wait + self.build + self.upload_wait + self.upload


class Log:
    """``works`` in the order in which they asked; ``lines`` of events read, ``damaged`` ones among them, ``cut``: there
    were older ones that were not read; ``records`` of runs that had no events."""

    __slots__ = ("cut", "damaged", "lines", "records", "works")

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.lines = self.damaged = self.records = 0
        self.cut = False


def read(ops: str, *, since: float = 0.0, most: int = MOST) -> Log:
    """The work recorded under ``ops``, from ``since`` (seconds since 1970) on."""
    log, found = Log(), _Found()
    for line in reversed([*_newest(os.path.join(ops, "events"), since, most, log)]):
        try:
            work = found.runs.take(parse(line.decode()) or {})
            if work is not None:
                found.works[work.run] = work
        except _DAMAGE:
            log.damaged += 1
    _records(os.path.join(ops, "runs"), since, found, log)
    log.works = sorted((w for w in found.works.values() if w.asked >= since), key=lambda w: w.asked)
    return log


def turns(works: Iterable[Work], is_slot: Callable[[str], bool]) -> list[Turn]:
    """The turns that ``works`` make up, in order of time; ``is_slot`` tells the resources that builds are done on."""
    current: dict[str, Turn] = {}
    found = []
    for work in works:
        begun = follow(current, work, next((r for r in work.resources if is_slot(r)), None))
        found += [] if begun is None else [begun]
    return found


def follow(current: dict[str, Turn], work: Work, slot: str | None) -> Turn | None:
    """Take a workspace's next work into ``current`` {workspace: its turn}; ``slot`` is the resource it was built on,
    None where it was no build. Returns the turn that began with it; the one before is over then."""
    last = current.get(work.workspace)
    if slot is not None:
        if last is not None:
            gap = work.asked - last.ended
            last.think = last.idle + gap if 0 <= gap <= AWAY else None
        current[work.workspace] = turn = Turn(work, slot)
        return turn
    if work.kind == "upload" and last is not None and 0 <= work.asked - last.ended <= AWAY:
        last.idle += work.asked - last.ended
        last.upload_wait += max(0.0, work.began - work.asked)
        last.upload += work.ended - work.began
        last.ended = work.ended
    return None


class Runs:
    """Works put together from their events: ``granted`` {run: (at, wait, resources, workspace)} of those that have not
    ended, ``seconds`` that a finished build took, ``promised``: the wait for promised memory."""

    def __init__(self) -> None:
        self.granted: dict[str, tuple[float, float, dict[str, int], str]] = {}
        self.seconds: dict[str, float] = {}
        self.promised: dict[str, float] = {}
        self.days: dict[str, float] = {}

    def take(self, event: dict[str, Any]) -> Work | None:
        """The work that ended with an event; ValueError, KeyError, TypeError for one that is not as we write it."""
        name, run, at = event["event"], event["run"], self.epoch(event["at"])
        if not isinstance(run, str):
            raise TypeError(run)
        if name == "queue.granted":
            # written when the command begins: behind the place in line it may have waited for promised memory
            wait = float(event["wait_seconds"]) + self.promised.pop(run, 0.0)
            self.granted[run] = at, wait, dict(event["resources"]), str(event["workspace"])
        elif name == "capacity.granted":
            self.promised[run] = float(event["wait_seconds"])
        elif name == "build.finished":
            if event.get("seconds") is not None:
                self.seconds[run] = float(event["seconds"])
        elif run in self.granted and (name == "run.ended" or "held_seconds" in event):
            began, wait, resources, workspace = self.granted.pop(run)
            began = at - event["held_seconds"] if name == "queue.released" else began
            # a build that is over within milliseconds is written down as granted when it has ended
            began = min(began, at - self.seconds.pop(run)) if run in self.seconds else began
            if not (0 <= wait < NEVER and 0 <= at - began < NEVER):
                raise ValueError("a time before another")
            return Work(run, workspace, str(event.get("kind", "run")), resources, began - wait, began, at)
        return None

    def epoch(self, text: str) -> float:
        """Seconds since 1970 of an event's time. Raises ValueError, TypeError."""
        day = self.days.get(text[:10])
        if day is None:
            day = self.days[text[:10]] = parse_rfc3339(text[:10] + "T00:00:00Z")
        if text[10] != "T" or text[-1] != "Z":
            raise ValueError(text)
        return day + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + float(text[17:-1])


class _Found:
    """The works of the events, by run."""

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        self.runs = Runs()


def _newest(folder: str, since: float, most: int, log: Log) -> Iterator[bytes]:
    """Lines of the events that tell of turns, the newest first."""
    from k1ctl.events_files import open_part, parts

    left = _BYTES
    for part in reversed(parts(folder, since=time.strftime("%Y-%m-%d", time.gmtime(max(0.0, since))))):
        if log.lines >= most or left <= 0:
            log.cut = True
            return
        lines: deque[bytes] = deque(maxlen=most - log.lines)
        number = 0
        try:
            opened = open_part(folder, part)
            if opened is None:
                continue
            with opened:
                skipped = max(0, opened.size - left)
                left -= opened.size
                for block in opened.blocks(skipped):
                    found = block.splitlines()
                    number += len(found)
                    lines.extend(found)
        except OSError:
            log.damaged += 1
            continue
        log.cut = log.cut or skipped > 0 or number > len(lines)
        log.lines += len(lines)
        for line in reversed(lines):
            if len(line) > _LONGEST:
                log.damaged += 1
            elif any(word in line for word in _TOLD):
                yield line


def _records(folder: str, since: float, found: _Found, log: Log) -> None:
    """What the newest records of runs tell that no event did."""
    try:
        ids = sorted(os.listdir(folder), reverse=True)[:RECORDS]
    except OSError:
        return
    for run in ids:
        if run in found.works:
            continue
        try:
            kept = read_json(os.path.join(folder, run, "run.json")) or {}
            clock, ended = kept["monotonic"], found.runs.epoch(kept["ended_at"])
            held = clock["released"] - clock.get("admitted", clock["granted"])
            waited = clock["released"] - held - clock["enqueued"]
            if ended < since or kept["run"] != run:
                continue
            if not (0 <= held < NEVER and 0 <= waited < NEVER):
                raise ValueError("a time before another")
            began = ended - held
            resources, name = dict(kept["resources"]), str(kept["workspace"])
            found.works[run] = Work(run, name, str(kept["kind"]), resources, began - waited, began, ended)
            log.records += 1
        except KeyError:
            continue  # it was never let in, or it is under way
        except _DAMAGE:
            log.damaged += 1
