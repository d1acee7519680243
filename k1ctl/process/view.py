"""What the front end shows: the wait, the log as it grows, and what goes wrong on the way."""

from __future__ import annotations

import os
import time

from k1ctl.output import LiveLine, clean, say
from k1ctl.queue.names import OUT_OF_SERVICE, alternatives
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.queue.view import Standing

FIRST_LOOK = 0.7  # s a wait lasts before it is talked about


class View:
    """The plain view: the wait on a live line, the command's output passed through, talk on stderr.

    Override `output` to read the log instead of passing it through.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = LiveLine()
        self.began = time.monotonic()

    @property
    def interval(self) -> float:
        """Seconds between two looks at the line while waiting: often for a person, rarely for a log."""
        return 1.0 if self.live.terminal else 10.0

    def waiting(self, standing: Standing, resources: dict[str, int]) -> None:
        """Show how the ticket stands."""
        if self.quiet:
            return
        wanted = ", ".join(readable(r) for r in resources)
        waited = format_duration(time.monotonic() - self.began)
        text = f"waiting for {wanted}: {describe_standing(standing)} ({waited} so far)"
        self.live.update(text, key=(standing.position, [h["ticket"] for h in standing.holders], standing.paused))

    def held_back(self, text: str) -> None:
        """The run has its turn and waits for room on the host: why."""
        waited = time.monotonic() - self.began
        if self.quiet or waited < FIRST_LOOK:
            return
        line = f"waiting for room on this host: {clean(text)} ({format_duration(waited)} so far)"
        self.live.update(line, key="".join(c for c in text if not c.isdigit()))

    def created(self, run: str) -> None:
        """The run has its id."""

    def chosen(self, device: str) -> None:
        """Of the devices it may have, the run got this one."""
        self.message(f"the device is {device}")

    def started(self) -> None:
        """The command runs."""
        self.live.clear()

    def output(self, fd: int, data: bytes) -> None:
        """The command wrote ``data`` to its standard output (``fd`` 1) or error (2). Raises BrokenPipeError."""
        self.live.clear()
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                time.sleep(0.005)

    def tick(self) -> None:
        """Called about ten times a second while the command runs."""

    def message(self, text: str) -> None:
        """Something the caller should know."""
        self.live.clear()
        if not self.quiet:
            say(f"k1ctl: {text}")

    def closed(self) -> None:
        """Nothing more comes."""
        self.live.clear()


class News:
    """Whether a look at the line would show anything new: a ticket came or went, or a terminal shows time passing."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.seen: float | None = None

    def any(self, folder: str) -> bool:
        """Asked before each look at the queue in ``folder``."""
        try:
            changed = os.stat(os.path.join(folder, "tickets")).st_mtime
        except OSError:
            return True
        if changed == self.seen and not self.terminal:
            return False
        self.seen = changed if time.time() - changed > 1 else None  # two changes within a tick have one time
        return True


def readable(resource: str) -> str:
    """A resource as people know it: the lock of a build folder has a hash for a name, a choice several."""
    if resource.startswith("tree:"):
        return "this worktree's build folder"
    return " or ".join(alternatives(resource))


def describe_standing(standing: Standing) -> str:
    """Where a ticket stands, when its start is expected, and who is in the way."""
    if standing.paused:
        return "; ".join(describe_pause(r, why) for r, why in standing.paused.items())
    who = "; ".join(describe_holder(h) for h in standing.holders[:2]) or "nobody yet"
    more = f" and {len(standing.holders) - 2} more" if len(standing.holders) > 2 else ""
    expected = standing.expected_seconds
    when = "" if expected is None else f", expected start in {format_duration(expected)}"
    when = ", expected start any moment" if expected == 0 else when
    return f"position {standing.position}{when}, held by {who}{more}"


def describe_pause(resource: str, why: str) -> str:
    """That nobody gets a resource, for the reason that `k1ctl.queue.view.paused` gives."""
    if why.startswith(OUT_OF_SERVICE):
        return clean(f"{resource} is {why}")
    return clean(f"{resource} is paused{': ' + why if why else ''}")


def describe_holder(holder: dict[str, Any]) -> str:
    """A holder in a few words: workspace, command, since when."""
    what = holder.get("label") or holder.get("command") or "?"
    if holder.get("waits_for"):
        return f"{holder.get('workspace', '?')} ({what}, which waits for room on this host)"
    held = format_duration(holder.get("held_seconds", 0.0))
    return f"{holder.get('workspace', '?')} ({what}, for {held})"
