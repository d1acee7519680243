"""What the parts of an overview are made of: files that several of them need are read once."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.capacity.promises import Promise
    from k1ctl.config import Config
    from k1ctl.tally.fold import Tally
    from k1ctl.workspace import Workspace


ELSEWHERE = "(another repository)"
# of a workspace; the first of these is told where it does several things at once
STATES = ("uploading", "testing", "building", "running", "waiting", "parked", "idle")


class Part:
    """``rows`` of a table (a dict each, the same keys in all) and ``facts`` on the whole; ``error``: why it could not
    be made, "" when it was."""

    __slots__ = ("error", "facts", "rows")

    def __init__(
        self, rows: list[dict[str, Any]] | None = None, facts: dict[str, Any] | None = None, *, error: str = ""
    ) -> None:
        self.rows, self.facts, self.error = rows or [], facts or {}, error

    def document(self) -> dict[str, Any]:
        """The part in JSON's terms; ``error`` is null where there is none."""
        return {"rows": self.rows, "facts": self.facts, "error": self.error or None}


def reason(exc: Exception) -> str:
    """Why something cannot be told, in a line."""
    from k1ctl.errors import K1ctlError

    if isinstance(exc, K1ctlError | OSError):
        from k1ctl.failure import words

        return words(exc)
    from k1ctl.plugins import one_line

    return one_line(exc)


class Sources:
    """The files that an overview is made of, each read when the first part wants it; one that cannot be read is tried
    again by the next, so that each part says what it lacks. ``now``: seconds since 1970."""

    def __init__(self, workspace: Workspace, config: Config, tally: Callable[[], Tally] | None = None) -> None:
        self.workspace, self.config, self.now, self._tally = workspace, config, time.time(), tally
        self._kept: dict[str, Any] = {}

    def ago(self, at: Any) -> float | None:
        """Seconds from a time (RFC 3339, or seconds since 1970) to now; None for what is no time."""
        from k1ctl.units import parse_rfc3339

        try:
            then = float(at) if isinstance(at, int | float) else parse_rfc3339(str(at or ""))
        except ValueError:
            return None
        return round(max(0.0, self.now - then), 3)

    @property
    def queue(self) -> str:
        """The folder of the queue."""
        from k1ctl.queue.folder import queue_folder

        return queue_folder(self.workspace, self.config)

    @property
    def tickets(self) -> list[dict[str, Any]]:
        """Every ticket whose owner lives, or whose place is kept (`k1ctl.queue.view.entries`)."""
        if "tickets" not in self._kept:
            from k1ctl.queue.view import entries

            over = self._over()
            found = [row for row in entries(self.queue) if row["state"] != "dead"]
            self._kept["tickets"] = [row for row in found if row["state"] != "parked" or row["ticket"] not in over]
        return self._kept["tickets"]  # type: ignore[no-any-return]

    def _over(self) -> set[int]:
        """The numbers of places that were kept for longer than they are: nobody has taken them away yet."""
        from k1ctl.queue.names import parse

        folder, most = os.path.join(self.queue, "tickets"), float(self.config.get("queue", "park"))
        found = set()
        for file in os.listdir(folder) if os.path.isdir(folder) else ():
            name = parse(file) if file.startswith("p") else None
            try:
                if name is not None and self.now - os.stat(os.path.join(folder, file)).st_mtime > most:
                    found.add(name.seq)
            except FileNotFoundError:
                pass
        return found

    @property
    def paused(self) -> dict[str, str]:
        """{resource that nobody new gets: reason}; of a device that is out of service, too."""
        if "paused" not in self._kept:
            from k1ctl.queue.view import paused

            self._kept["paused"] = paused(self.queue)
        return self._kept["paused"]  # type: ignore[no-any-return]

    @property
    def promises(self) -> list[Promise]:
        """What of the host is promised to whom, and who waits for it; without what each uses, which costs a walk over
        all processes."""
        if "promises" not in self._kept:
            from k1ctl.capacity.promises import held

            self._kept["promises"] = held(waiting=True, seen=False)
        return self._kept["promises"]  # type: ignore[no-any-return]

    @property
    def tally(self) -> Tally:
        """What all events come to (`k1ctl.tally.current`)."""
        if "tally" not in self._kept:
            from k1ctl.tally import current

            self._kept["tally"] = self._tally() if self._tally else current(self.workspace)
        return self._kept["tally"]  # type: ignore[no-any-return]

    def owner(self, ticket: dict[str, Any]) -> str:
        """Whose a ticket is: the workspace's name; of another repository that shares the queue it is told as such."""
        name, run = str(ticket.get("workspace") or "?"), str(ticket.get("run") or "")
        shared = bool(self.config.get("queue", "dir")) and run[:1].isdigit()
        ours = not shared or os.path.isdir(self.workspace.ops_path("runs", run))
        return name if ours else f"{name} {ELSEWHERE}"

    def path_of(self, run: str) -> str:
        """The worktree that a run works in, by its record; "" where that does not tell."""
        from k1ctl.files import read_json

        record = read_json(self.workspace.ops_path("runs", run, "run.json")) if run else None
        return str(record.get("workspace_path") or "") if isinstance(record, dict) else ""


def shown(resources: dict[str, int]) -> list[str]:
    """The resources of a ticket that people know: the lock of a build folder (``tree:HASH``) is none."""
    return [name for name in resources if not name.startswith("tree:")]
