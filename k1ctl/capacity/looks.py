"""What earlier looks at the host's health saw: counters to take differences of, verdicts that must not flap.

Several look: people, cron, a monitoring system. So a look does not take the differences away from the next one:
counters of the last `WINDOW` are kept, and what happened in it is told to everybody who looks.
"""

from __future__ import annotations

import os
import time

from k1ctl.files import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.facts import Facts

WINDOW = 900.0  # seconds
_APART = 60.0  # seconds between two counters that are kept
_MOST = 16  # of them: the window and one before it
_SHORTEST = 1.0  # seconds: a rate over less says nothing


class Looks:
    """``counters`` [{at, oom_kills, swapped_out_pages}], the oldest first; ``statuses`` {check: status} of the last
    look, at ``at`` (seconds since 1970; 0: there was none)."""

    __slots__ = ("at", "counters", "statuses")

    def __init__(
        self, at: float = 0.0, counters: list[dict[str, float]] | None = None, statuses: dict[str, str] | None = None
    ) -> None:
        self.at, self.counters, self.statuses = at, counters or [], statuses or {}

    def since(self, key: str, value: int | None, at: float, *, whole: bool) -> tuple[int, float] | None:
        """(how much a counter grew, in how many seconds); None without an earlier look, or when it began anew.

        ``whole``: since the oldest look in `WINDOW` (since the last one when all are older); else since the last look
        but at least a second ago.
        """
        known = [c for c in self.counters if key in c and at - c["at"] >= _SHORTEST]
        if value is None or not known:
            return None
        recent = [c for c in known if at - c["at"] <= WINDOW]
        base = recent[0] if whole and recent else known[-1]
        grown = value - int(base[key])
        return (grown, at - base["at"]) if grown >= 0 else None

    def status(self, name: str, at: float) -> str:
        """What the last look said of a check; "" when that is too long ago to hold a verdict."""
        return self.statuses.get(name, "") if 0 <= at - self.at <= WINDOW else ""

    def after(self, facts: Facts, statuses: dict[str, str], at: float) -> Looks:
        """These looks and one more."""
        counters = [c for c in self.counters if c["at"] <= at]  # what is to come is of another clock
        seen = {"oom_kills": facts.oom_kills, "swapped_out_pages": facts.swapped_out_pages}
        now: dict[str, float] = {key: value for key, value in seen.items() if value is not None}
        if counters and any(counters[-1].get(key, 0) > value for key, value in now.items()):
            counters = []  # the host was started anew
        if now and (not counters or at - counters[-1]["at"] >= _APART):
            counters.append({"at": at, **now})
        return Looks(at, counters[-_MOST:], statuses)


def read(path: str) -> Looks:
    """The looks that are kept in a file; none when it is missing or damaged."""
    try:
        kept = read_json(path)
        counters = [{str(key): float(value) for key, value in c.items()} for c in kept["counters"]]
        statuses = {str(name): str(status) for name, status in kept["statuses"].items()}
        at = float(kept["at"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Looks()
    return Looks(at, sorted((c for c in counters if "at" in c), key=lambda c: c["at"]), statuses)


def keep(path: str, looks: Looks) -> None:
    """Keep the looks in a file; one that cannot be written only makes the next look a first one."""
    document: dict[str, Any] = {"at": looks.at, "counters": looks.counters, "statuses": looks.statuses}
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        write_json(path, document)
    except OSError:
        pass


def now() -> float:
    """The time that looks carry: they are compared with those of other processes."""
    return time.time()
