"""The days and hours that limits are for: a day is a date in the account's zone, an hour one of the clock, in UTC.

The date decides and nothing else: a day has 23 to 25 hours where clocks change, and a clock that was set back leads
into an earlier day with all that was spent in it, never into a fresh one.
"""

from __future__ import annotations

import time

from k1ctl.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import tzinfo

HOUR = 3600


def day_of(instant: float, zone: str = "") -> str:
    """The date (YYYY-MM-DD) of an instant (seconds since 1970) in ``zone``; "" is the host's. Raises ConfigError."""
    if not zone:
        return time.strftime("%Y-%m-%d", time.localtime(instant))
    from datetime import datetime

    return datetime.fromtimestamp(instant, _zone(zone)).strftime("%Y-%m-%d")


def hour_of(instant: float) -> int:
    """The hour an instant lies in, counted from 1970."""
    return int(instant // HOUR)


def next_day(instant: float, zone: str = "") -> float:
    """When the day after that of ``instant`` begins in ``zone``. Raises ConfigError.

    Where clocks jump over midnight the day begins at the jump; where they are set back over it, at its first midnight.
    """
    if zone:
        from datetime import datetime, timedelta

        local = datetime.fromtimestamp(instant, _zone(zone))
        begin = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo) + timedelta(days=1)
        return begin.timestamp()
    today = day_of(instant)
    year, month, day = (int(part) for part in today.split("-"))
    found = time.mktime((year, month, day + 1, 0, 0, 0, 0, 0, -1))
    return found if day_of(found) != today else found + HOUR


def check_zone(zone: str) -> None:
    """Raises ConfigError (unknown-zone) for a zone that this host does not know."""
    if zone:
        _zone(zone)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as exc:  # ZoneInfoNotFoundError is a KeyError
        raise ConfigError(
            f"budget.zone: this host knows no zone {name!r}",
            hint="write it as in Europe/Oslo or UTC; on a host without zones: pip install tzdata",
            code="unknown-zone",
            key="budget.zone",
        ) from exc
