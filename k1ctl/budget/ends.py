"""When something may be tried again: a known end (Retry-After, a reset), or a backoff.

An **end** is ``{"until": T, "fixed": bool, "why": text}``: ``fixed`` when somebody else's clock names the moment (a
date), which stays what it is when the clock of this host is set; an end after so many seconds moves with it.
"""

from __future__ import annotations

from k1ctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    End = dict[str, Any]

CAP = 3600.0  # s: the longest backoff
LONGEST = 31 * 86400.0  # s: no limit of a provider is known that lasts longer; a longer one is a misread number
_HINT = "seconds (90), a duration (5h), or a time with its zone (2026-03-01T17:00:00Z, or an HTTP date)"


def backoff(failures: int, share: float) -> float:
    """Seconds to wait after so many failures in a row: 2^n s with full jitter, capped at one hour.

    ``share`` is a random number from 0 to 1: all of the span is used, so that many who failed at once come back apart.
    """
    return float(min(CAP, 2.0 ** min(max(failures, 0), 12)) * share)


def after(seconds: float, now: float, why: str) -> End:
    """The end that is ``seconds`` away by this host's clock."""
    return {"until": now + seconds, "fixed": False, "why": why}


def given(text: str, now: float, why: str) -> End:
    """The end that a Retry-After header (RFC 9110, 10.2.3: seconds or an HTTP date) or a person names.

    A moment that is past is one that is now. Raises UsageError for what is neither, or is more than 31 days away.
    """
    word = text.strip()
    seconds = _seconds(word)
    until = now + seconds if seconds is not None else _moment(word)
    if until - now > LONGEST:
        raise UsageError(f"{text!r} is more than 31 days away", hint=_HINT)
    return {"until": max(until, now), "fixed": seconds is None, "why": why}


def _seconds(word: str) -> float | None:
    from k1ctl.units import parse_duration

    try:
        return parse_duration(word)
    except ValueError:
        return None


def _moment(word: str) -> float:
    from datetime import datetime

    try:
        found = datetime.fromisoformat(word)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            found = parsedate_to_datetime(word)
        except (ValueError, TypeError, IndexError):
            raise UsageError(f"{word!r} is no time", hint=_HINT) from None
    if found.tzinfo is None:
        raise UsageError(f"{word!r} has no zone", hint=_HINT)
    return found.timestamp()


def later(one: End | None, other: End | None) -> End | None:
    """The one that ends last, for which ``until`` None (not by itself) counts as never; None when there is none."""
    if one is None or other is None:
        return one or other
    first, second = (float("inf") if end["until"] is None else end["until"] for end in (one, other))
    return one if first >= second else other


def shift(end: End | None, seconds: float) -> None:
    """Move an end back that rests on this host's clock, which was set back by ``seconds``."""
    if end is not None and not end["fixed"]:
        end["until"] -= seconds
