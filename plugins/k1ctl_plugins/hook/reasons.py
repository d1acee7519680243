"""What the hooks know of why: what kept a workspace that Conductor took away from being saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.reasons import ENDED, FAILED, Reason

if TYPE_CHECKING:
    from k1ctl.reasons import Subject


def reasons(subject: Subject) -> list[Reason]:
    """Why the workspace was not saved when it was archived."""
    found = subject.find("hook.archived", workspace=subject.workspace, limit=1) if subject.whole else []
    refused = found[-1].get("refused") if found else None
    if not isinstance(refused, dict) or subject.went_on(found[-1]["at"]):
        return []
    text = f"{subject.workspace} was not saved as Conductor archived it: {refused.get('message')}"
    about = {"code": str(refused.get("code", "")), "at": found[-1]["at"], "next": str(refused.get("hint") or "")}
    return [Reason(FAILED, text, stage=ENDED, events=found, **about)]
