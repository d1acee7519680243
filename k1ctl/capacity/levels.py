"""How close the host is to its end, in watermarks: who is kept out, who pauses, who goes.

Memory that wavers around a watermark must not let in and keep out in turns, so a level is entered by two looks and left
`LEAVE` points below its watermark. The looks are those of whoever asks; the last is kept in the host's folder, without
a lock: a lost one only means one look more.
"""

from __future__ import annotations

import os
import time

from k1ctl.files import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.config import Config

CALM, ADMIT, BUILD, SUSPEND, KILL = range(5)  # numbers of levels; each includes what those below it do
WATERMARKS = {ADMIT: "admit_percent", BUILD: "build_percent", SUSPEND: "suspend_percent", KILL: "kill_percent"}
LEAVE = 5.0  # points below its watermark at which a level ends
APART = 0.5  # seconds between the two looks that enter ADMIT or BUILD
FORGET = 60.0  # seconds after which a look says nothing any more
_AHEAD = 5.0  # seconds that a kept look may be younger than this one: it began later and was done earlier
_PRESSURE = {"warn": BUILD, "critical": SUSPEND}  # kern.memorystatus_vm_pressure_level: at least this level


class Level:
    """``number``: `CALM` to `KILL`; ``percent`` of memory in use; ``since``: when the level began (seconds since 1970);
    ``reason``: a clause for a sentence, "" when calm; ``marks`` {number: percent}, those set to 0 left out."""

    __slots__ = ("marks", "number", "percent", "reason", "since")

    def __init__(
        self, number: int, percent: float, since: float, reason: str = "", marks: dict[int, float] | None = None
    ) -> None:
        self.number, self.percent, self.since, self.reason = number, percent, since, reason
        self.marks = marks or {}

    def holds(self, number: int) -> bool:
        """Whether the watermark ``number`` (`ADMIT` ...) is passed; one that is set to 0 never is."""
        return number in self.marks and self.number >= number

    def document(self) -> dict[str, Any]:
        from k1ctl.units import rfc3339

        return {
            "level": self.number,
            "used_percent": round(self.percent, 1),
            "since": rfc3339(self.since),
            "reason": self.reason,
        }


def now(facts: Facts, config: Config, *, need: int = 0, folder: str = "", at: float | None = None) -> Level:
    """The level that holds now; this look is kept for the next ones.

    ``need``: bytes that somebody is about to take: then one look is enough, as it always is for `SUSPEND` and `KILL`,
    for facts of a file (`facts.FACTS`) and where nothing can be kept. ``folder`` keeps the looks (default:
    `folder_of`), ``at`` is the time (default: now). Never raises for what the folder holds.
    """
    at = time.time() if at is None else at
    marks = {n: float(m) for n, key in WATERMARKS.items() if (m := config.get("capacity", key))}
    reached = _reached(facts, marks)
    if facts.origin != facts.system:
        return _level(reached, at, facts, marks)
    path = os.path.join(folder or folder_of(), "level.json")
    kept = _kept(path, at)
    held = max((n for n in marks if n <= kept["level"] and facts.used_percent > marks[n] - LEAVE), default=CALM)
    looks = {n: kept["looks"].get(str(n), at) for n in (ADMIT, BUILD) if held < n <= reached}
    sure = [n for n in marks if n <= reached and (n >= SUSPEND or need > 0 or at - looks.get(n, at) >= APART)]
    number = max([held, *sure])
    since = kept["since"] if number == kept["level"] else at
    if not number and not looks:
        if kept["at"]:
            _forget(path)
        return _level(number, at, facts, marks)
    looks = {n: seen for n, seen in looks.items() if n > number}
    if not _keep(path, {"level": number, "since": since, "at": at, "looks": {str(n): s for n, s in looks.items()}}):
        number = max(number, reached)
    return _level(number, since, facts, marks)


def folder_of() -> str:
    """Where what is promised and seen of this host lies."""
    from k1ctl.workspace import host_dir

    return os.path.join(host_dir(), "capacity")


def seen(facts: Facts, config: Config, *, folder: str = "") -> Level:
    """The level for people who look: what this look reached, or what the last kept one still holds. Keeps nothing."""
    at = time.time()
    marks = {n: float(m) for n, key in WATERMARKS.items() if (m := config.get("capacity", key))}
    kept = _kept(os.path.join(folder or folder_of(), "level.json"), at)
    before = kept["level"] if facts.origin == facts.system else CALM
    held = max((n for n in marks if n <= before and facts.used_percent > marks[n] - LEAVE), default=CALM)
    number = max(held, _reached(facts, marks))
    return _level(number, kept["since"] if number == before else at, facts, marks)


def told(facts: Facts) -> int:
    """The level that the system's own word for its pressure stands for (macOS)."""
    return _PRESSURE.get(facts.level or "", CALM)


def _reached(facts: Facts, marks: dict[int, float]) -> int:
    """The level by this look alone."""
    return max((n for n in marks if n <= told(facts) or facts.used_percent >= marks[n]), default=CALM)


def _level(number: int, since: float, facts: Facts, marks: dict[int, float]) -> Level:
    percent, reason = facts.used_percent, ""
    if number:
        key, mark = f"capacity.{WATERMARKS[number]}", marks[number]
        if percent >= mark:
            reason = f"memory is at {percent:.0f} % ({key} is {mark:g})"
        elif told(facts) >= number:
            reason = f"the system tells of memory pressure ({facts.level}), memory is at {percent:.0f} %"
        else:
            reason = (
                f"memory is at {percent:.0f} %: it was above {key} ({mark:g}) and is not below {mark - LEAVE:g} yet"
            )
    return Level(number, percent, since, reason, marks)


def _kept(path: str, at: float) -> dict[str, Any]:
    """The last look; {level: CALM, at: 0, ...} when there is none, or one too old to count. A time beyond `_AHEAD` is
    one of another clock."""
    try:
        kept = read_json(path)
        looks = {str(n): min(float(seen), at) for n, seen in kept["looks"].items()}
        found: dict[str, Any] = {
            "level": int(kept["level"]),
            "since": min(max(0.0, float(kept["since"])), at),
            "at": float(kept["at"]),
            "looks": looks,
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        found = {"level": CALM, "since": at, "at": 0.0, "looks": {}}
    if not -_AHEAD <= at - found["at"] <= FORGET:
        found.update(level=CALM, since=at, looks={})
    return found


def _keep(path: str, look: dict[str, Any]) -> bool:
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        write_json(path, look)
    except OSError:
        return False
    return True


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
