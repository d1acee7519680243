"""Which events are wanted, from the words of a command line."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from k1ctl.errors import UsageError
from k1ctl.events import read
from k1ctl.events_find import Wanted, newest
from k1ctl.units import parse_duration, parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable


def select(
    folder: str, wanted: Wanted, *, since: str = "", until: str = "", limit: int | None = None
) -> Iterable[dict[str, Any]]:
    """The wanted events under ``folder`` from ``since`` on and before ``until`` (RFC 3339 UTC), oldest first; the last
    ``limit`` of them."""
    since = since or _begin_of(wanted.run or "")
    if limit is None:
        return read(folder, since=since, until=until, take=wanted.take)
    found: deque[dict[str, Any]] = deque()
    found.extendleft(newest(folder, wanted, limit=limit, since=since, until=until))
    return found


def _begin_of(run: str) -> str:
    """A day before which there is no event of a run, as its id begins with its time (UTC); "" for any other word. Two
    days are for a clock that was set back meanwhile."""
    digits = run[:8] if run[8:9] == "-" else ""
    try:
        return rfc3339(parse_rfc3339(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}T00:00:00Z") - 2 * 86400)[:10]
    except ValueError:
        return ""


def parse_time(text: str, option: str = "--since") -> str:
    """An age (``1h``) or a time (ISO 8601, UTC unless it says otherwise) as RFC 3339 UTC. Raises UsageError."""
    if not text:
        return ""
    try:
        return rfc3339(max(time.time() - parse_duration(text), 0.0))
    except ValueError:
        pass
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
        return rfc3339((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r} is neither an age nor a time", hint="write 90s, 1h, 2d or 2026-01-31T10:00Z"
        ) from None


def parse_age(option: str, text: str | None, default: float) -> float:
    """An option's age in seconds, ``default`` where it was not given. Raises UsageError."""
    try:
        return default if text is None else parse_duration(text)
    except ValueError as exc:
        raise UsageError(f"{option}: {exc}") from None
