"""The model of what is usual here: from this host's own history where it has enough of it, else from the annex.

Each parameter says where it comes from and from how many samples. Means are of all builds that took a slot, failed ones
too: they held it. What others did on the host, and repositories with a queue of their own, are not in it.
"""

from __future__ import annotations

import os
import time
from math import sqrt

from k1ctl.capacity import turnlog
from k1ctl.capacity.queueing import Kind, Model, quantile
from k1ctl.capacity.scenarios import CV, USUAL
from k1ctl.files import read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from k1ctl.capacity.turnlog import Turn
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

BUILDS = UPLOADS = 10  # samples from which a mean time is taken from history: its standard error is then cv / 3
TURNS = THINKS = 20  # samples for shares and think times, which vary more
SPREAD = 30  # samples for a coefficient of variation: fewer are mostly noise, and the annex's stays
KINDS = 8  # of builds, the most frequent: each takes a lever or two, and a row or five
AGENTS = 1000  # at most, as --agents
HOURS = 24  # hours with turns in them for what is usual by hour
_MOST_CV = 3.0
_NO_SLOTS = ("device:", "console:", "usb:", "tree:", "port:")
_HISTORY, _CONFIGURED, _DEFAULT = "history", "configured", "default"


class Parameter:
    """One number of the model: ``value`` in ``unit`` (seconds, share, count, ratio), its ``origin`` (history,
    configured, default, asked), ``samples`` that there were, and ``text``: where exactly it is from."""

    __slots__ = ("name", "origin", "samples", "text", "unit", "value")

    def __init__(self, name: str, value: float, unit: str, origin: str, samples: int = 0, text: str = "") -> None:
        self.name, self.value, self.unit, self.origin = name, value, unit, origin
        self.samples, self.text = samples, text

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": round(self.value, 6),
            "unit": self.unit,
            "origin": self.origin,
            "samples": self.samples,
            "text": self.text,
        }


class Observed:
    """What turns were like: how many, their ``mean``, ``p50`` and ``p90`` in seconds, mean and p90 of waits for slots,
    p90 of ``uploads`` with their wait (0: none), ``workspaces`` that took turns, ``span`` of seconds they are from."""

    __slots__ = ("mean", "p50", "p90", "span", "turns", "upload_p90", "uploads", "wait", "wait_p90", "workspaces")

    def __init__(self, turns: Sequence[Turn]) -> None:
        lengths, waits = sorted(t.length for t in turns), sorted(t.wait for t in turns)
        uploads = sorted(t.upload + t.upload_wait for t in turns if t.upload)
        self.turns, self.uploads, self.workspaces = len(turns), len(uploads), len({t.workspace for t in turns})
        self.mean = sum(lengths) / len(lengths) if lengths else 0.0
        self.p50, self.p90 = quantile(lengths, 0.5), quantile(lengths, 0.9)
        self.wait, self.wait_p90 = sum(waits) / len(waits) if waits else 0.0, quantile(waits, 0.9)
        self.upload_p90 = quantile(uploads, 0.9)
        self.span = max(t.ended for t in turns) - min(t.begun for t in turns) if turns else 0.0

    def document(self) -> dict[str, Any]:
        return {
            "turns": self.turns,
            "uploads": self.uploads,
            "workspaces": self.workspaces,
            "span_seconds": round(self.span, 3),
            "turn_mean_seconds": round(self.mean, 3),
            "turn_p50_seconds": round(self.p50, 3),
            "turn_p90_seconds": round(self.p90, 3),
            "wait_seconds": round(self.wait, 3),
            "wait_p90_seconds": round(self.wait_p90, 3),
            "upload_p90_seconds": round(self.upload_p90, 3),
        }


class Hours:
    """Turns by the clock, UTC: ``by_hour`` the mean number that began in each of the 24 hours of the days there were,
    ``busiest`` the most in one hour, ``mean`` over hours that had any, ``active`` such hours; ``at_once``: workspaces
    that took turns in the same hour, at most; ``together``: in a turn or thinking, on average over the active hours."""

    __slots__ = ("active", "at_once", "busiest", "by_hour", "mean", "together")

    def __init__(self, turns: Sequence[Turn]) -> None:
        counts: dict[int, int] = {}
        who: dict[int, set[str]] = {}
        for turn in turns:
            hour = int(turn.begun // 3600)
            counts[hour] = counts.get(hour, 0) + 1
            who.setdefault(hour, set()).add(turn.workspace)
        days = max(1, len({hour // 24 for hour in counts}))
        self.by_hour = [sum(n for hour, n in counts.items() if hour % 24 == h) / days for h in range(24)]
        self.active, self.busiest = len(counts), max(counts.values(), default=0)
        self.mean = sum(counts.values()) / self.active if counts else 0.0
        self.at_once = max((len(names) for names in who.values()), default=0)
        worked = sum(turn.length + (turn.think or 0.0) for turn in turns)  # Little's law
        self.together = worked / (3600 * self.active) if counts else 0.0

    def document(self) -> dict[str, Any]:
        return {
            "turns_per_hour_utc": [round(n, 3) for n in self.by_hour],
            "busiest_turns_per_hour": self.busiest,
            "mean_turns_per_active_hour": round(self.mean, 3),
            "active_hours": self.active,
            "workspaces_at_once": self.at_once,
            "mean_workspaces": round(self.together, 3),
        }


class Calibration:
    """The usual ``model``, its ``parameters``, what was ``observed``, ``hours``, and the ``log`` it is from."""

    __slots__ = ("hours", "log", "model", "observed", "parameters")

    def __init__(
        self, model: Model, parameters: list[Parameter], turns: Sequence[Turn], log: turnlog.Log | None
    ) -> None:
        self.model, self.parameters, self.log = model, parameters, log
        self.observed, self.hours = Observed(turns), Hours(turns)

    def document(self) -> dict[str, Any]:
        log = self.log
        read = {
            "events_read": log.lines if log else 0,
            "records_read": log.records if log else 0,
            "damaged": log.damaged if log else 0,
            "older_left_out": bool(log and log.cut),
        }
        return {
            "parameters": [p.document() for p in self.parameters],
            "observed": self.observed.document() if self.observed.turns else None,
            "hours": self.hours.document() if self.hours.active else None,
            **read,
        }


def usual(
    workspace: Workspace | None, config: Config, *, days: int = turnlog.DAYS, history: bool = True
) -> Calibration:
    """The model of the usual load, from the history of the last ``days``; without ``history``, or a workspace, the
    annex's mixed load with the slots of ``config``. Never raises for what the history is like."""
    slots = set(config.names("queue", "slots"))

    def is_slot(resource: str) -> bool:
        return resource.startswith("build:") or (resource in slots and not resource.startswith(_NO_SLOTS))

    if not history:
        workspace = None
    log = turnlog.read(workspace.ops_path(), since=time.time() - days * 86400) if workspace else None
    turns = turnlog.turns(log.works, is_slot) if log else []
    table = _Table(workspace, config, turns)
    kinds = table.kinds()
    upload, upload_cv = table.times("upload", [t.upload for t in turns if t.upload], UPLOADS, USUAL.upload)
    thinks = [t.think for t in turns if t.think is not None]
    text = f"between a workspace's turns; gaps over {turnlog.AWAY / 3600:g} h left out"
    think, think_cv = table.times("think", thinks, THINKS, USUAL.think, cv=1.0, text=text)
    agents, devices = table.agents(), table.devices(log.works if log else [])
    model = Model(agents, think, kinds, upload, devices=devices, think_cv=think_cv, upload_cv=upload_cv)
    return Calibration(model, table.found, turns, log)


class _Table:
    """The parameters, as they are found."""

    def __init__(self, workspace: Workspace | None, config: Config, turns: Sequence[Turn]) -> None:
        self.workspace, self.config, self.turns = workspace, config, turns
        self.found: list[Parameter] = []

    def _add(self, *parts: Any) -> None:
        self.found.append(Parameter(*parts))

    def times(
        self,
        name: str,
        values: Sequence[float],
        least: int,
        default: float,
        *,
        cv: float = CV,
        text: str = "as recorded",
    ) -> tuple[float, float]:
        """(mean, cv) of ``values`` where there are enough of them, else the annex's."""
        number, mean = len(values), default
        if number < least:
            self._add(name, default, "seconds", _DEFAULT, number, f"the annex's; history counts from {least} on")
        else:
            mean = sum(values) / number
            self._add(name, mean, "seconds", _HISTORY, number, text)
        if number < SPREAD or not mean:
            self._add(f"{name} cv", cv, "ratio", _DEFAULT, number, f"assumed; history counts from {SPREAD} on")
            return mean, cv
        cv = min(_MOST_CV, sqrt(sum((v - mean) ** 2 for v in values) / (number - 1)) / mean)
        self._add(f"{name} cv", cv, "ratio", _HISTORY, number, "as recorded")
        return mean, cv

    def kinds(self) -> list[Kind]:
        """The resources that enough was built on, the default target's if there is none. What builds and the queue
        remember for their forecasts counts where events and records are gone."""
        main = f"build:{self.config.get('defaults', 'target')}"
        groups: dict[str, list[Turn]] = {}
        for turn in self.turns:
            groups.setdefault(turn.slot, []).append(turn)
        names = [name for name, group in groups.items() if len(group) >= BUILDS] or [main]
        names = sorted(names, key=lambda n: -len(groups.get(n, [])))[:KINDS]
        total = sum(len(groups.get(name, [])) for name in names)
        found = []
        for name in names:
            group = groups.get(name, [])
            values, text = [t.build for t in group], "as recorded"
            if self.workspace and len(values) < BUILDS:
                values, text = self._kept(self.workspace, name) or (values, text)
            seconds, cv = self.times(name, values, BUILDS, USUAL.build, text=text)
            share = len(group) / total if total else 1.0
            if len(names) > 1:
                self._add(f"{name} share", share, "share", _HISTORY, total, "of the turns")
            uploads = self._uploads(name, group, USUAL.uploads if name == main else 0.0)
            self.slots(name)
            found.append(Kind(name, self.config.slots(name), seconds, share=share, uploads=uploads, cv=cv))
        return found

    def _kept(self, workspace: Workspace, name: str) -> tuple[list[float], str] | None:
        from k1ctl.queue.folder import queue_folder

        target, values = name.partition(":")[2], []
        folder = workspace.ops_path("builds", target)
        try:
            files = sorted(n for n in os.listdir(folder) if n.endswith(".seconds"))
        except OSError:
            files = []
        for file in files:
            values += _numbers(os.path.join(folder, file))
        if len(values) >= BUILDS:
            return values, f"builds that succeeded, of ops/builds/{target}"
        values = _numbers(os.path.join(queue_folder(workspace, self.config), "history", name))
        return (values, "holds that the queue remembers") if len(values) >= BUILDS else None

    def _uploads(self, name: str, group: Sequence[Turn], default: float) -> float:
        if len(group) < TURNS:
            text = f"{'the annex' if default else 'none known'}; history counts from {TURNS} turns on"
            self._add(f"{name} uploads", default, "share", _DEFAULT, len(group), text)
            return default
        share = sum(1 for t in group if t.upload) / len(group)
        self._add(f"{name} uploads", share, "share", _HISTORY, len(group), "of its turns")
        return share

    def slots(self, name: str) -> None:
        """As the queue has them."""
        text = "queue.slots" if name in self.config.names("queue", "slots") else "unlisted in queue.slots"
        self._add(f"{name} slots", self.config.slots(name), "count", _CONFIGURED, 0, text)

    def agents(self) -> int:
        """Workspaces that work at the same time."""
        hours = Hours(self.turns)
        if hours.active < HOURS:
            text = f"the annex's; history counts from {HOURS} hours with turns on"
            self._add("agents", USUAL.agents, "count", _DEFAULT, hours.active, text)
            return USUAL.agents
        number = min(hours.at_once, AGENTS)
        self._add("agents", number, "count", _HISTORY, hours.active, "workspaces in the same hour, at most")
        return number

    def devices(self, works: Iterable[turnlog.Work]) -> int:
        """Devices that get at least a tenth of the uploads; those configured until there are enough uploads."""
        used: dict[str, int] = {}
        for work in works:
            for name in work.resources if work.kind == "upload" else ():
                used[name] = used.get(name, 0) + name.startswith("device:")
        total = sum(used.values())
        if total < UPLOADS:
            configured = len(self.config.names("devices"))
            text = "[devices]" if configured else "the annex's"
            self._add("devices", max(1, configured), "count", _CONFIGURED if configured else _DEFAULT, total, text)
            return max(1, configured)
        number = sum(1 for n in used.values() if n * 10 >= total)
        self._add("devices", number, "count", _HISTORY, total, "with a tenth of the uploads or more")
        return number


def _numbers(path: str) -> list[float]:
    """The last word of each line of a file as seconds; lines without one are passed over."""
    found = []
    for line in (read_bytes(path) or b"").splitlines():
        try:
            value = float(line.split()[-1])
        except (ValueError, IndexError):
            continue
        if 0 <= value < turnlog.NEVER:
            found.append(value)
    return found
