"""A demo that is told to end takes its runs with it: nothing of it works on in a folder that is about to go."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE = 20.0  # seconds; more than the grace period between TERM and KILL


def until_empty(group: int) -> None:
    """Wait until nobody is left of a command's group: what it started may outlive it for a moment."""
    from k1ctl import groups

    end = time.monotonic() + _PATIENCE
    while groups.members(group) and time.monotonic() < end:
        time.sleep(0.01)


class Runs:
    """The runs below ``ops`` that still live."""

    def __init__(self, ops: Path) -> None:
        from k1ctl.files import read_json
        from k1ctl.process.record import Run, alive

        folders = sorted((ops / "runs").glob("*"))
        runs = [Run(str(f), {"run": f.name, **(read_json(str(f / "run.json")) or {})}) for f in folders]
        self.alive = [run for run in runs if alive(run)]

    def stop(self) -> None:
        """TERM to each supervisor, which ends its command where it is safe."""
        for run in self.alive:
            pid = run.record.get("supervisor", 0)
            try:
                if pid and os.getsid(pid) == pid:
                    os.kill(pid, signal.SIGTERM)
            except OSError:
                pass

    def wait(self) -> None:
        """Until none lives, or we lose patience."""
        from k1ctl.process.record import alive

        end = time.monotonic() + _PATIENCE
        while any(alive(run) for run in self.alive) and time.monotonic() < end:
            time.sleep(0.02)
