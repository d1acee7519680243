"""What a build knows of why it failed: the first errors of its log, as its kind of build read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.reasons import ENDED, FAILED, HOST, Reason

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace

_SHOWN = 6  # lines
_CODES = ("build-failed", "killed-by-signal", "timed-out", "interrupted", "disk-full", "no-output")
_STOPPED = ("timed-out", "interrupted")


def reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    """Why the subject's last build failed."""
    if subject.resource:
        return []
    told = [_failed(workspace, subject, record) for record in subject.ended(workspace) if record["kind"] == "build"]
    return [reason for reason in told if reason is not None]


def _failed(workspace: Workspace, subject: Subject, record: dict[str, Any]) -> Reason | None:
    from k1ctl.units import format_duration

    code = str(record.get("code", ""))
    if code not in _CODES:
        return None
    result = record.get("result") or {}
    sent = record.get("details") or {}
    target = sent.get("target") or result.get("target") or "?"
    seconds = result.get("seconds")
    ran = f" after {format_duration(seconds)}" if seconds is not None else ""
    lines = [] if code in _STOPPED else [str(line) for line in result.get("error_lines") or []]
    count = result.get("error_message_count") or 0
    first = f": {lines[0].strip()}" if lines else ""
    text = f"{record.get('workspace', '?')}: the build of {target} failed{ran}: {record['message']}{first}"
    commit = str(result.get("commit") or "")[:12]
    changed = " with changes that are not committed" if result.get("dirty") else ""
    made_of = f"built was {commit}{changed}" if commit else ""
    errors = f"{count} errors in all, these first" if count > 1 else ""
    return Reason(
        HOST if code == "disk-full" else FAILED,
        text,
        code=code,
        stage=ENDED,
        about=record["run"],
        at=record.get("ended_at", ""),
        bound=f"build.timeout of {target}" if code == "timed-out" else "",
        chain=[sentence for sentence in (made_of, errors) if sentence],
        lines=lines[:_SHOWN] or _log(workspace, record),
        events=subject.find("build.finished", "run.ended", run=record["run"]),
        files=[workspace.ops_path("runs", record["run"], name) for name in ("run.json", "log")],
        next=_next(record, target, code),
    )


def _log(workspace: Workspace, record: dict[str, Any]) -> list[str]:
    """The lines of the log that tell most, where its kind of build found no error in it."""
    from k1ctl.escalation.prompts import failing_lines

    return failing_lines(workspace.ops_path("runs", record["run"]))[:_SHOWN]


def _next(record: dict[str, Any], target: str, code: str) -> str:
    from k1ctl.escalation.remedies import steps

    told = steps(code, target=target, run=record["run"]) if code != "no-output" else [str(record.get("hint", ""))]
    return " ".join(filter(None, told[:2]))
