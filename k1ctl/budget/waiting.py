"""When a refused reserve would fit: as holds pass their deadlines, or when the next day or hour begins."""

from __future__ import annotations

from k1ctl.budget import days
from k1ctl.budget.limits import keys_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.budget.holds import Clock, Hold
    from k1ctl.budget.limits import Reason


def expect(reasons: Sequence[Reason], holds: Sequence[Hold], clock: Clock, zone: str) -> None:
    """Set ``expected_seconds`` of each reason, at the latest: who settles early, and for less, makes room before."""
    for reason in reasons:
        reason.expected_seconds = None if reason.never else _of(reason, holds, clock, zone)


def _of(reason: Reason, holds: Sequence[Hold], clock: Clock, zone: str) -> float | None:
    scope, unit = reason.key[0], reason.unit
    short = reason.figures.used(unit) + reason.need - reason.limit
    times = []
    if scope == "hour":
        times.append((days.hour_of(clock[0]) + 1) * days.HOUR - clock[0])
    elif scope != "task":
        times.append(days.next_day(clock[0], zone) - clock[0])
    for hold in sorted(holds, key=lambda h: h.left(clock)):
        if reason.key in keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool):
            short -= hold.micro_usd if unit else hold.tokens
            if short <= 0:
                times.append(hold.left(clock))
                break
    return round(min(times), 3) if times else None
