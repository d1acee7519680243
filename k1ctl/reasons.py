"""What ``k1ctl why`` is told by each plugin: why a workspace, a ticket or a run waits, was refused or failed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from k1ctl.workspace import Workspace

NO_WORK = "no work"  # nothing was asked for, or all of it is done
BLOCKED = "blocked by"  # somebody holds what it waits for
LIMITED = "limited until"  # a limit with a known end
BUDGET = "over budget"
HOST = "host pressure"  # memory, cores, disk
FAILED = "failed"
RUNNING = "running"
NOT_VISIBLE = "not visible"  # k1ctl cannot know it: another host, another clone, a process that never called it
KINDS = (FAILED, BLOCKED, LIMITED, BUDGET, HOST, RUNNING, NOT_VISIBLE, NO_WORK)

WAITS = "waits"  # it holds the subject up now
RUNS = "runs"  # the subject works now
ENDED = "ended"  # how something of the subject ended
AROUND = "around"  # holds for everybody here; the subject would meet it
IDLE = "idle"  # nothing holds it up
STAGES = (WAITS, RUNS, ENDED, AROUND, IDLE)  # in the order in which they are the answer


class Subject:
    """Of what it is asked: a ``workspace``, a ``run``, a ``ticket`` or a ``resource`` (device:k1), each "" or 0 where
    it is not known; ``what`` was typed.

    ``runs``: records (run.json) of the subject, newest first: the run itself, or the last ones of the workspace;
    ``tickets``: its entries of the queue (`k1ctl.queue.view.entries`); ``path`` of its worktree; ``find(*names,
    limit=3, **fields)`` gives the newest events with these names and fields, newest last: of a run since it began, else
    of the last 7 days. Besides what events have there are ``holds`` (a resource) and ``whose`` (workspace or agent).
    """

    __slots__ = ("_find", "path", "resource", "run", "runs", "ticket", "tickets", "what", "workspace")

    def __init__(
        self,
        what: str,
        *,
        workspace: str = "",
        run: str = "",
        ticket: int = 0,
        resource: str = "",
        path: str = "",
        runs: Sequence[dict[str, Any]] = (),
        tickets: Sequence[dict[str, Any]] = (),
        find: Callable[..., list[dict[str, Any]]] | None = None,
    ) -> None:
        self.what, self.workspace, self.run, self.ticket, self.resource = what, workspace, run, ticket, resource
        self.path, self.runs, self.tickets, self._find = path, list(runs), list(tickets), find

    @property
    def kind(self) -> str:
        """resource, run, ticket or workspace."""
        return "resource" if self.resource else "run" if self.run else "ticket" if self.ticket else "workspace"

    @property
    def whole(self) -> bool:
        """Whether it is a workspace, so that what holds for all of it belongs to the answer."""
        return self.kind == "workspace"

    def find(self, *names: str, limit: int = 3, **fields: Any) -> list[dict[str, Any]]:
        """The newest events of these names whose fields have these values, newest last; [] without a record."""
        return [] if self._find is None else self._find(*names, limit=limit, **fields)

    def living(self, state: str) -> Iterator[dict[str, Any]]:
        """Its tickets in this state: running, waiting, parked or dead."""
        return (ticket for ticket in self.tickets if ticket["state"] == state)

    def ended(self, workspace: Workspace) -> Iterator[dict[str, Any]]:
        """The records of its runs that are over, the newest of each kind and target. A run without an end (killed with
        its supervisor) is among them."""
        seen = set()
        for record in self.runs:
            same = (record.get("kind", ""), str((record.get("details") or {}).get("target") or ""))
            if same not in seen and not under_way(workspace, record):
                seen.add(same)
                yield record

    def went_on(self, at: str) -> bool:
        """Whether a run of it was begun since the time ``at``: then a refusal of before is history."""
        return any(str(record.get("created_at", "")) >= at for record in self.runs)

    def document(self) -> dict[str, Any]:
        """The subject as JSON."""
        return {
            "kind": self.kind,
            "what": self.what,
            "workspace": self.workspace or None,
            "run": self.run or None,
            "ticket": self.ticket or None,
            "resource": self.resource or None,
        }


def in_words(record: dict[str, Any]) -> str:
    """What a run runs, in 80 characters at most. A secret is masked before the cut, which could hide that it is one."""
    from k1ctl.escalation.prompts import masked

    name = masked(str(record.get("label") or " ".join(map(str, record.get("argv") or []))))
    return name if len(name) <= 80 else f"{name[:77]}..."


def under_way(workspace: Workspace, record: dict[str, Any]) -> bool:
    """Whether somebody of a recorded run lives: its supervisor or its command."""
    if record.get("state") == "ended":
        return False
    from k1ctl.process.record import Run, alive

    return alive(Run(workspace.ops_path("runs", record["run"]), record))


class Reason:
    """``kind``: one of `KINDS`; ``text``: a sentence; ``holder``: who holds what; ``bound`` and ``limit``: what binds
    and where it is; ``until``: RFC 3339 where an end is known; ``next``: what to do; ``events`` that prove it, newest
    last; ``at``: RFC 3339, when it came to be so.

    ``stage``: one of `STAGES` (default: that of the kind). ``chain``: sentences on what stands behind it, the nearest
    cause first. ``files`` and ``lines`` prove it where events do not: paths, and lines out of a log. ``about``: the run
    or ticket that it is of; a ``general`` reason gives way to any other one that is about the same.
    """

    __slots__ = (
        "about", "at", "bound", "chain", "code", "events", "files", "general", "holder", "kind", "limit", "lines",
        "next", "stage", "text", "until",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        text: str,
        *,
        code: str = "",
        holder: str = "",
        bound: str = "",
        limit: str = "",
        until: str = "",
        next: str = "",
        at: str = "",
        events: list[dict[str, Any]] | None = None,
        stage: str = "",
        chain: Sequence[str] = (),
        files: Sequence[str] = (),
        lines: Sequence[str] = (),
        about: str = "",
        general: bool = False,
    ) -> None:
        self.kind, self.text, self.code, self.holder, self.bound, self.limit = kind, text, code, holder, bound, limit
        self.until, self.next, self.at, self.events = until, next, at, events or []
        self.stage = stage or {FAILED: ENDED, RUNNING: RUNS, NO_WORK: IDLE, NOT_VISIBLE: IDLE}.get(kind, WAITS)
        self.chain, self.files, self.lines, self.about, self.general = [*chain], [*files], [*lines], about, general

    def document(self) -> dict[str, Any]:
        """The reason as JSON."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}
