"""A history written by the writers that k1ctl has, at the times it is told, and what it comes to by plain counting."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from k1ctl import events
from k1ctl.process.record import Run
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace

# What an end says (exit code, by whom, code; of uploads the outcome), by what it is, and what it counts for.
ENDS: dict[tuple[str, str], tuple[int, str, str, str]] = {
    ("build", "done"): (0, "command", "done", ""),
    ("build", "failed"): (1, "command", "build-failed", ""),
    ("build", "timeout"): (124, "k1ctl", "timed-out", ""),
    ("build", "cancelled"): (143, "k1ctl", "cancelled", ""),
    ("build", "refused"): (75, "k1ctl", "queue-timeout", ""),
    ("upload", "done"): (0, "command", "done", "installed"),
    ("upload", "failed"): (65, "k1ctl", "image-refused", "refused"),
    ("upload", "unknown"): (76, "k1ctl", "unknown", "unknown"),
    ("upload", "refused"): (75, "k1ctl", "queue-timeout", ""),
}
RESOURCES = {"build": "build:fw", "upload": "device:k1"}
BAD = {"build": ("failed", "timeout"), "upload": ("failed", "unknown")}


class Job(NamedTuple):
    """A build or an upload: how it ended, whose it was, how long ago (minutes), how long it waited and worked (s)."""

    kind: str
    result: str
    workspace: str
    age: int
    wait: int
    seconds: int

    @property
    def begun(self) -> bool:
        return self.result != "refused"


def counted(jobs: list[Job], kind: str, minutes: float = float("inf")) -> Counter[str]:
    """{result: number} of those of the last so many minutes."""
    return Counter(job.result for job in jobs if job.kind == kind and job.age < minutes)


def judged(jobs: list[Job], kind: str, minutes: float = float("inf")) -> tuple[int, int, int]:
    """(good, bad, neither)."""
    results = counted(jobs, kind, minutes)
    good, bad = results["done"], sum(results[each] for each in BAD[kind])
    return good, bad, results.total() - good - bad


class History:
    """``jobs`` as they were lived in the root ``root``, the oldest first; ``runs``: their ids in the same order."""

    def __init__(self, root: Path, jobs: list[Job]) -> None:
        self.root, self.now = root, time.time()
        self.jobs = sorted(jobs, key=lambda job: -job.age)
        self.runs: list[str] = []
        told: list[tuple[float, Job, str, dict[str, Any]]] = []
        for number, job in enumerate(self.jobs):
            told += self._run(job, number)
        with pytest.MonkeyPatch.context() as patch:
            for at, job, name, fields in sorted(told, key=lambda each: each[0]):
                patch.setattr(events, "rfc3339", lambda at=at: rfc3339(at))
                events.emit(self.place(job.workspace), name, **fields)

    def place(self, name: str) -> Workspace:
        """A worktree, made without git: nothing but files is looked at."""
        folder, known = self.root / name, self.root / ".git" / "worktrees" / name
        if not folder.exists():
            folder.mkdir()
            known.mkdir(parents=True)
            (folder / ".git").write_text(f"gitdir: {known}\n")
            (known / "gitdir").write_text(f"{folder / '.git'}\n")
            (known / "commondir").write_text("../..\n")
            for head in (known / "HEAD", self.root / ".git" / "HEAD"):
                head.write_text(f"ref: refs/heads/{name}\n")
        return Workspace(str(self.root), str(folder), name, str(self.root / ".git"))

    def _run(self, job: Job, number: int) -> Iterator[tuple[float, Job, str, dict[str, Any]]]:
        """Its record is written; yields its events (time, whose, name, fields)."""
        ended = self.now - job.age * 60.0 + number / 1000  # no two at once
        began, asked = ended - job.seconds, ended - job.seconds - job.wait
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(asked))
        run, (code, by, text, outcome) = f"{stamp}.000-{number:04x}", ENDS[job.kind, job.result]
        self.runs.append(run)
        resources, target = {RESOURCES[job.kind]: 1}, {"run": run, "target": "fw"}
        if job.begun:
            granted = {"run": run, "ticket": number + 1, "resources": resources, "wait_seconds": float(job.wait)}
            yield began, job, "queue.granted", granted
            end = {"code": text, "exit_code": code}
            if job.kind == "build":
                yield ended, job, "build.finished", {**target, **end, "seconds": float(job.seconds)}
            else:
                yield ended, job, "upload.finished", {**target, "outcome": outcome, "code": text, "soak_seconds": 0.0}
        facts = {"kind": job.kind, "exit_code": code, "by": by, "code": text, "message": text}
        yield ended + 0.0005, job, "run.ended", {"run": run, **facts, "wait_seconds": float(job.wait)}
        self._record(job, run, {**facts, "resources": resources, "ticket": number + 1}, (asked, began, ended))

    def _record(self, job: Job, run: str, facts: dict[str, Any], times: tuple[float, float, float]) -> None:
        asked, began, ended = times
        folder = self.root / "ops" / "runs" / run
        folder.mkdir(parents=True)
        clock = {"enqueued": asked}
        if job.begun:
            facts |= {"granted_at": rfc3339(began), "started_at": rfc3339(began)}
            clock |= {"granted": began, "started": began, "ended": ended, "released": ended}
        path = self.place(job.workspace).path
        base = {"workspace": job.workspace, "workspace_path": path, "argv": ["make"], "label": "", "hint": ""}
        over = {
            "state": "ended",
            "created_at": rfc3339(asked),
            "ended_at": rfc3339(ended),
            "result": None,
            "error": None,
        }
        record = Run(str(folder), {"run": run, **base, **over, "details": {"target": "fw"}})
        record.save(**facts, wait_seconds=float(job.wait), monotonic=clock)


@contextmanager
def standing(root: Path, names: list[str]) -> Iterator[list[Ticket]]:
    """Tickets of workspaces for the device, the first let in; signals are as they were afterwards."""
    heard, handlers = signal.set_wakeup_fd(-1), {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGCHLD)}
    tickets: list[Ticket] = []
    try:
        for number, name in enumerate(names):
            own = {"workspace": name, "kind": "upload", "run": f"waits-{number}", "queued_at": rfc3339()}
            ticket = Ticket(
                Line(str(root / "ops" / "queue")), {"device:k1": 1}, lambda r: 1, key=f"{number}", facts=own
            )
            tickets.append(ticket)
            if ticket.enqueue():
                ticket.tell(granted_at=rfc3339(), group=os.getpgid(0))
        yield tickets
    finally:
        for ticket in tickets:
            ticket.leave()
            ticket.close()
        signal.set_wakeup_fd(heard)
        for number, handler in handlers.items():
            signal.signal(number, handler)
