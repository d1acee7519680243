"""Start a run: fork its supervisor, watch it, and say how it ended."""

from __future__ import annotations

import os
import sys

from k1ctl.process.frontend import FrontEnd, SupervisorLostError
from k1ctl.process.supervisor import supervise
from k1ctl.process.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.process.attempt import Ending
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
    from k1ctl.process.attempt import Ending

    return Outcome(Ending(76, "k1ctl", "supervisor-lost", "the supervisor was killed again and again"), "", "")


def _start(
    workspace: Workspace, config: Config, spec: RunSpec, before: Before | None, after: After | None, view: View
) -> FrontEnd:
    status_read, status_write = os.pipe()
    control_read, control_write = os.pipe()
    mark_read, mark_write = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    pid = os.fork()
    if pid == 0:
        for fd in (status_read, control_write, mark_read):
            os.close(fd)
        supervise(workspace, config, spec, (status_write, control_read, mark_write), before, after)
    for fd in (status_write, control_read, mark_write):
        os.close(fd)
    return FrontEnd(workspace, config, spec, view, status_read, control_write, mark_read, pid)
