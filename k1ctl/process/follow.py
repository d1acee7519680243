"""Watch a run that another call started: how it stands in line, what it prints, how it ended."""

from __future__ import annotations

import os
import time

from k1ctl.errors import BusyError, OutcomeUnknownError
from k1ctl.process import record
from k1ctl.process.view import FIRST_LOOK, News, describe_standing
from k1ctl.queue.folder import queue_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.process.record import Run
    from k1ctl.process.view import View
    from k1ctl.queue.view import Standing
    from k1ctl.workspace import Workspace

_FASTEST, _WORKING, _WAITING = 0.01, 0.1, 1.0  # s between two looks at the log; the run's end is seen at once
_GUARDED = "the device is held by {}, in another repository on this host"


class Follower:
    """Watches ``run`` from outside; its end, and the watcher's, change nothing for it."""

    def __init__(self, workspace: Workspace, config: Config, run: Run, view: View) -> None:
        self.config, self.run, self.view = config, run, view
        self.folder = queue_folder(workspace, config)
        self.news = News(view.live.terminal)
        self.logs: dict[int, int] = {}  # our descriptor -> the log's
        self._saved = 0  # when the record we know was saved

    def watch(self, seconds: float | None) -> bool:
        """Show the wait and pass the log on until the run is over, or lingers (its status is known); False after
        ``seconds``.

        The log comes from its beginning. Afterwards the record is that of the end. Raises BrokenPipeError when nobody
        reads our output.
        """
        over = record.end_of(self.run)
        now = time.monotonic()
        deadline = None if seconds is None else now + seconds
        tick, look_at, waits = _FASTEST, now + FIRST_LOOK, True
        try:
            while True:
                if self._stream():
                    tick, waits = _FASTEST, False
                elif waits and now >= look_at:
                    look_at, waits = now + self.view.interval, self._look()
                tick = min(tick * 1.5, _WAITING if waits else _WORKING)
                if over.wait(tick if deadline is None else min(tick, max(0.0, deadline - now))):
                    self._stream()
                    record.reload(self.run)
                    return True
                if self._lingers():
                    self._stream()
                    left = len(self.run.record.get("processes", []))
                    self.view.message(
                        f"the command ended but left {left} process(es) in its group; they keep the lease"
                    )
                    return True
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    record.reload(self.run)
                    return False
        finally:
            self.view.closed()
            for log in self.logs.values():
                os.close(log)
            self.logs = {}

    def _lingers(self) -> bool:
        """Whether the command is over and only what it left in its group goes on."""
        try:
            saved = os.stat(os.path.join(self.run.folder, "run.json")).st_mtime_ns
        except FileNotFoundError:  # cleaned away
            return False
        if saved != self._saved:
            self._saved = saved
            record.reload(self.run)
        return self.run.record.get("state") == "lingering"

    def _look(self) -> bool:
        """Show how the run stands in line, or who holds its device elsewhere; False when it waits no more in line."""
        if not self.news.any(self.folder):
            return True
        stands = self.standing()
        if stands is not None:
            self.view.waiting(stands, self.run.record["resources"])
        elif who := self._guarded_by():
            self.view.message(f"waiting: {_GUARDED.format(who)}")
        elif self.run.record.get("state") == "waiting" and self.run.record.get("waits_for"):
            self.view.held_back(str(self.run.record["waits_for"]))
            return True
        return stands is not None

    def standing(self) -> Standing | None:
        """How the run's ticket stands; None when it does not wait in line."""
        from k1ctl.queue.view import standing

        if self.run.record.get("state") != "waiting":
            return None
        record.reload(self.run)
        ticket = self.run.record.get("ticket")
        if not isinstance(ticket, int):
            return None
        return standing(self.folder, ticket, self.config.slots, pid=self.run.record.get("supervisor", 0))

    def _guarded_by(self) -> str:
        """Who holds the device that the run was let in for; "" for a run that works or needs none."""
        resources = self.run.record.get("resources", {})
        if self.run.record.get("state") != "waiting" or not any(r.startswith("device:") for r in resources):
            return ""
        from k1ctl.process.guards import in_the_way

        return in_the_way(self.config, resources, self.run.id)

    def _stream(self) -> bool:
        """Pass on what the logs grew by; whether there was anything."""
        grown = False
        for fd, path in ((1, self.run.log), (2, self.run.error_log)):
            if fd not in self.logs:
                try:
                    self.logs[fd] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:  # not kept apart, or cleaned away
                    continue
            while data := os.read(self.logs[fd], 65536):
                grown = True
                self.view.output(fd, data)
        return grown

    def not_over(self) -> BusyError:
        """Why the run is not over yet: where it stands in line, or that it runs."""
        run = self.run
        hint = f"call again, it keeps its place: k1ctl queue wait {run.id}"
        stands = self.standing()
        if stands is not None:
            return BusyError(
                f"run {run.id} is still waiting in line: {describe_standing(stands)}",
                hint=hint,
                code="still-queued",
                run=run.id,
                ticket=run.record.get("ticket"),
                position=stands.position,
                expected_start_seconds=stands.expected_seconds,
                holders=stands.holders,
                paused=stands.paused,
            )
        if who := self._guarded_by():
            why = f"run {run.id} has its turn and waits: {_GUARDED.format(who)}"
            return BusyError(why, hint=hint, code="device-guarded", run=run.id, ticket=run.record.get("ticket"))
        if run.record.get("state") == "waiting" and run.record.get("waits_for"):
            why = f"run {run.id} has its turn and waits for room on this host: {run.record['waits_for']}"
            return BusyError(why, hint=hint, code="no-capacity", run=run.id, ticket=run.record.get("ticket"))
        state = "about to start" if run.record.get("state") == "waiting" else run.record.get("state")
        hint = f"call again: k1ctl queue wait {run.id}"
        return BusyError(f"run {run.id} is still {state}", hint=hint, code="still-running", run=run.id)


def lost(run: Run) -> OutcomeUnknownError:
    """What is known of a run that is over and whose record has no end."""
    if run.never_began():
        return OutcomeUnknownError(
            f"run {run.id} was killed while it waited in line; its command was not started",
            hint="submit it again: the same words, or the same --key, take the old place",
            code="supervisor-lost",
            run=run.id,
        )
    when = ", in line or as its command began" if run.record.get("state") == "waiting" else ""
    return OutcomeUnknownError(
        f"run {run.id} ended without a record: its supervisor was killed{when or ', and its command'}",
        hint=f"its log is {run.log}",
        code="run-lost",
        run=run.id,
    )
