"""What the set-up of a worktree knows of why: the steps of it that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.reasons import ENDED, FAILED, Reason

if TYPE_CHECKING:
    from k1ctl.reasons import Subject


def reasons(subject: Subject) -> list[Reason]:
    """Why the workspace is not set up as it should be."""
    found = subject.find("worktree.setup", workspace=subject.workspace, limit=1) if subject.whole else []
    if not found or found[-1].get("ok", True):
        return []
    event = found[-1]
    failed = [str(name) for name in event.get("failed") or []]
    steps = f"step{'' if len(failed) == 1 else 's'} {', '.join(failed)}"
    return [
        Reason(
            FAILED,
            f"{subject.workspace} is not set up: {steps} failed after {event.get('setup_seconds', 0):g} s",
            code="setup-failed",
            stage=ENDED,
            bound=steps,
            at=event["at"],
            events=found,
            files=_logs(subject.path),
            next="`k1ctl worktree setup`, called there, does again what is missing and shows what each step says",
        )
    ]


def _logs(path: str) -> list[str]:
    """Where the steps left their output."""
    import os

    from k1ctl.worktrees import SET_UP, own_git_dir

    own = own_git_dir(path) if path else ""
    folder = os.path.join(own, SET_UP)
    return [folder] if own and os.path.isdir(folder) else []
