"""Tells people of alerts: all that is new in one message, and once it is over, that it is.

What a message says is kept before it is sent, and that it was sent behind that; one process tells at a time (a flock).
So a kill at any moment loses none: it is sent at least once, and a second time, with the same ``key``, only when who
sends it is killed in between.
"""

from __future__ import annotations

import os
import time

from k1ctl.alerts import kept
from k1ctl.alerts.checking import Held
from k1ctl.alerts.kept import CRITICAL, FIRING
from k1ctl.alerts.machine import FIRED, OVER
from k1ctl.alerts.silences import silenced
from k1ctl.errors import K1ctlError
from k1ctl.files import open_locked
from k1ctl.output import clean
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.alerts.kept import Entry, State
    from k1ctl.config import Config
    from k1ctl.notify import Notification
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

    Message = dict[str, Any]

TRIES = 3  # how often a message that no channel takes is sent
TRY_AGAIN = 30.0  # s between two of them
STUCK = 900.0  # s of telling after which who does it was stopped: no channel takes that long
_SHOWN = 20  # alerts that one message spells out
_TITLE = 100  # characters of a title


def tell(workspace: Workspace, config: Config, plugins: Plugins) -> list[dict[str, Any]]:
    """Send what people have to hear now; [`summary`] of what was sent. Nothing where another process does already.

    Raises BusyError, OSError.
    """
    fd = _alone(workspace)
    if fd is None:
        return []
    done = []
    try:
        while message := _begun(workspace, float(config.get("alerts", "throttle"))):
            rows = _send(workspace, config, plugins, message)
            done.append(summary(message["document"], rows))
            if not _settle(workspace, message, rows):
                break
    finally:
        os.close(fd)
    return done


def _alone(workspace: Workspace) -> int | None:
    return open_locked(kept.path_of(workspace).removesuffix("state.json") + "telling.lock", blocking=False)


def outlook(workspace: Workspace, config: Config, state: State, now: float) -> list[dict[str, Any]]:
    """[`summary`] of what `tell` would send, without channels."""
    message = next_message(workspace, state, float(config.get("alerts", "throttle")), now)
    return [summary(message["document"], [])] if message else []


def stuck(workspace: Workspace) -> str:
    """Why nobody tells people: who has begun to was stopped (SIGSTOP, a debugger) and holds the lock; "" where not."""
    fd = _alone(workspace)
    if fd is not None:
        os.close(fd)
        return ""
    message = kept.load(workspace)["message"]
    since = time.time() - message["tried"] if message else 0.0
    if since <= STUCK:
        return ""
    return f"another check tells people for {format_duration(since)}; it was stopped: ps(1) or lsof of telling.lock"


def tell_unkept(workspace: Workspace, config: Config, plugins: Plugins, state: State, why: str) -> None:
    """Where what was found (``state``) cannot be kept, as on a full disk: one message on that, and on all that people
    have not heard of. Once in ``alerts.throttle``, and in that after the lock was made: its own time says when, for to
    set it takes no room. Raises nothing."""
    throttle = max(TRY_AGAIN, float(config.get("alerts", "throttle")))
    try:
        fd = _alone(workspace)
        if fd is None:
            return
        try:
            now = time.time()
            if 0 <= now - os.fstat(fd).st_mtime < throttle:
                return
            os.utime(fd, (now, now))
            _send(workspace, config, plugins, _unkept(workspace, state, why, now))
        finally:
            os.close(fd)
    except (K1ctlError, OSError):
        return  # what it was called for is told to who called


def _unkept(workspace: Workspace, state: State, why: str, now: float) -> Message:
    from k1ctl.notify import CRITICAL as WORST
    from k1ctl.notify import WARNING, Notification

    new = [(key, entry) for key, entry in state["alerts"].items() if owed(state, key, entry, 0.0, now) == FIRED]
    new.sort(key=lambda item: (item[1]["level"] != CRITICAL, item[0]))
    lines = [f"alerts cannot be kept: {why}", "What they are, and this, may be told again until they can."]
    lines += [line for key, entry in new[:_SHOWN] for line in _lines(key, entry)]
    level = WORST if any(entry["level"] == CRITICAL for _, entry in new) else WARNING
    subject = f"{os.path.basename(workspace.root)}: alerts cannot be kept: {why[:_TITLE]}"
    told = Notification(level, subject, why, key=f"alert/unkept/{int(now * 1000)}", text="\n".join(lines))
    return {"document": told.document(), "items": [], "tries": 0, "tried": 0}


def summary(document: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A message and what became of it, one row a channel."""
    return {"key": document["key"], "level": document["level"], "subject": document["subject"], "channels": rows}


def _begun(workspace: Workspace, throttle: float) -> Message | None:
    """The message to send now, its try recorded; None when there is none, or it was tried a moment ago."""
    now = time.time()
    with Held(workspace) as held:
        message: Message | None = held.state["message"]
        if message is not None and 0 <= now - message["tried"] < TRY_AGAIN and message["tries"]:
            return None
        message = message or next_message(workspace, held.state, throttle, now)
        if message is not None:
            message = {**message, "tries": message["tries"] + 1, "tried": now}
            held.write({**held.state, "message": message})
    return message


def _send(workspace: Workspace, config: Config, plugins: Plugins, message: Message) -> list[dict[str, Any]]:
    from k1ctl.events import emit
    from k1ctl.notify import Notification, possible, send

    notification = Notification(**message["document"])
    rows = send(plugins, workspace, config, notification) if possible(config) else []
    if not rows:
        emit(workspace, "notify.nobody", key=notification.key)
    return rows


def _settle(workspace: Workspace, message: Message, rows: list[dict[str, Any]]) -> bool:
    """Note what became of it, when a channel took it, there is none, or it was tried often enough; whether one did."""
    from k1ctl.events import emit
    from k1ctl.notify import SENT

    taken = any(row["outcome"] == SENT for row in rows)
    if rows and not taken and message["tries"] < TRIES:
        return False
    with Held(workspace) as held:
        entries = {key: {**entry} for key, entry in held.state["alerts"].items()}
        for what, key, episode in message["items"]:
            if key in entries:
                _note(entries[key], what, episode, taken)
        held.write({**held.state, "alerts": entries, "message": None})
    if rows and not taken:
        emit(workspace, "notify.given-up", key=message["document"]["key"])
    return taken


def _note(entry: Entry, what: str, episode: int, taken: bool) -> None:
    """People know of this episode, or of its end; where no channel ``taken`` it, an alert that goes on firing is told
    anew after the throttle."""
    if what == OVER:
        entry["over"] = 0 if entry["over"] == episode else entry["over"]
        return
    entry["told_at"] = time.time()
    if not taken:
        return
    entry["told"] = episode
    if entry["began"] <= episode and entry["state"] != FIRING:  # it ended while they were told
        entry["over"] = entry["episode"]


def next_message(workspace: Workspace, state: State, throttle: float, now: float) -> Message | None:
    """One message on all that people have to hear, or the one that is under way; None when there is nothing."""
    if state["message"] is not None:
        return state["message"]  # type: ignore[no-any-return]
    items = [
        (what, key, entry) for key, entry in state["alerts"].items() if (what := owed(state, key, entry, throttle, now))
    ]
    if not items:
        return None
    items.sort(key=lambda item: (item[0] == OVER, item[2]["level"] != CRITICAL, item[1]))
    listed = [[what, key, entry["over"] if what == OVER else entry["episode"]] for what, key, entry in items]
    document = _notification(workspace, items, listed).document()
    return {"document": document, "items": listed, "tries": 0, "tried": 0}


def owed(state: State, key: str, entry: Entry, throttle: float, now: float) -> str:
    """What people have to hear of an alert: `FIRED`, `OVER` or "". Not while it is silenced, where somebody else tells
    them, or, of one that fires anew, within ``throttle`` seconds of the last time (a clock that was set back is no
    reason to be silent). That a warning they heard of became critical is told at once, the first time."""
    if silenced(state, key, entry["name"], now):
        return ""
    if entry["over"]:
        return OVER
    new = entry["state"] == FIRING and entry["told"] != entry["episode"] and not entry["told_by"]
    heard = entry["told"] == entry["began"] and entry["told_at"] * 1000 <= entry["episode"]
    worse = heard and entry["level"] == CRITICAL
    return FIRED if new and (worse or not 0 <= now - entry["told_at"] < throttle) else ""


def _notification(workspace: Workspace, items: list[tuple[str, str, Entry]], listed: list[list[Any]]) -> Notification:
    from k1ctl.notify import CRITICAL as WORST
    from k1ctl.notify import INFO, WARNING, Notification

    new = [(key, entry) for what, key, entry in items if what == FIRED]
    over = [(key, entry) for what, key, entry in items if what == OVER]
    worst = any(entry["level"] == CRITICAL for _, entry in new)
    where = os.path.basename(workspace.root)
    counted = [f"{len(new)} alert{'s' * (len(new) != 1)}"] * bool(new) + [f"{len(over)} over"] * bool(over)
    first = _said(new[0][1])[:_TITLE] if new else over[0][0]
    counted = counted if len(items) > 1 else ["over"] * bool(over)
    lines = [line for key, entry in new[:_SHOWN] for line in _lines(key, entry)]
    lines += [f"over: {key} (it was: {_said(entry)})" for key, entry in over[:_SHOWN]]
    more = len(items) - len(new[:_SHOWN]) - len(over[:_SHOWN])
    lines += [f"and {more} more"] * (more > 0) + ["k1ctl alert list"]
    what, key, episode = listed[0]
    devices = {entry["subject"] for _, entry in new if entry["name"] == "device"}
    return Notification(
        WORST if worst else WARNING if new else INFO,
        ": ".join([where, *([", ".join(counted)] if counted else []), first]),
        _said(new[0][1]) if new else f"the alert {over[0][0]} is over",
        key=f"alert/{key}/{episode}/{what}" + (f"+{len(items) - 1}" if len(items) > 1 else ""),
        text="\n".join(lines),
        device=devices.pop() if len(devices) == 1 else "",
        recovered=not new,
    )


def _lines(key: str, entry: Entry) -> list[str]:
    return [f"{entry['level']}: {key}: {_said(entry)}", *([f"  {entry['hint']}"] if entry["hint"] else [])]


def _said(entry: Entry) -> str:
    """Its text in one line, whatever a device or a person wrote into it."""
    return clean(str(entry["text"]))
