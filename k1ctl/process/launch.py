"""Start a run: fork its supervisor, and watch it to the end, or leave it to itself once it stands in line."""

from __future__ import annotations

import os
import sys

from k1ctl.errors import OutcomeUnknownError
from k1ctl.jsontext import loads
from k1ctl.process.attempt import Ending
from k1ctl.process.frontend import FrontEnd, SupervisorLostError
from k1ctl.process.supervisor import supervise
from k1ctl.process.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.process.spec import RunSpec
    from k1ctl.process.supervisor import After, Before
    from k1ctl.workspace import Workspace

_TAKE_OVERS = 5  # supervisors killed in line before we stop replacing them


class Outcome:
    """How a run ended (``ending``), and where it is recorded (``run`` id and ``folder``; "" when it never was)."""

    __slots__ = ("ending", "folder", "run")

    def __init__(self, ending: Ending, run: str, folder: str) -> None:
        self.ending, self.run, self.folder = ending, run, folder


def launch(
    workspace: Workspace,
    config: Config,
    spec: RunSpec,
    *,
    before: Before | None = None,
    after: After | None = None,
    view: View | None = None,
) -> Outcome:
    """Run ``spec`` under a supervisor of its own and watch it to the end.

    ``before(run, spec)`` and ``after(run, ending)`` run in the supervisor with the lease held, before the first and
    after the last attempt; what ``after`` returns is the record's ``result``; a K1ctlError of theirs ends the run.
    Call it before any thread exists: it forks. Raises OSError.
    """
    view = view or View()
    _settle(spec, config)
    if spec.device:
        view.chosen(spec.device)
    for _ in range(_TAKE_OVERS):
        front = _start(workspace, config, spec, before, after, view)
        try:
            ending = front.watch()
        except SupervisorLostError:
            continue
        finally:
            for fd in (front.status, front.control, front.mark):
                os.close(fd)
        return Outcome(ending, front.run_id, front.folder)
    return Outcome(Ending(76, "k1ctl", "supervisor-lost", "the supervisor was killed again and again"), "", "")


def _settle(spec: RunSpec, config: Config) -> None:
    """Which devices a group stands for is asked once, here: all that follows is in the ticket's name."""
    if any(r.startswith("device:") for r in spec.resources):
        from k1ctl.queue.choice import only_one, settled

        found = settled(spec.resources, config)
        spec.device = only_one(spec.resources, found)
        spec.resources = found


class Submitted:
    """A run that goes on without its caller: its id, its ticket, its folder; ``resumed``: it has a kept place."""

    __slots__ = ("folder", "resumed", "run", "ticket")

    def __init__(self, run: str, ticket: int, folder: str, resumed: bool) -> None:
        self.run, self.ticket, self.folder, self.resumed = run, ticket, folder, resumed

    def document(self) -> dict[str, Any]:
        """All of it by name."""
        return {name: getattr(self, name) for name in ("run", "ticket", "folder", "resumed")}


def submit(workspace: Workspace, config: Config, spec: RunSpec) -> Submitted:
    """Start the detached ``spec`` and return once it is recorded and stands in line.

    Raises what keeps it from standing there (K1ctlError with the run's exit code), OSError.
    """
    _settle(spec, config)
    for _ in range(_TAKE_OVERS):
        read, write = os.pipe()
        _flush()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            supervise(workspace, config, spec, (write, -1, -1), None, None)
        os.close(write)
        try:
            submitted = _in_line(read)
        finally:
            os.close(read)
        if submitted is not None:
            return submitted
        os.waitpid(pid, 0)  # killed before it said so: nothing was begun
    raise OutcomeUnknownError("the supervisor was killed again and again", code="supervisor-lost")


def _in_line(status: int) -> Submitted | None:
    """What the supervisor says until it stands in line; None when it dies before that. Raises K1ctlError."""
    run = folder = ""
    with open(status, encoding="utf-8", closefd=False) as words:
        for line in words:
            if not line.endswith("\n"):
                break
            said = loads(line)
            if said["state"] == "created":
                run, folder = said["run"], said["folder"]
            elif said["state"] == "queued":
                return Submitted(run, said["ticket"], folder, said["resumed"])
            elif said["state"] in ("ended", "failed"):
                told = said.get("error") or said
                ending = Ending(told["exit_code"], "k1ctl", told["code"], told["message"], hint=told["hint"])
                ending.error = said.get("error")
                raise ending.as_error(**({"run": run} if run else {}))
    return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass


def _start(
    workspace: Workspace, config: Config, spec: RunSpec, before: Before | None, after: After | None, view: View
) -> FrontEnd:
    status_read, status_write = os.pipe()
    control_read, control_write = os.pipe()
    mark_read, mark_write = os.pipe()
    _flush()
    pid = os.fork()
    if pid == 0:
        for fd in (status_read, control_write, mark_read):
            os.close(fd)
        supervise(workspace, config, spec, (status_write, control_read, mark_write), before, after)
    for fd in (status_write, control_read, mark_write):
        os.close(fd)
    return FrontEnd(workspace, config, spec, view, status_read, control_write, mark_read, pid)
