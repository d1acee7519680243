"""The tally: events in, figures out. Knows nothing of files."""

from __future__ import annotations

import time
from collections import deque

from k1ctl.capacity.turnlog import AWAY, Runs, Turn, Work, follow
from k1ctl.events import parse_piece
from k1ctl.jsontext import loads
from k1ctl.tally import kinds
from k1ctl.tally.histogram import Histogram
from k1ctl.tally.kinds import Outcome
from k1ctl.tally.windows import Series, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAST, WORKSPACES, OPEN = 100, 500, 2000
NAMES, SERIES = 200, 40  # names of events and of resources; kinds and targets
OTHER = "other"  # what one name more counts as
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError)
_UNCLASSED = ("tree:", "port:")  # kinds of resources of which there is one a worktree
_MESSAGE = 200  # characters of it that are kept
_RUNS = ("queue.granted", "capacity.granted", "queue.released", "build.finished", "run.ended")
_SETUP = ("worktree.added", "worktree.setup")
_FEW = 1 << 16  # bytes of lines that are parsed one by one
_AGES = 2 * AWAY  # s: whoever has done nothing for so long has no upload in line that belongs to his turn


class Activity:
    """What a workspace did: ``at`` (RFC 3339) and ``event`` of the last thing, its last ``build`` and ``upload``
    (None: never), the steps in which its last set-up failed (``unset``; "": in none), and how many ``turns`` were
    over."""

    __slots__ = ("at", "build", "event", "turns", "unset", "upload")

    def __init__(self, at: str = "", event: str = "") -> None:
        self.at, self.event, self.turns, self.unset = at, event, 0, ""
        self.build: Outcome | None = None
        self.upload: Outcome | None = None


class Tally:
    """What all events come to.

    ``outcomes`` {(kind, target, result): number}, ``seconds`` {(kind, target): Histogram} with ("turn", "") for turns,
    ``waits`` {resource: Histogram} of the wait for what was granted, ``counts`` {event: number}, ``workspaces``
    {name: Activity}; ``since`` and ``at``: time of the first and of the last event (RFC 3339, "" before any);
    ``events`` read, and ``bad_lines`` that are none, or not as k1ctl writes them.
    """

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now
        self.outcomes: dict[tuple[str, str, str], int] = {}
        self.seconds: dict[tuple[str, str], Histogram] = {}
        self.waits: dict[str, Histogram] = {}
        self.counts: dict[str, int] = {}
        self.workspaces: dict[str, Activity] = {}
        self.since = self.at = ""
        self.events = self.bad_lines = 0
        self.recent: deque[Outcome] = deque(maxlen=LAST)
        self.series: dict[tuple[str, str], Series] = {}
        self.runs = Runs()
        self.told: dict[str, None] = {}  # runs of which an event has said how they ended
        self.turns: dict[str, Turn] = {}  # that are under way

    @property
    def last(self) -> list[Outcome]:
        """The last 100 things that ended, newest first."""
        return list(self.recent)

    def window(self, kind: str, seconds: float, *, target: str = "", now: float | None = None) -> Window:
        """What ended within the last ``seconds`` (of one ``target``; "": of all): of the last 6 hours to 5 minutes, of
        up to 35 days to an hour."""
        now = time.time() if now is None else now
        window = Window()
        for (of, name), series in self.series.items():
            if of == kind and target in ("", name):
                series.into(window, now - seconds, now)
        return window

    def take_lines(self, block: bytes) -> None:
        """Count the events in whole lines; one that is damaged is counted as that."""
        if len(block) <= _FEW or not self._take_many(block):
            for line in block.splitlines():
                self._take_line(line)
        for known in (self.runs.granted, self.runs.seconds, self.runs.promised, self.told):
            while len(known) > OPEN:
                del known[next(iter(known))]  # the oldest: its end was lost, or is days away

    def _take_line(self, line: bytes) -> None:
        event, before = parse_piece(line.decode("utf-8", "replace"))
        self.bad_lines += event is None or before > 0
        if event is not None:
            try:
                self.take(event)
            except DAMAGE:
                self.bad_lines += 1

    def take(self, event: dict[str, Any]) -> None:
        """Count one event. Raises one of `DAMAGE` for one that is not as k1ctl writes it."""
        at, name, workspace = str(event["at"]), str(event["event"]), str(event.get("workspace") or "")
        self.runs.epoch(at)
        self._count_name(name, 1)
        self._seen(at, at)
        self._active(workspace, at, name)
        self._details(event)

    def settle(self) -> None:
        """End the turns of those who have long done nothing."""
        for workspace in [name for name, turn in self.turns.items() if turn.ended < self.now - _AGES]:
            self._over(self.turns.pop(workspace))

    def prune(self) -> None:
        """Forget what is too old to be asked for."""
        for series in self.series.values():
            series.prune(self.now)

    def _take_many(self, block: bytes) -> bool:
        """The same for many lines, of which only those that tell of runs are parsed; False: one is not as we write."""
        import re

        line = rb'^\{"at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)","event":"([^"\\]*)","workspace":"([^"\\]*)"[,}]'
        heads = re.findall(line, block, re.MULTILINE)
        if not len(heads) == block.count(b"\n") == block.count(b"}\n") == block.count(b'{"at":"'):
            return False
        wanted = b"|".join(re.escape(name.encode()) for name in (*_RUNS, *_SETUP, *kinds.FINISHED))
        lines = re.findall(rb'^\{"at":"[^"]*","event":"(?:' + wanted + rb')".*$', block, re.MULTILINE)
        try:
            found = loads((b"[" + b",".join(lines) + b"]").decode(), bounded=True)
        except ValueError:
            return False
        from collections import Counter

        for name, number in Counter(head[1] for head in heads).items():
            self._count_name(name.decode(), number)
        times = [head[0] for head in heads]
        self._seen(min(times).decode(), max(times).decode())
        for at, name, workspace in {head[2]: head for head in sorted(heads, key=_at)}.values():
            self._active(workspace.decode(), at.decode(), name.decode())
        for event in found:
            try:
                self._details(event)
            except DAMAGE:
                self.bad_lines += 1
        return True

    def _count_name(self, name: str, number: int) -> None:
        name = name if name in self.counts or len(self.counts) < NAMES else OTHER
        self.counts[name] = self.counts.get(name, 0) + number
        self.events += number

    def _seen(self, first: str, last: str) -> None:
        self.since = min(self.since, first) if self.since else first
        self.at = max(self.at, last)

    def _active(self, workspace: str, at: str, event: str) -> None:
        if workspace:
            known = self._activity(workspace)
            if at >= known.at:
                known.at, known.event = at, event

    def _activity(self, workspace: str) -> Activity:
        """The workspace's, made when there is none; the one that was idle longest goes when there are too many."""
        known = self.workspaces.get(workspace)
        if known is None:
            if len(self.workspaces) >= WORKSPACES:
                gone = min(self.workspaces, key=lambda name: self.workspaces[name].at)
                del self.workspaces[gone]
            known = self.workspaces[workspace] = Activity()
        return known

    def _details(self, event: dict[str, Any]) -> None:
        name = event["event"]
        if name == "queue.granted":
            wait = float(event["wait_seconds"])
            for resource in event["resources"]:
                if not resource.startswith(_UNCLASSED):
                    _histogram(self.waits, resource, NAMES).add(wait)
        elif name in _SETUP:
            failed = [] if event.get("ok", True) else event["failed"]
            self._activity(event["workspace"]).unset = ", ".join(map(str, failed))[:_MESSAGE]
        kind = kinds.kind_of(event)
        if kind:
            self._ended(kind, event)
        if name in _RUNS:
            work = self.runs.take(event)
            if work is not None:
                self._worked(work)

    def _ended(self, kind: str, event: dict[str, Any]) -> None:
        run = str(event.get("run") or "")
        if run not in self.told:
            self._count(kind, event, self.runs.granted.get(run))
        if event["event"] == "run.ended":
            self.told.pop(run, None)
        elif run:
            self.told[run] = None

    def _count(self, kind: str, event: dict[str, Any], granted: kinds.Granted | None) -> None:
        when, result = self.runs.epoch(event["at"]), kinds.result_of(kind, event)
        target, seconds = kinds.target_of(kind, event, granted), kinds.seconds_of(kind, event, granted, self.runs.epoch)
        wait = granted[1] if granted else event.get("wait_seconds")
        outcome = Outcome(
            str(event["at"]),
            kind,
            target,
            result,
            workspace=str(event.get("workspace") or ""),
            run=str(event.get("run") or ""),
            device=kinds.device_of(event, granted),
            seconds=None if seconds is None else round(seconds, 3),
            wait_seconds=None if wait is None else float(wait),
            code=str(event.get("code") or ""),
            message=str(event.get("message") or "")[:_MESSAGE],
        )
        if (kind, target, result) not in self.outcomes and len(self.outcomes) >= NAMES:
            target = OTHER
        self.outcomes[kind, target, result] = self.outcomes.get((kind, target, result), 0) + 1
        self._timed(kind, target, when, kinds.verdict(kind, result), seconds if result == kinds.DONE else None)
        self.recent.appendleft(outcome)
        if kind == kinds.BUILD:
            self._activity(outcome.workspace).build = outcome
        elif kind == kinds.UPLOAD:
            self._activity(outcome.workspace).upload = outcome

    def _timed(self, kind: str, target: str, when: float, verdict: int, seconds: float | None) -> None:
        if (kind, target) not in self.series and len(self.series) >= SERIES:
            target = OTHER
        series = self.series.get((kind, target))
        if series is None:
            series = self.series[kind, target] = Series()
        series.add(when, verdict, seconds, self.now)
        if seconds is not None:
            _histogram(self.seconds, (kind, target), SERIES).add(seconds)

    def _worked(self, work: Work) -> None:
        before = self.turns.get(work.workspace)
        slot = next((r for r in work.resources if r.startswith("build:")), None)
        if follow(self.turns, work, slot) is not None and before is not None:
            self._over(before)
        if len(self.turns) > WORKSPACES:
            self._over(self.turns.pop(min(self.turns, key=lambda name: self.turns[name].ended)))

    def _over(self, turn: Turn) -> None:
        self._timed(kinds.TURN, "", turn.ended, 1, turn.length)
        if turn.workspace in self.workspaces:
            self.workspaces[turn.workspace].turns += 1


def _at(head: tuple[bytes, ...]) -> bytes:
    return head[0]


def _histogram(known: dict[Any, Histogram], key: Any, most: int) -> Histogram:
    if key not in known and len(known) >= most:
        key = OTHER if isinstance(key, str) else (key[0], OTHER)
    histogram = known.get(key)
    if histogram is None:
        histogram = known[key] = Histogram()
    return histogram
