"""What ``k1ctl why`` is told by each plugin: why a workspace, a ticket or a run waits, was refused or failed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_WORK = "no work"  # nothing was asked for
BLOCKED = "blocked by"  # somebody holds what it waits for
LIMITED = "limited until"  # a limit with a known end
BUDGET = "over budget"
HOST = "host pressure"  # memory, cores, disk
FAILED = "failed"
RUNNING = "running"
NOT_VISIBLE = "not visible"  # k1ctl cannot know it: another host, another clone, a process that never called it
KINDS = (FAILED, BLOCKED, LIMITED, BUDGET, HOST, RUNNING, NOT_VISIBLE, NO_WORK)


class Subject:
    """Of what it is asked: a ``workspace``, a ``run`` or a ``ticket``, each "" or 0 where it is not known; ``what`` was
    typed."""

    __slots__ = ("run", "ticket", "what", "workspace")

    def __init__(self, what: str, *, workspace: str = "", run: str = "", ticket: int = 0) -> None:
        self.what, self.workspace, self.run, self.ticket = what, workspace, run, ticket


class Reason:
    """``kind``: one of `KINDS`; ``text``: a sentence; ``holder``: who holds what; ``bound`` and ``limit``: what binds
    and where it is; ``until``: RFC 3339 where an end is known; ``next``: what to do; ``events`` that prove it, newest
    last; ``at``: RFC 3339, when it came to be so."""

    __slots__ = ("at", "bound", "code", "events", "holder", "kind", "limit", "next", "text", "until")

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
    ) -> None:
        self.kind, self.text, self.code, self.holder, self.bound, self.limit = kind, text, code, holder, bound, limit
        self.until, self.next, self.at, self.events = until, next, at, events or []

    def document(self) -> dict[str, Any]:
        """The reason as JSON."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}
