"""What archiving knows of why: what it refused to archive, and for which of its reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.reasons import ENDED, FAILED, Reason

if TYPE_CHECKING:
    from k1ctl.reasons import Subject


def reasons(subject: Subject) -> list[Reason]:
    """Why the workspace was not archived when that was last tried."""
    if not subject.whole:
        return []
    found = subject.find("archive.refused", of=subject.workspace, limit=1)
    removed = subject.find("archive.removed", of=subject.workspace, limit=1) if found else []
    if not found or (removed and removed[-1]["at"] > found[-1]["at"]):
        return []
    event = found[-1]
    codes = ", ".join(map(str, event.get("codes") or []))
    text = f"{subject.workspace} was not archived: {event.get('message') or codes}"
    nxt = f"`k1ctl archive run {subject.workspace} --dry-run` looks again, and says of each reason what helps"
    return [Reason(FAILED, text, code=codes, stage=ENDED, bound=codes, at=event["at"], events=found, next=nxt)]
