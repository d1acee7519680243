"""When the weekly archive runs: a weekday and a time of day, or every day, in the host's own zone."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from k1ctl.errors import UsageError

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")  # cron's and launchd's numbers, 0 to 6
_NAMES = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_AT = re.compile(r"(?:(?P<day>[a-z]+)\s+)?(?P<hour>\d{1,2}):(?P<minute>\d\d)", re.IGNORECASE)


class When(NamedTuple):
    """``weekday`` 0 (Sunday) to 6, None: every day."""

    hour: int
    minute: int
    weekday: int | None

    @property
    def text(self) -> str:
        """As ``--at`` takes it."""
        day = "" if self.weekday is None else f"{DAYS[self.weekday]} "
        return f"{day}{self.hour:02}:{self.minute:02}"

    @property
    def every(self) -> str:
        """weekly or daily."""
        return "daily" if self.weekday is None else "weekly"

    @property
    def cron(self) -> str:
        """The five fields of crontab(5)."""
        return f"{self.minute} {self.hour} * * {'*' if self.weekday is None else self.weekday}"

    def next(self, now: float) -> float:
        """Seconds since 1970 of the next one after ``now``, by the host's clock on the wall."""
        there = time.localtime(now)
        for days in range(8):
            day = time.localtime(time.mktime((there.tm_year, there.tm_mon, there.tm_mday + days, 12, 0, 0, 0, 0, -1)))
            if self.weekday not in (None, (day.tm_wday + 1) % 7):
                continue
            at = time.mktime((day.tm_year, day.tm_mon, day.tm_mday, self.hour, self.minute, 0, 0, 0, -1))
            if at > now:
                return at
        raise AssertionError("a week has every weekday")


def parse(at: str, every: str = "") -> When:
    """``Sun 03:00`` or ``03:00``; ``every`` weekly (a time alone: on Sunday) or daily. Raises UsageError."""
    found = _AT.fullmatch(at.strip())
    hour, minute = (int(found["hour"]), int(found["minute"])) if found else (24, 0)
    if found is None or hour > 23 or minute > 59:
        raise UsageError(f"--at: {at!r} is no time", hint='as in "Sun 03:00" or "03:00"')
    if not found["day"]:
        return When(hour, minute, None if every == "daily" else 0)
    if every == "daily":
        raise UsageError(f"--every daily and the day in --at {at!r} exclude each other", hint='as in --at "03:00"')
    word = found["day"].lower()
    fitting = [number for number, name in enumerate(_NAMES) if len(word) >= 2 and name.startswith(word)]
    if len(fitting) != 1:
        raise UsageError(f"--at: {found['day']!r} is no day", hint=f"one of {', '.join(DAYS)}")
    return When(hour, minute, fitting[0])


def of_cron(fields: str) -> When | None:
    """What five fields of crontab(5) say, when they are of this form; somebody may have changed them."""
    found = re.fullmatch(r"(\d{1,2}) (\d{1,2}) \* \* ([0-7*])", fields)
    if not found or int(found[1]) > 59 or int(found[2]) > 23:
        return None
    return When(int(found[2]), int(found[1]), None if found[3] == "*" else int(found[3]) % 7)
