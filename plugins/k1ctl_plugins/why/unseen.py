"""What is to be said where nothing waits, runs or failed: there is no work, or k1ctl does not see it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.reasons import ENDED, IDLE, NO_WORK, NOT_VISIBLE, RUNS, WAITS, Reason

if TYPE_CHECKING:
    from k1ctl.archive.processes import Process
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace

_SHELLS = ("sh", "bash", "zsh", "fish", "dash", "ksh", "login", "tmux: server", "screen", "sshd")
_NEXT = "what is to be seen has to go through k1ctl: `k1ctl queue run RESOURCE -- CMD`, `k1ctl build`, `k1ctl upload`"


def complete(workspace: Workspace, subject: Subject, reasons: list[Reason]) -> list[Reason]:
    """The reasons, and why there are none that bind, where that is so; that there is no such worktree, where so."""
    found = _complete(workspace, subject, reasons)
    if subject.whole and not subject.path:
        gone = f"there is no worktree {subject.workspace} here now; `k1ctl archive list` has those that were archived"
        for reason in found:
            if reason.stage in (ENDED, IDLE):
                reason.chain.append(gone)
    return found


def _complete(workspace: Workspace, subject: Subject, reasons: list[Reason]) -> list[Reason]:
    if any(reason.stage in (WAITS, RUNS, ENDED) for reason in reasons):
        return reasons
    if not subject.whole:
        return reasons or [_nothing_of(subject)]
    at, event = _last_seen(workspace, subject)
    there = _processes(subject.path)
    works = [f"{process}: what it does without k1ctl is not visible" for process in there[:3]]
    done = next((reason for reason in reasons if reason.stage == IDLE), None)
    if done is not None:
        done.chain += works
        return reasons
    name = subject.workspace
    events = subject.find(event, workspace=name, limit=1) if event else []
    files = [file for file in (workspace.ops_path("events"), subject.path) if file and os.path.exists(file)]
    if not event:
        text = f"k1ctl never saw a call from {name}: no event and no run names it"
        who = f"; {there[0]}" if there else ""
        # ENDED: what holds for everybody here is no answer for one who never asked for anything
        reason = Reason(NOT_VISIBLE, text + who, code="never-seen", stage=ENDED, chain=works, files=files, next=_NEXT)
    elif there:
        text = f"nothing of {name} waits or runs; {there[0]}, and what it does without k1ctl is not visible"
        reason = Reason(NOT_VISIBLE, text, code="past-k1ctl", at=at, chain=works, events=events, next=_NEXT)
    else:
        text = f"{name} has asked for nothing since {at} ({event}): nothing of it waits, runs or failed"
        reason = Reason(NO_WORK, text, code="idle", at=at, events=events, files=files, next=_NEXT)
    return [*reasons, reason]


def _nothing_of(subject: Subject) -> Reason:
    return Reason(NO_WORK, f"nothing is known that holds {subject.what} up", code="nothing-known")


def _last_seen(workspace: Workspace, subject: Subject) -> tuple[str, str]:
    """(When, event) of the last that is known of a workspace; ("", "") when it was never seen."""
    from k1ctl.tally import current

    seen = current(workspace).workspaces.get(subject.workspace)
    if seen is not None:
        return seen.at, seen.event
    if subject.runs:
        return str(subject.runs[0].get("created_at", "")), "a run"
    return "", ""


def _processes(path: str) -> list[Process]:
    """Who works in the worktree (not in another one within it), but for shells, what is k1ctl's own, this call's
    pipeline and those around it."""
    if not path:
        return []
    from k1ctl.archive.processes import Processes

    ours = _ancestors()
    there = [p for p in Processes().below(path) if p.how == "cwd" and p.pid not in ours and p.name not in _SHELLS]
    there = [p for p in there if _group(p.pid) not in (os.getpgid(0), 0) and _is_in(path, p.path)]
    return [process for process in there if not _is_k1ctl(process.pid)]


def _is_in(tree: str, path: str) -> bool:
    """Whether a folder below a worktree is in no other worktree of the same repository."""
    from k1ctl.workspace import find_checkout

    outer, inner = find_checkout(tree), find_checkout(path)
    return outer is None or inner is None or outer[1] != inner[1] or outer[0] == inner[0]


def _is_k1ctl(pid: int) -> bool:
    """Whether it is a process of k1ctl's own: a simulated device, a supervisor."""
    import psutil

    try:
        words = psutil.Process(pid).cmdline()[:3]
    except psutil.Error:
        return False
    return any(os.path.basename(word).partition(".")[0] == "k1ctl" for word in words)


def _group(pid: int) -> int:
    """The process group of a process; 0 for one that has just ended."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def _ancestors() -> set[int]:
    """This process and those that it was started by."""
    import psutil

    try:
        return {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    except psutil.Error:
        return {os.getpid(), os.getppid()}
