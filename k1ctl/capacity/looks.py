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
_MOST = 48  # of them: three times the window, as who looks from within limits counts by himself
_COUNTED = ("oom_kills", "swapped_out_pages")
_SHORTEST = 1.0  # seconds: a rate over less says nothing
_AHEAD = 5.0  # seconds that a kept look may be younger than this one: it began later and was done earlier


class Looks:
    """``counters`` [{at, place, oom_kills, swapped_out_pages}], the oldest first; ``statuses`` {key of a check: status}
    of the last look, from ``place``, at ``at`` (seconds since 1970; 0: there was none). A place is the path of the
    limits that the looker lives in, "" without any: each has counters of its own."""

    __slots__ = ("at", "counters", "place", "statuses")

    def __init__(
        self,
        at: float = 0.0,
        counters: list[dict[str, Any]] | None = None,
        statuses: dict[str, str] | None = None,
        place: str = "",
    ) -> None:
        self.at, self.counters, self.statuses, self.place = at, counters or [], statuses or {}, place

    def since(
        self, key: str, value: int | None, at: float, *, place: str = "", whole: bool
    ) -> tuple[int, float] | None:
        """(how much a counter grew, in how many seconds); None without an earlier look from ``place``, or when it began
        anew.

        ``whole``: since the oldest look in `WINDOW` (since the last one when all are older); else since the last look
        but at least a second ago.
        """
        known = [c for c in self.counters if c["place"] == place and key in c and at - c["at"] >= _SHORTEST]
        if value is None or not known:
            return None
        recent = [c for c in known if at - c["at"] <= WINDOW]
        base = recent[0] if whole and recent else known[-1]
        grown: int = value - base[key]
        return (grown, at - base["at"]) if grown >= 0 else None

    def status(self, name: str, at: float, place: str = "") -> str:
        """What the last look said of a check; "" when it was another's, or too long ago to hold a verdict."""
        fits = place == self.place and -_AHEAD <= at - self.at <= WINDOW
        return self.statuses.get(name, "") if fits else ""

    def after(self, facts: Facts, statuses: dict[str, str], at: float) -> Looks:
        """These looks and one more."""
        place = place_of(facts)
        counters = [c for c in self.counters if c["at"] <= at + _AHEAD]  # what is to come is of another clock
        last: dict[str, Any] = next((c for c in reversed(counters) if c["place"] == place), {})
        now = {key: value for key in _COUNTED if (value := getattr(facts, key)) is not None}
        if any(last.get(key, 0) > value for key, value in now.items()):  # the host, or the place, was started anew
            counters, last = [c for c in counters if c["place"] != place], {}
        if now and (not last or at - last["at"] >= _APART):
            counters.append({"at": at, "place": place, **now})
        return Looks(at, counters[-_MOST:], statuses, place)


def place_of(facts: Facts) -> str:
    """The limits that these facts were read within."""
    return str((facts.container or {}).get("path") or "")


def read(path: str) -> Looks:
    """The looks that are kept in a file; none when it is missing or damaged."""
    try:
        kept = read_json(path)
        counters = [
            {"at": float(c["at"]), "place": str(c["place"]), **{k: int(c[k]) for k in _COUNTED if k in c}}
            for c in kept["counters"]
        ]
        statuses = {str(name): str(status) for name, status in kept["statuses"].items()}
        at, place = float(kept["at"]), str(kept["place"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Looks()
    return Looks(at, sorted(counters, key=lambda c: float(c["at"])), statuses, place)


def keep(path: str, looks: Looks) -> None:
    """Keep the looks in a file; one that cannot be written only makes the next look a first one."""
    document = {"at": looks.at, "place": looks.place, "counters": looks.counters, "statuses": looks.statuses}
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        write_json(path, document)
    except OSError:
        pass


def now() -> float:
    """The time that looks carry: they are compared with those of other processes."""
    return time.time()
