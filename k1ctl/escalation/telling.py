"""Tells people what they still have to hear of a device.

``python -m k1ctl.escalation.telling ROOT WORKSPACE DEVICE`` is the process that does it.

One process tells at a time (a flock). A try is recorded before it begins and its result behind it, so a notification
comes at least once, and a second time only when the process is killed in between: its ``key`` is the same then.
"""

from __future__ import annotations

import os
import sys

from k1ctl.escalation import keeper
from k1ctl.escalation.ladder import CLOSED, HUMAN, INCIDENT
from k1ctl.files import open_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.escalation.ladder import Step
    from k1ctl.notify import Notification
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

_LIMIT = 600.0  # s that a process tells; beyond it a channel hangs where no alarm reaches it
_SUBJECTS = {
    HUMAN: "needs a person",
    INCIDENT: "does not answer: incident, its queue is paused",
    CLOSED: "is well again",
}


def tell(workspace: Workspace, config: Config, plugins: Plugins, device: str) -> list[dict[str, Any]]:
    """Tell people of every step that is due, in order; [{key, told}] of those. Raises BusyError, OSError.

    Nothing is done where another process tells already. It looks again once it is through, so that a step that came
    meanwhile is not left behind.
    """
    lock = keeper.state_path(workspace, device).removesuffix(".json") + ".telling.lock"
    done: list[dict[str, Any]] = []
    while any(keeper.due(step) for step in keeper.load(workspace, device)["steps"]):
        fd = open_locked(lock, blocking=False)
        if fd is None:
            break
        try:
            for step in keeper.load(workspace, device)["steps"]:
                if keeper.due(step):
                    done.append(_tell(workspace, config, plugins, device, step))
        finally:
            os.close(fd)
    return done


def _tell(workspace: Workspace, config: Config, plugins: Plugins, device: str, step: Step) -> dict[str, Any]:
    import time

    from k1ctl.events import emit
    from k1ctl.notify import SENT, send

    key = keeper.key_of(device, step)
    keeper.record(workspace, device, key, tries=step["tries"] + 1, tried=time.time())
    rows = send(plugins, workspace, config, notification(workspace, device, step))
    if not rows:
        emit(workspace, "notify.nobody", device=device, key=key)
    settled = not rows or any(row["outcome"] == SENT for row in rows) or step["tries"] + 1 >= keeper.TRIES
    if settled:
        keeper.record(workspace, device, key, told=rows)
    return {"key": key, "told": rows, "settled": settled}


def notification(workspace: Workspace, device: str, step: Step) -> Notification:
    """A step as people are told of it."""
    from k1ctl.escalation.prompts import path_of
    from k1ctl.notify import CRITICAL, INFO, WARNING, Notification

    over = step["rung"] == CLOSED
    lines = [step["reason"], f"k1ctl device escalation {device}"]
    prompt = path_of(workspace, step["run"]) if step["run"] else ""
    if prompt and os.path.exists(prompt):
        lines.append(f"the failed run: {prompt}")
    if step["rung"] == INCIDENT:
        lines.append(f"device:{device} is paused; it is resumed when the device answers")
    return Notification(
        {HUMAN: WARNING, INCIDENT: CRITICAL}.get(step["rung"], INFO),
        f"{device} {_SUBJECTS[step['rung']]}",
        step["reason"],
        key=keeper.key_of(device, step),
        text="\n".join(lines),
        device=device,
        workspace=step["workspace"],
        run=step["run"],
        recovered=over,
        at=step["at"],
    )


def main(argv: list[str]) -> int:
    """The process that `k1ctl.escalation.keeper.tell_apart` starts; what goes wrong is an event."""
    import faulthandler

    from k1ctl.config import load
    from k1ctl.events import emit
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

    root, name, device = argv
    workspace = Workspace(root, root, name)
    try:
        faulthandler.dump_traceback_later(_LIMIT, exit=True)  # others tell then: it holds their lock
        tell(workspace, load(workspace), Plugins(), device)
    except Exception as exc:  # nobody reads what it prints
        emit(
            workspace, "escalation.failed", device=device, what="telling", message=f"{type(exc).__name__}: {exc}"[:300]
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
