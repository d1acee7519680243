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
    removed = [] if subject.path else subject.find("archive.removed", "archive.purged", of=subject.workspace, limit=1)
    if removed:
        event = removed[-1]
        gone = event["event"] == "archive.purged"
        what = "archived, and the archive purged" if gone else "archived"
        text = f"{subject.workspace} was {what} ({event.get('archive')}): there is no such worktree any more"
        nxt = "" if gone else f"`k1ctl archive restore {event.get('archive')}`"
        about = {"code": "archived", "at": event["at"], "next": nxt}
        return [Reason(NO_WORK, text, stage=RUNS, events=removed, **about)]
    found = subject.find("archive.refused", of=subject.workspace, limit=1)
    if not found or subject.went_on(found[-1]["at"]):
        return []
    event = found[-1]
    codes = [str(code) for code in event.get("codes") or []]
    bound = ", ".join(codes)
    text = f"{subject.workspace} was not archived: {event.get('message') or bound}"
    nxt = f"`k1ctl archive run {subject.workspace} --dry-run` looks again, and says of each reason what helps"
    code = codes[0] if codes else ""
    return [Reason(FAILED, text, code=code, stage=ENDED, bound=bound, at=event["at"], events=found, next=nxt)]
