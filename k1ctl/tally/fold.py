"""The tally: events in, figures out. Knows nothing of files."""

from __future__ import annotations

import time
from calendar import timegm

from k1ctl.capacity.turnlog import AWAY, Turn, Work
from k1ctl.tally import kinds
from k1ctl.tally.histogram import Histogram
from k1ctl.tally.kinds import Outcome
from k1ctl.tally.windows import Series, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAST, WORKSPACES, NAMES, OPEN = 100, 500, 200, 2000
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError)
OTHER = "other"  # what one name more than `NAMES` of them counts as
_UNCLASSED = ("tree", "port")  # kinds of resources of which there is one a worktree


class Activity:
    """What a workspace did: ``at`` (RFC 3339) and ``event`` of the last thing, its last ``build`` and ``upload``
    (None: never), and how many ``turns`` were over."""

    __slots__ = ("at", "build", "event", "turns", "upload")

    def __init__(self, at: str = "", event: str = "") -> None:
        self.at, self.event, self.turns = at, event, 0
        self.build: Outcome | None = None
        self.upload: Outcome | None = None


class Open:
    """A run that has not ended: ``asked`` and ``began`` (seconds since 1970), ``wait`` in seconds, what it holds."""

    __slots__ = ("asked", "began", "resources", "told", "wait", "workspace")

    def __init__(self, asked: float, began: float, wait: float, resources: list[str], workspace: str) -> None:
        self.asked, self.began, self.wait, self.resources, self.workspace = asked, began, wait, resources, workspace
        self.told = False  # an event has said how it ended


class Tally:
    """What all events come to.

    ``outcomes`` {(kind, target, result): number}, ``seconds`` {(kind, target): Histogram} with ("turn", "") for turns,
    ``waits`` {resource: Histogram} of the wait for what was granted, ``counts`` {event: number}, ``last`` [Outcome]
    newest first, ``workspaces`` {name: Activity}; ``since`` and ``at``: time of the first and of the last event
    (RFC 3339, "" before any); ``events`` read, and ``bad_lines`` that are none.
    """

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str, str], int] = {}
        self.seconds: dict[tuple[str, str], Histogram] = {}
        self.waits: dict[str, Histogram] = {}
        self.counts: dict[str, int] = {}
        self.last: list[Outcome] = []
        self.workspaces: dict[str, Activity] = {}
        self.since = self.at = ""
        self.events = self.bad_lines = 0
        self.series: dict[tuple[str, str], Series] = {}
        self.open: dict[str, Open] = {}
        self.promised: dict[str, float] = {}
        self.turns: dict[str, Turn] = {}
        self._days: dict[str, float] = {}

    def window(self, kind: str, seconds: float, *, target: str = "", now: float | None = None) -> Window:
        """What ended within the last ``seconds`` (of one ``target``; "": of all)."""
        now = time.time() if now is None else now
        window = Window()
        for (of, name), series in self.series.items():
            if of == kind and target in ("", name):
                series.into(window, now - seconds, now)
        return window

    def take(self, event: dict[str, Any]) -> None:
        """Count one event. Raises one of `DAMAGE` for one that is not as we write it."""
        name, at = str(event["event"]), str(event["at"])
        when = self.epoch(at)
        self.head(at, name, str(event.get("workspace") or ""))
        if name == "queue.granted":
            self._granted(event, when)
        elif name == "capacity.granted":
            self.promised[str(event["run"])] = float(event["wait_seconds"])
        else:
            kind = kinds.kind_of(event)
            if kind:
                self._ended(kind, event, when)

    def head(self, at: str, name: str, workspace: str) -> None:
        """Count an event by what every event has."""
        name = name if name in self.counts or len(self.counts) < NAMES else OTHER
        self.counts[name] = self.counts.get(name, 0) + 1
        self.events += 1
        self.since = min(self.since, at) if self.since else at
        self.at = max(self.at, at)
        if workspace:
            known = self.activity(workspace)
            if at >= known.at:
                known.at, known.event = at, name

    def activity(self, workspace: str) -> Activity:
        """The workspace's, made when there is none; the one that was idle longest goes when there are too many."""
        known = self.workspaces.get(workspace)
        if known is None:
            if len(self.workspaces) >= WORKSPACES:
                del self.workspaces[min(self.workspaces, key=lambda name: self.workspaces[name].at)]
            known = self.workspaces[workspace] = Activity()
        return known

    def epoch(self, text: str) -> float:
        """Seconds since 1970 of an event's time. Raises ValueError."""
        day = self._days.get(text[:10])
        if day is None:
            day = self._days[text[:10]] = float(timegm(time.strptime(text[:10], "%Y-%m-%d")))
        if text[10] != "T" or text[-1] != "Z":
            raise ValueError(text)
        return day + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + float(text[17:-1])

    def _granted(self, event: dict[str, Any], when: float) -> None:
        wait, run = float(event["wait_seconds"]), str(event.get("run") or "")
        resources = list(event["resources"])
        for resource in resources:
            if resource.partition(":")[0] not in _UNCLASSED:
                _histogram(self.waits, resource).add(wait)
        if run:
            wait += self.promised.pop(run, 0.0)
            _bound(self.open)
            self.open[run] = Open(when - wait, when, wait, resources, str(event["workspace"]))

    def _ended(self, kind: str, event: dict[str, Any], when: float) -> None:
        run = str(event.get("run") or "")
        known = self.open.get(run)
        if known is None or not known.told:
            self._count(kind, event, when, known)
        if event["event"] == "run.ended":
            self.open.pop(run, None)
        elif run:
            if known is None:
                _bound(self.open)
                known = self.open[run] = Open(when, when, 0.0, [], str(event["workspace"]))
            known.told = True

    def _count(self, kind: str, event: dict[str, Any], when: float, known: Open | None) -> None:
        result = kinds.result_of(kind, event)
        resources = known.resources if known else []
        target, seconds = kinds.target_of(kind, event, resources), kinds.seconds_of(kind, event, when, known)
        outcome = Outcome(
            str(event["at"]),
            kind,
            target,
            result,
            workspace=str(event.get("workspace") or ""),
            run=str(event.get("run") or ""),
            device=kinds.device_of(event, resources),
            seconds=seconds,
            wait_seconds=known.wait if known else event.get("wait_seconds"),
            code=str(event.get("code") or ""),
            message=str(event.get("message") or ""),
        )
        key = (kind, target, result)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
        self._timed(kind, target, when, kinds.verdict(kind, result), seconds if result == kinds.DONE else None)
        self.last.insert(0, outcome)
        del self.last[LAST:]
        activity = self.activity(outcome.workspace)
        if kind == kinds.BUILD:
            activity.build = outcome
            if known:
                self._built(outcome, known, when)
        elif kind == kinds.UPLOAD:
            activity.upload = outcome
            if known:
                self._uploaded(outcome.workspace, known, when)

    def _timed(self, kind: str, target: str, when: float, verdict: int, seconds: float | None) -> None:
        series = self.series.get((kind, target))
        if series is None:
            series = self.series[kind, target] = Series()
        series.add(when, verdict, seconds)
        if seconds is not None:
            _histogram(self.seconds, (kind, target)).add(seconds)

    def _built(self, outcome: Outcome, known: Open, when: float) -> None:
        self._over(outcome.workspace)
        work = Work(outcome.run, outcome.workspace, kinds.BUILD, known.resources, known.asked, known.began, when)
        self.turns[outcome.workspace] = Turn(work, known.resources[0] if known.resources else "")

    def _uploaded(self, workspace: str, known: Open, when: float) -> None:
        turn = self.turns.get(workspace)
        if turn is not None and 0 <= known.asked - turn.ended <= AWAY:
            turn.upload_wait += known.wait
            turn.upload += when - known.began
            turn.ended = when

    def _over(self, workspace: str) -> None:
        turn = self.turns.pop(workspace, None)
        if turn is not None:
            self._timed(kinds.TURN, "", turn.ended, 1, turn.length)
            self.activity(workspace).turns += 1


def _histogram(known: dict[Any, Histogram], key: Any) -> Histogram:
    if key not in known:
        if len(known) >= NAMES:
            key = OTHER if isinstance(key, str) else (key[0], OTHER)
        known.setdefault(key, Histogram())
    return known[key]


def _bound(known: dict[str, Any]) -> None:
    while len(known) >= OPEN:
        del known[next(iter(known))]
