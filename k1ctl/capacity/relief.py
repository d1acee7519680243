"""Relief for the host: the youngest `capacity run` stands still at 90 % of memory, and goes at 95 %.

Each watchdog decides for its own command and nobody for another's: the youngest that runs knows that it is the one. A
command that stands still goes on 5 points below, or after `LONGEST`, and is left alone for as long afterwards. Those
of priority critical never give way.
"""

from __future__ import annotations

import time

from k1ctl.capacity.levels import LEAVE
from k1ctl.errors import K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST = 300.0  # s that a command stands still at most
EVERY = 1.0  # s between two looks at the host
APART = 5.0  # s after one gave way before the next does: memory takes that long to tell
SUSPEND, RESUME, KILL, NOTHING = "suspend", "resume", "kill", ""


class Other:
    """A limited command as relief sees it: ``id``, ``since``, when it was suspended (0: it runs), until when it is left
    alone (monotonic seconds)."""

    __slots__ = ("id", "rests_until", "since", "suspended_at")

    def __init__(self, id: str, since: float, suspended_at: float = 0.0, rests_until: float = 0.0) -> None:
        self.id, self.since, self.suspended_at, self.rests_until = id, since, suspended_at, rests_until


def decide(
    me: Other, others: Iterable[Other], percent: float, marks: Mapping[str, float], now: float, went: float = -APART
) -> str:
    """What the command ``me`` does at ``percent`` of the host's memory: `SUSPEND`, `RESUME`, `KILL` or `NOTHING`.

    ``others`` that may give way (without ``me``); ``marks`` {suspend, kill}: percent, 0 for never; ``now`` and
    ``went``, when the last one was ended, in monotonic seconds. Pure.
    """
    suspend, kill = float(marks.get("suspend") or 0), float(marks.get("kill") or 0)
    rest = list(others)
    youngest = all((me.since, me.id) > (other.since, other.id) for other in rest)
    if kill and percent >= kill and youngest and now - went >= APART:
        return KILL
    if me.suspended_at:
        over = now - me.suspended_at >= LONGEST
        return RESUME if over or not suspend or percent < suspend - LEAVE else NOTHING
    if not suspend or percent < suspend or now < me.rests_until:
        return NOTHING
    if any(other.suspended_at and now - other.suspended_at < APART for other in rest):
        return NOTHING
    running = [o for o in rest if not o.suspended_at and now >= o.rests_until]
    return SUSPEND if all((me.since, me.id) > (o.since, o.id) for o in running) else NOTHING


def percent_used(suspend: float) -> float:
    """How much of the host's memory is in use, in percent; at least the watermark ``suspend`` where the system tells of
    pressure that stands for it (`levels.told`). 0 when the host cannot be looked at: the limit is guarded on."""
    from k1ctl.capacity import facts, levels

    try:
        found = facts.read()
    except (K1ctlError, OSError):
        return 0.0
    return max(found.used_percent, suspend if levels.told(found) >= levels.SUSPEND else 0.0)


def others(own: str) -> list[Other]:
    """The other limited commands of this host that may give way, are watched and may be read."""
    from k1ctl.capacity import watched

    found = []
    try:
        commands = watched.every()
    except OSError:
        commands = []
    for command in commands:
        spec = command.spec
        if spec["id"] == own or not spec.get("relief") or not command.guarded():
            continue
        try:
            seen = watched.Seen(command.folder)
        except OSError:
            continue
        figures = seen.get()
        seen.close()
        found.append(Other(spec["id"], spec["since"], figures["suspended_at"], figures["rests_until"]))
    return found


class Relief:
    """What the watchdog of the command ``own`` does about the host's memory."""

    def __init__(self, own: str, since: float, marks: Mapping[str, float]) -> None:
        self.own, self.since = own, since
        self.marks = {name: marks[name] for name in (SUSPEND, KILL) if marks.get(name)}
        self.every = float(marks.get("every") or EVERY)
        self.percent = 0.0
        self._next = 0.0

    def due(self, suspended_at: float, rests_until: float) -> str:
        """What to do now; looks at the host once a second."""
        now = time.monotonic()
        if not self.marks or now < self._next:
            return NOTHING
        self._next = now + self.every
        self.percent = percent_used(self.marks.get(SUSPEND, 0.0))
        if not suspended_at and self.percent < min(self.marks.values()):
            return NOTHING
        me = Other(self.own, self.since, suspended_at, rests_until)
        what = decide(me, others(self.own), self.percent, self.marks, now, _went())
        if what == KILL:
            _goes(now)
        return what


def _last() -> str:
    from k1ctl.capacity import watched

    return watched.folder_of_all() + ".went"


def _went() -> float:
    """When the last one was ended for the host's sake (monotonic seconds)."""
    from k1ctl.files import read_json

    try:
        found = read_json(_last())
    except OSError:
        found = None
    at = float(found) if isinstance(found, int | float) else -APART
    return at if at <= time.monotonic() else -APART  # of another boot


def _goes(now: float) -> None:
    from k1ctl.files import write_json

    try:
        write_json(_last(), now)
    except OSError:
        pass  # the next one goes a little earlier
