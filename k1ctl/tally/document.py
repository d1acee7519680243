"""The tally as JSON, and back."""

from __future__ import annotations

from k1ctl.capacity.turnlog import Turn, Work
from k1ctl.tally.fold import Activity, Tally
from k1ctl.tally.histogram import parse
from k1ctl.tally.kinds import Outcome
from k1ctl.tally.windows import Series

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 3
_KEPT_DAYS = 40  # with events, of which the positions are remembered: no writer of an older one is still there
_ROW = ("at", "kind", "target", "result", "workspace", "run", "device", "seconds", "wait_seconds", "code", "message")
_TURN = ("workspace", "slot", "begun", "ended", "wait", "build", "upload_wait", "upload", "idle")


class Positions:
    """How far the parts were read: ``read`` {``day.number``: [inode, bytes, *marks]} (`k1ctl.tally.store`), and
    ``through``: the first day of which there may be more; what is older was read to its end."""

    __slots__ = ("read", "through")

    def __init__(self, read: dict[str, list[int]] | None = None, through: str = "") -> None:
        self.read, self.through = read or {}, through

    def forget(self) -> None:
        """Drop the days that are too old to grow: by their number, as the clock may be wrong for a while."""
        days = sorted({key[:10] for key in self.read})
        if len(days) > _KEPT_DAYS:
            self.through = max(self.through, days[-_KEPT_DAYS])
            self.read = {key: value for key, value in self.read.items() if key[:10] >= self.through}


def written(tally: Tally, positions: Positions) -> dict[str, Any]:
    """The document of a tally and of how far it was read."""
    tally.prune()
    runs = tally.runs
    return {
        "version": VERSION,
        "since": tally.since,
        "at": tally.at,
        "events": tally.events,
        "bad_lines": tally.bad_lines,
        "through": positions.through,
        "read": positions.read,
        "counts": tally.counts,
        "outcomes": [[*key, number] for key, number in tally.outcomes.items()],
        "seconds": [[*key, histogram.document()] for key, histogram in tally.seconds.items()],
        "waits": {name: histogram.document() for name, histogram in tally.waits.items()},
        "last": [_row(outcome) for outcome in tally.recent],
        "workspaces": {
            name: [
                one.at,
                one.event,
                one.build and _row(one.build),
                one.upload and _row(one.upload),
                one.turns,
                one.unset,
            ]
            for name, one in tally.workspaces.items()
        },
        "series": [[*key, series.document()] for key, series in tally.series.items()],
        "granted": runs.granted,
        "run_seconds": runs.seconds,
        "promised": runs.promised,
        "told": list(tally.told),
        "turns": [[getattr(turn, slot) for slot in _TURN] for turn in tally.turns.values()],
    }


def restored(document: Any, now: float) -> tuple[Tally, Positions]:
    """The tally of a document. Raises ValueError, KeyError, TypeError, AttributeError for one that is damaged or of
    another version."""
    if document["version"] != VERSION:
        raise ValueError(document["version"])
    tally = Tally(now)
    tally.since, tally.at = str(document["since"]), str(document["at"])
    tally.events, tally.bad_lines = int(document["events"]), int(document["bad_lines"])
    tally.counts = {name: int(number) for name, number in document["counts"].items()}
    tally.outcomes = {(kind, target, result): int(n) for kind, target, result, n in document["outcomes"]}
    tally.seconds = {(kind, target): parse(text) for kind, target, text in document["seconds"]}
    tally.waits = {name: parse(text) for name, text in document["waits"].items()}
    tally.recent.extend(_outcome(row) for row in document["last"])
    for name, (at, event, build, upload, turns, unset) in document["workspaces"].items():
        one = tally.workspaces[name] = Activity(at, event)
        one.build, one.upload = build and _outcome(build), upload and _outcome(upload)
        one.turns, one.unset = int(turns), str(unset)
    tally.series = {(kind, target): Series(one) for kind, target, one in document["series"]}
    for run, (at, wait, resources, workspace) in document["granted"].items():
        tally.runs.granted[run] = float(at), float(wait), dict(resources), str(workspace)
    tally.runs.seconds = {run: float(n) for run, n in document["run_seconds"].items()}
    tally.runs.promised = {run: float(n) for run, n in document["promised"].items()}
    tally.told = dict.fromkeys(document["told"])
    for row in document["turns"]:
        turn = _turn(row)
        tally.turns[turn.workspace] = turn
    read = {
        key: [int(inode), int(offset), *map(int, marks)] for key, (inode, offset, *marks) in document["read"].items()
    }
    return tally, Positions(read, str(document["through"]))


def _row(outcome: Outcome) -> list[Any]:
    return [getattr(outcome, slot) for slot in _ROW]


def _outcome(row: list[Any]) -> Outcome:
    return Outcome(*row[:4], **dict(zip(_ROW[4:], row[4:], strict=True)))


def _turn(row: list[Any]) -> Turn:
    made = Turn(Work("", "", "", (), 0.0, 0.0, 0.0), "")
    for slot, value in zip(_TURN, row, strict=True):
        setattr(made, slot, value)
    return made
