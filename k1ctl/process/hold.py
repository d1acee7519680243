"""A lease that this very process holds, by a descriptor of its own, as a script does with `queue ticket` and `acquire`.

For commands of ours that are no runs: nothing stands between them and the terminal, and the kernel ends the lease with
the process, also on kill -9. (A command that is not ours has no such descriptor; the hooks tie it to a run.)
"""

from __future__ import annotations

import os

from k1ctl.files import flock
from k1ctl.process import nested, script
from k1ctl.process.client import open_descriptors
from k1ctl.queue import names, offer
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.line import UN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.process.view import View
    from k1ctl.workspace import Workspace


class Hold:
    """The lease; lives as long as the process, or until `release`."""

    def __init__(self, descriptors: list[int]) -> None:
        self.descriptors = descriptors

    def release(self) -> None:
        """Give it back."""
        while self.descriptors:
            fd = self.descriptors.pop()
            flock(fd, UN, "")  # the claim that waited for us may not have closed its copy yet
            os.close(fd)


def hold(
    workspace: Workspace,
    config: Config,
    resources: dict[str, int],
    *,
    what: str,
    wait: float | None,
    view: View,
    priority: str = "normal",
) -> Hold:
    """Stand in line for ``resources`` and hold them; what a run or a script around us holds is not asked for again.

    ``what`` is what others see and, with the worktree, whose place it is: a waiter that is killed finds it again. Call
    it before any thread exists: it forks. Raises K1ctlError (as BusyError queue-timeout after ``wait`` seconds),
    OSError.
    """
    folder = queue_folder(workspace, config)
    lent = nested.adopt(folder, open_descriptors())
    have, held = nested.join(folder, os.environ.get(nested.LEASES))
    have = {**have, **{r: max(n, have.get(r, 0)) for r, n in lent.items()}}
    try:
        for fd in held:
            os.set_inheritable(fd, False)
        wanted = nested.still_needed(resources, have, *(("k1ctl queue ticket {}",) if lent else ()))
        if not wanted:
            return Hold(held)
        key = names.stable_key(workspace.path, *(f"{r}={n}" for r, n in sorted(wanted.items())), what)
        path = offer.create(folder, wanted, names.PRIORITIES[priority], key, "")
        held.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        outcome, _ = script.acquire(workspace, config, held[-1], wait, view, holder=(os.getpid(), what))
        if outcome.ending.exit_code:
            try:
                os.unlink(path)
            except OSError:
                pass
            raise outcome.ending.as_error()
    except BaseException:
        Hold(held).release()
        raise
    return Hold(held)
