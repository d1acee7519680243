"""Which kept logs are meant, and printing them as they are."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from k1ctl.device.console.log import folder, kept

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.device.console.log import Kept
    from k1ctl.workspace import Workspace

_LOOK = 0.1  # s between two looks at what came


def chosen(
    workspace: Workspace, config: Config, name: str | None, *, last: bool, since: float | None
) -> tuple[str, list[Kept], set[str]]:
    """Of device ``name`` (default: [defaults] device): the folder of its logs, those that are meant, oldest first, and
    the paths of the others.

    Raises ConfigError for a device that is neither configured nor has logs.
    """
    name = name or str(config.get("defaults", "device"))
    place = folder(workspace, name)
    if not os.path.isdir(place):
        config.named("devices", name)
    rows = there = kept(place)
    if since is not None:
        rows = [row for row in rows if row.open or row.written >= time.time() - since]
    if last and rows:
        rows = [row for row in rows if row.session == rows[-1].session]
    return place, rows, {row.path for row in there} - {row.path for row in rows}


def show(place: str, rows: list[Kept], others: set[str], *, follow: bool) -> None:
    """Print the logs, byte for byte; with ``follow`` also what comes, but to ``others``, until it is interrupted."""
    at = {row.path: _print(row.path, 0) for row in rows}
    while follow:
        time.sleep(_LOOK)
        for row in kept(place):
            if row.path not in others and row.bytes > at.get(row.path, 0):
                at[row.path] = _print(row.path, at.get(row.path, 0))


def _print(path: str, offset: int) -> int:
    """Print a file from ``offset`` on; returns where it ended. Raises BrokenPipeError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # it made room for newer ones
        return offset
    try:
        while data := os.pread(fd, 65536, offset):
            offset += len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]
    finally:
        os.close(fd)
    return offset
