"""Restarts of a device that somebody asks, and whether anything that went through the queue explains them."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from k1ctl.device.health import state_path
from k1ctl.device.probe import restarted, told_uptime
from k1ctl.device.verdict import ANSWERED, HEALTH, INFO
from k1ctl.errors import K1ctlError
from k1ctl.events import emit, parse, read
from k1ctl.files import Locked, read_json, write_json
from k1ctl.units import parse_rfc3339, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from k1ctl.config import Config
    from k1ctl.device.health import Record
    from k1ctl.workspace import Workspace

AFTER_SECONDS = 20.0  # after a lease ended: what was sent last has the device restart a little later
_BEFORE_SECONDS = 5.0  # a chip counts its uptime from some time after its reset on
_LOST_SECONDS = 900.0  # how long a lease whose end nobody wrote down explains a restart
_SAME_SECONDS = 3.0  # by which two looks at one restart may place it differently
_DAY = 86400.0
_KINDS = ("queue.granted", "queue.released", "run.ended")


class Sample(NamedTuple):
    """An uptime that was told: in milliseconds, when on the monotonic clock, and the wall clock's time of the start;
    ``asked`` is when the question was sent at the earliest (monotonic seconds)."""

    uptime_ms: int
    told: float
    asked: float
    started_at: float


def sample(record: Record) -> Sample | None:
    """The uptime in a record of `k1ctl.device.health.ask`; None when the device told none in it."""
    for path in (HEALTH, INFO):
        answer = record["answers"][path]
        uptime = told_uptime(answer.get("document") or {})
        if answer["outcome"] == ANSWERED and uptime is not None:
            told = float(answer["document_monotonic"])
            wall = record["wall"] - (record["monotonic"] - told)
            return Sample(uptime, told, record["monotonic"] - record["seconds"], wall - uptime / 1000)
    return None


def between(before: Sample, after: Sample) -> bool:
    """Whether the device started anew between two samples, whoever asked for them."""
    return restarted(before.uptime_ms, after.uptime_ms, max(after.asked - before.told, 0.0))


def explanation(workspace: Workspace, config: Config, device: Mapping[str, Any], at: float) -> str:
    """What had the device when it restarted at ``at`` (seconds since 1970), as ``tokyo: upload fw``; "" for nothing.

    That is a lease of the device or of its console, now or until `AFTER_SECONDS` before, or another repository that
    holds the host's guard or took it shortly before.
    """
    name = str(device["name"])
    return _leased(workspace, config, name, at) or _guarded(workspace, device, at)


def _leased(workspace: Workspace, config: Config, name: str, at: float) -> str:
    from k1ctl.queue.folder import queue_folder
    from k1ctl.queue.view import describe, entries

    for entry in entries(queue_folder(workspace, config)):
        begun = _seconds(entry.get("granted_at"), 0.0)
        if entry["state"] == "running" and _names(entry["resources"], name) and begun <= at + _BEFORE_SECONDS:
            return describe(entry)
    granted: dict[Any, tuple[float, str]] = {}
    for event in _events(workspace.ops_path("events"), at - _DAY):
        run, ticket, when = event.get("run", ""), event.get("ticket"), _seconds(event.get("at"), 0.0)
        if event["event"] == "queue.granted":
            if _names(event.get("resources") or (), name):
                granted[ticket, run] = (when, f"{event.get('workspace', '?')}: run {run}")
            continue
        for key in [
            key for key in granted if (key[0] == ticket if event["event"] == "queue.released" else key[1] == run)
        ]:
            begun, who = granted.pop(key)
            if begun - _BEFORE_SECONDS <= at <= when + AFTER_SECONDS:
                return who
    for begun, who in granted.values():
        if begun - _BEFORE_SECONDS <= at <= begun + _LOST_SECONDS:
            return who
    return ""


def _guarded(workspace: Workspace, device: Mapping[str, Any], at: float) -> str:
    """Who of another repository on this host has the device, or had it shortly before."""
    from k1ctl.device.guard import guard_key, guard_path, holder

    who = holder(guard_path(guard_key(device)))
    run = str(who.get("run", ""))
    since = _seconds(who.get("since"), 0.0)
    elsewhere = run and not os.path.isdir(workspace.ops_path("runs", run))
    if elsewhere and since - _BEFORE_SECONDS <= at <= since + _LOST_SECONDS:
        return f"{who.get('workspace') or 'another repository'}: run {run}"
    return ""


def _names(resources: Any, device: str) -> bool:
    """Whether one of the resources is, or may be, the device or its console."""
    from k1ctl.device.occupancy import taken

    return any(device in taken(str(r)) or str(r) == f"console:{device}" for r in resources)


def _events(folder: str, since: float) -> Iterator[dict[str, Any]]:
    """The events that begin and end leases, from a time on, in order."""

    def take(line: bytes) -> dict[str, Any] | None:
        return parse(line.decode("utf-8", "replace")) if b"queue." in line or b"run.ended" in line else None

    for event in read(folder, since=rfc3339(since), take=take):
        if event.get("event") in _KINDS:
            yield event


def _seconds(text: Any, otherwise: float) -> float:
    try:
        return parse_rfc3339(str(text))
    except ValueError:
        return otherwise


def tell(workspace: Workspace, device: Mapping[str, Any], record: Record) -> None:
    """Write the events of a restart that the one who asked for all has found: ``device.restarted``, with what explains
    it, and where nothing does ``device.unexplained-reset``."""
    from k1ctl.config import load

    found, who = sample(record), None
    if found is None:
        return
    try:
        who = explanation(workspace, load(workspace), device, found.started_at)
        if not who:
            note_unexplained(workspace, str(device["name"]), found)
    except (OSError, K1ctlError):
        pass  # what cannot be looked up or written costs an event, not the answer
    emit(workspace, "device.restarted", device=device["name"], uptime_ms=found.uptime_ms, explained_by=who)


def note_unexplained(workspace: Workspace, device: str, found: Sample) -> bool:
    """Write the event ``device.unexplained-reset``; False when somebody has done so for this restart.

    Waits for nobody. Raises BusyError (somebody is just about to), OSError.
    """
    path = state_path(workspace, device).removesuffix(".json") + ".reset.json"
    with Locked(path.removesuffix(".json") + ".lock", blocking=False):
        last = read_json(path)
        known = last.get("started_at") if isinstance(last, dict) else None
        if isinstance(known, int | float) and abs(known - found.started_at) <= _SAME_SECONDS:
            return False
        write_json(path, {"started_at": found.started_at, "at": rfc3339(found.started_at)})
    emit(
        workspace,
        "device.unexplained-reset",
        device=device,
        reset_at=rfc3339(found.started_at),
        uptime_ms=found.uptime_ms,
    )
    return True
