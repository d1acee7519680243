"""What an upload knows of why it failed: what became of the image, in the device's own words, and how it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.reasons import BLOCKED, ENDED, FAILED, Reason

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace

_NOT_NOW = 75
_IN_LINE = ("queue-timeout", "queue-full", "queue-cancelled", "device-guarded")  # others tell of these


def reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    """Why the subject's last upload did not put its image on the device."""
    if subject.resource:
        return []
    told = [_failed(workspace, subject, r) for r in subject.ended(workspace) if r.get("kind") == "upload"]
    return [reason for reason in told if reason is not None]


def _failed(workspace: Workspace, subject: Subject, record: dict[str, Any]) -> Reason | None:
    import os

    from k1ctl.escalation.prompts import path_of
    from k1ctl.process.record import Run
    from k1ctl_plugins.upload import outcome

    code, over = str(record.get("code", "")), record.get("state") in ("ended", "lingering")
    if over and (record.get("exit_code") == 0 or code in _IN_LINE or "started_at" not in record):
        return None
    done = outcome.read(Run(workspace.ops_path("runs", record["run"]), record))
    if not over and (done["outcome"] == "installed" or "started_at" not in record):
        return None
    sent = record.get("details") or {}
    message = str(record["message"] if over else done["message"])
    device, hint = str(done.get("device") or "the device"), str(record.get("hint") or done.get("hint") or "")
    verdict = {"unknown": "has an unknown outcome", "installed": "is done, and all is not well"}.get(done["outcome"])
    what = f"the upload of {sent.get('target')} to {device} {verdict or 'failed'}"
    text = f"{record.get('workspace', '?')}: {what}: {message}"
    prompt = path_of(workspace, record["run"])
    prompt = prompt if os.path.exists(prompt) else ""
    files = [workspace.ops_path("runs", record["run"], name) for name in ("run.json", "flash-outcome.json", "log")]
    read_on = f"{prompt} has what to try, in order" if prompt else ""
    return Reason(
        BLOCKED if record.get("exit_code") == _NOT_NOW else FAILED,
        text,
        code=code if over else str(done["code"]),
        stage=ENDED,
        about=record["run"],
        at=record.get("ended_at") or record.get("created_at", ""),
        holder=device if code == "image-refused" else "",
        bound=f"device:{device}",
        chain=list(_became(done, device)),
        events=subject.find("upload.finished", "run.retry", "escalation.step", run=record["run"], limit=4),
        files=[*(file for file in files if os.path.exists(file)), *filter(None, [prompt])],
        next="; ".join(filter(None, [hint, read_on])),
    )


def _became(done: dict[str, Any], device: str) -> list[str]:
    """What became of the image, and of the device."""
    words = {
        "installed": f"the image is on {device}",
        "refused": f"{device} took the image in and rejected it",
        "unknown": f"all was sent and no word came: {device} may run the old image or the new one",
    }
    found = [words.get(done["outcome"], f"the image was not sent, or not to its end: {device} runs what it ran before")]
    seen = done.get("verification")
    if isinstance(seen, dict) and seen.get("message"):
        found.append(f"seen of {device} afterwards: {seen['message']}")
    if done.get("attempts", 1) > 1:
        found.append(f"it was tried {done['attempts']} times under one lease")
    return found
