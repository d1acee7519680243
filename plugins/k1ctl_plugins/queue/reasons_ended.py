"""How a run that is over ended, in words: what its exit code and its code mean, and by whom."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from k1ctl.reasons import BLOCKED, ENDED, FAILED, IDLE, NO_WORK, Reason, in_words

if TYPE_CHECKING:
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.queue.reasons_line import Line

_EVENTS = (
    "run.ended",
    "queue.granted",
    "queue.parked",
    "queue.cancelled",
    "run.caller_gone",
    "run.retry",
    "queue.enqueued",
)
_LINES = 8  # of a log that are shown
_ITS_OWN = ("command-failed", "killed-by-signal")  # of a command that k1ctl knows nothing of
_NEXT = {  # code: what to do; these are explained by the message of the run, and by nobody else
    "queue-full": "call again when some have been served",
    "caller-gone": "call it again: a place in line that is kept is taken over; `k1ctl queue submit` needs no caller",
    "caller-terminated": "call it again, if it is still wanted",
    "timed-out": "a larger --timeout, or find what hangs at the end of its log",
    "tool-missing": "install it, or correct the command",
    "not-executable": "correct the command, or the rights of its file",
    "no-folder": "",
}


def ended(workspace: Workspace, subject: Subject, record: dict[str, Any], line: Line) -> Reason:
    """How one run that is over ended. What others know better (a build, an upload, memory) they say themselves."""
    from k1ctl.process.record import Run

    run = Run(workspace.ops_path("runs", record["run"]), record)
    if record.get("state") not in ("ended", "lingering"):
        return _lost(subject, run)
    about = _about(workspace, subject, record)
    what, code, exit_code = _what(record), str(record.get("code", "")), record.get("exit_code")
    if exit_code == 0:
        text = f"{what} is done{_at(record)}"
        return Reason(NO_WORK, text, code="done", general=True, **{**about, "stage": IDLE})
    message = str(record.get("message", ""))
    if code == "queue-timeout":
        wanted = [*record.get("resources", {})]
        nxt = "the same call takes the kept place; a larger --wait; `k1ctl queue list` shows who holds it now"
        about = {**about, "chain": line.now(wanted), "next": nxt}
        return Reason(BLOCKED, f"{what} {message}", code=code, bound=", ".join(wanted), **about)
    if code in ("cancelled", "queue-cancelled"):
        return _cancelled(subject, what, record, about)
    nxt = _NEXT.get(code, "") or str(record.get("hint", ""))
    kind = BLOCKED if code == "queue-full" else FAILED
    text = f"{what}: {message}{_signal(exit_code)}"
    # a signal or an exit code of a command of ours is for whoever knows that command to explain
    general = code not in _NEXT or record.get("by") == "command"
    lines = _tail(run) if code in _ITS_OWN or code == "timed-out" else []
    hint = " ".join(filter(None, [nxt, f"the whole log: {run.log}" if lines else ""]))
    return Reason(kind, text, code=code, general=general, lines=lines, **{**about, "next": hint})


def _about(workspace: Workspace, subject: Subject, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "about": record["run"],
        "at": record.get("ended_at") or record.get("created_at", ""),
        "stage": ENDED,
        "events": subject.find(*_EVENTS, run=record["run"], limit=4),
        "files": [workspace.ops_path("runs", record["run"], "run.json")],
    }


def _what(record: dict[str, Any]) -> str:
    """A run in a few words."""
    return f"{record.get('workspace', '?')}: {in_words(record)} (run {record['run']})"


def _at(record: dict[str, Any]) -> str:
    return f" since {record['ended_at'][:19]}Z" if record.get("ended_at") else ""


def _signal(exit_code: Any) -> str:
    """The name of the signal that an exit code of 128+N stands for."""
    if not isinstance(exit_code, int) or not 128 < exit_code < 160:
        return ""
    try:
        return f"; exit code {exit_code} is that of {signal.Signals(exit_code - 128).name}"
    except ValueError:
        return ""


def _cancelled(subject: Subject, what: str, record: dict[str, Any], about: dict[str, Any]) -> Reason:
    found = subject.find("queue.cancelled", run=record["run"], limit=1)
    who = str(found[-1].get("by", "")) if found else ""
    by = f" by {who}" if who else ", nobody left word by whom (TERM to its supervisor)"
    nxt = "call it again if it is still wanted"
    return Reason(FAILED, f"{what} was cancelled{by}", code="cancelled", holder=who, **{**about, "next": nxt})


def _lost(subject: Subject, run: Any) -> Reason:
    """It is over and its record has no end: somebody killed its supervisor."""
    from k1ctl.process.follow import lost

    error = lost(run)
    found = subject.find(*_EVENTS, run=run.id, limit=4)
    ran = run.record.get("state") == "running"
    hint = error.hint if not ran else f"{error.hint}; whether its work was done is not known: look, then call it again"
    text = f"{_what(run.record)}: {error.message}"
    at = run.record.get("started_at") or run.record.get("created_at", "")
    files = [f"{run.folder}/run.json"]
    return Reason(
        FAILED, text, code=error.code, about=run.id, at=at, events=found, files=files, next=hint, general=True
    )


def _tail(run: Any) -> list[str]:
    """The lines of its log that tell most, without what looks like a secret."""
    from k1ctl.escalation.prompts import failing_lines

    return failing_lines(run.folder)[:_LINES]
