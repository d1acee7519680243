"""What `k1ctl doctor` is told of the queue: its ground, what is paused, and who is stuck."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_LONG = 3600.0  # s that one waits in a line that moves
_LOOKS = 5  # at the mutex; a critical section takes a millisecond
_APART = 0.1  # s


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Raises OSError."""
    from k1ctl.overview.parts import Sources
    from k1ctl.queue.folder import queue_folder

    folder = queue_folder(workspace, config)
    if not os.path.isdir(folder):
        return [_absent(folder)]
    rows = Sources(workspace, config).tickets
    found = [_ground(folder), *_mutex(folder), *_paused(folder), *_tickets(config, rows)]
    if len(found) == 1:
        states = [row["state"] for row in rows]
        found.append(Check("line", OK, f"{states.count('running')} hold, {states.count('waiting')} wait"))
    return found


def _absent(folder: str) -> Check:
    """Whether the queue's folder can be made when somebody wants it."""
    there = folder
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK):
        return Check("queue", OK, f"nobody has used the queue in {folder} yet")
    lacks = "cannot be written" if os.path.isdir(there) else "is no folder"
    what = f"the queue's folder {folder} cannot be made: {there} {lacks}"
    fix = "move what is there aside, or set [queue] dir to a folder on a local disk that you may write"
    return Check("no-folder", ERROR, what, why="nothing can be built or uploaded", fix=fix)


def _ground(folder: str) -> Check:
    from k1ctl.errors import ConfigError
    from k1ctl.failure import words
    from k1ctl.filesystem import check_locks

    try:
        kind = check_locks(folder).kind
    except (ConfigError, OSError) as exc:
        why = "two could get the same device at once"
        fix = getattr(exc, "hint", "") or "set [queue] dir to a folder on a local disk that you may write"
        return Check("no-locks", ERROR, words(exc), why=why, fix=fix)
    return Check("locks", OK, f"locks work in {folder}" + (f" ({kind})" if kind else ""))


def _mutex(folder: str) -> Iterator[Check]:
    """Whether somebody holds up everybody: a process that was stopped in a critical section."""
    import fcntl
    import time
    from shlex import quote

    from k1ctl.errors import ConfigError
    from k1ctl.files import flock

    try:
        fd = os.open(os.path.join(folder, "mutex"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        for _ in range(_LOOKS):
            if flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, folder):
                return
            time.sleep(_APART)
    except ConfigError:
        return  # the ground's finding
    finally:
        os.close(fd)
    what = f"the mutex of the queue was held at each of {_LOOKS} looks, {_APART * 1000:.0f} ms apart"
    mutex = quote(os.path.join(folder, "mutex"))
    fix = f"a stopped process has it: `fuser {mutex}` names it; `kill -CONT PID` lets it go on"
    yield Check("stale-lock", ERROR, what, why="nobody gets anything until it is given back", fix=fix)


def _paused(folder: str) -> Iterator[Check]:
    from k1ctl.queue.incident import mark_of
    from k1ctl.queue.service import out_of_service, told
    from k1ctl.queue.view import pauses

    for resource, why in pauses(folder).items():
        what = f"{resource} is paused{f': {why}' if why else ''}"
        fix = f"k1ctl queue resume {resource}"
        if mark_of(why):  # its device's incident made it, and ends it
            device = resource.partition(":")[2]
            fix = f"it ends when the device answers; `k1ctl device escalation {device}` has its steps"
        yield Check("paused", WARNING, what, why="who waits for it waits on", fix=fix)
    for device, facts in out_of_service(folder).items():
        why = "who waits for it waits on"
        yield Check("out-of-service", NOTE, f"{device} is {told(facts)}", why=why, fix=f"k1ctl device enable {device}")


def _tickets(config: Config, rows: list[dict[str, Any]]) -> Iterator[Check]:
    from k1ctl.queue.names import alternatives
    from k1ctl.units import format_duration

    known = {f"device:{name}" for name in config.names("devices")}
    for row in rows:
        who = f"ticket {row['ticket']} of {row.get('workspace', '?')}"
        unknown = [r for n in row["resources"] for r in alternatives(n) if r.startswith("device:") and r not in known]
        if row["state"] == "waiting" and unknown:
            what = f"{who} waits for {unknown[0]}, which is not configured"
            why = "such a device has one slot, and nobody looks after it"
            yield Check(
                "unknown-resource", NOTE, what, why=why, fix=f"`k1ctl queue cancel {row['ticket']}`, if it is a slip"
            )
        elif row["state"] == "waiting" and _age(row) > _LONG:
            what = f"{who} waits for {', '.join(row['resources'])} for {format_duration(_age(row))}"
            yield Check("long-wait", WARNING, what, why="", fix=f"`k1ctl why {row['ticket']}` says who is in its way")
        elif row["state"] == "running" and row.get("kind") != "script" and not _lives(row["pid"]):
            what = f"{who} holds {', '.join(row['resources'])}, and its supervisor is gone (pid {row['pid']})"
            why = "its command lives on and keeps the lease, and nobody ends it at its limit"
            fix = f"it ends with its command (process group {row.get('group', '?')})"
            yield Check("supervisor-lost", WARNING, what, why=why, fix=fix)
    parked = sum(row["state"] == "parked" for row in rows)
    if parked:
        what = f"{parked} place{'s are' if parked > 1 else ' is'} kept for waiters that ended"
        yield Check("parked", NOTE, what, why="", fix="the same call takes its place up; `k1ctl queue list` shows them")


def _age(row: dict[str, Any]) -> float:
    import time

    from k1ctl.units import parse_rfc3339

    try:
        return time.time() - parse_rfc3339(str(row.get("queued_at") or ""))
    except ValueError:
        return 0.0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
