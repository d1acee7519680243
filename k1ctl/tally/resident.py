"""The tally of a process that looks again and again: kept in memory, so that a look costs what is new and no more.

It is read anew when somebody wrote another one, when it has so much to write itself, and every few minutes.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.tally.document import Positions
    from k1ctl.tally.fold import Tally
    from k1ctl.workspace import Workspace

    Stamp = tuple[int, int, int]

AGAIN = 300.0  # s: days that were removed, or mended by hand, are noticed then


class Resident:
    """The tally of one root."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._kept: tuple[Tally, Positions] | None = None
        self._stamp: Stamp | None = None
        self._new, self._read_at = 0, 0.0

    def look(self) -> Tally:
        """What all events come to now, as `k1ctl.tally.current` has it. Never raises for damage."""
        from k1ctl.tally import current
        from k1ctl.tally.fold import DAMAGE
        from k1ctl.tally.store import SAVE_AFTER, fold

        much = self._new >= SAVE_AFTER
        if much:
            current(self.workspace)  # which writes
        stale = time.monotonic() - self._read_at > AGAIN
        if self._kept is None or much or stale or self._there() != self._stamp:
            self._read()
        if self._kept is None:  # the first look of all, which may be long and is to be kept, or little to count
            found = current(self.workspace)
            self._read()
            return found
        tally, positions = self._kept
        try:
            tally.now = time.time()
            self._new += fold(tally, positions, self.workspace.ops_path("events"))
            tally.settle()
        except DAMAGE:
            self._kept = None
            return current(self.workspace)
        return tally

    def _there(self) -> Stamp | None:
        from k1ctl.tally.store import path_of

        try:
            stat = os.stat(path_of(self.workspace))
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _read(self) -> None:
        """Remember what stands in the tally's file; where none does, nothing: there is little to count yet."""
        from k1ctl.files import read_json
        from k1ctl.tally.document import restored
        from k1ctl.tally.fold import DAMAGE
        from k1ctl.tally.store import path_of

        self._stamp, self._kept, self._new, self._read_at = self._there(), None, 0, time.monotonic()
        try:
            kept = read_json(path_of(self.workspace))
            self._kept = restored(kept, time.time()) if self._stamp is not None and kept is not None else None
        except (OSError, *DAMAGE):
            self._kept = None
