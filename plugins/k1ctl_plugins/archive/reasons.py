"""What archiving knows of why: what it refused to archive, and for which of its reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.reasons import ENDED, FAILED, NO_WORK, RUNS, Reason

if TYPE_CHECKING:
    from k1ctl.reasons import Subject


def reasons(subject: Subject) -> list[Reason]:
    """That the workspace was archived, or why it was not when that was last tried."""
    if not subject.whole:
        return []
    removed = [] if subject.path else subject.find("archive.removed", of=subject.workspace, limit=1)
    if removed:
        event = removed[-1]
        text = f"{subject.workspace} was archived ({event.get('archive')}): there is no such worktree any more"
        about = {"code": "archived", "at": event["at"], "next": f"`k1ctl archive restore {event.get('archive')}`"}
        return [Reason(NO_WORK, text, stage=RUNS, events=removed, **about)]
    found = subject.find("archive.refused", of=subject.workspace, limit=1)
    if not found:
        return []
    event = found[-1]
    codes = ", ".join(map(str, event.get("codes") or []))
    text = f"{subject.workspace} was not archived: {event.get('message') or codes}"
    nxt = f"`k1ctl archive run {subject.workspace} --dry-run` looks again, and says of each reason what helps"
    return [Reason(FAILED, text, code=codes, stage=ENDED, bound=codes, at=event["at"], events=found, next=nxt)]
