"""When a refused reserve would fit: as holds pass their deadlines, or when the next day or hour begins."""

from __future__ import annotations

from k1ctl.budget import days
from k1ctl.budget.limits import keys_of
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from k1ctl.budget.holds import Clock, Hold
    from k1ctl.budget.ledger import Ledger
    from k1ctl.budget.limits import Reason
    from k1ctl.budget.tokens import Usage

LOOK = 0.5  # s between two looks while waiting


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
    for hold in sorted((h for h in holds if not h.of_run), key=lambda h: h.left(clock)):
        if reason.key in keys_of(hold.day, hold.hour, hold.agent, hold.task, hold.pool):
            short -= hold.micro_usd if unit else hold.tokens
            if short <= 0:
                times.append(hold.left(clock))
                break
    return round(min(times), 3) if times else None


def reserve(ledger: Ledger, need: int | Usage, *, wait: float = 0.0, **words: Any) -> Hold:
    """`Ledger.reserve` with ``words``, tried again for at most ``wait`` seconds while it is refused, and told why.

    Nobody stands in line here: whoever looks first when there is room gets it. What can never fit is not waited for.
    Raises as `Ledger.reserve` does.
    """
    import time

    from k1ctl.errors import BusyError

    began, live = time.monotonic(), None
    try:
        while True:
            left = began + wait - time.monotonic()
            try:
                return ledger.reserve(need, quiet=left > 0, **words)
            except BusyError as exc:
                if left <= 0 or exc.code != "budget-exhausted" or exc.details["never"]:
                    if wait and not exc.details.get("never"):
                        exc.message = f"waited {format_duration(time.monotonic() - began)}: {exc.message}"
                    raise
                from k1ctl.output import LiveLine

                live = live or LiveLine()
                why = "; ".join(reason["text"] for reason in exc.details["reasons"])
                live.update(f"waiting for budget: {why}", key=[r["scope"] for r in exc.details["reasons"]])
                expected = exc.details["expected_seconds"]
                time.sleep(min(left, LOOK, LOOK if expected is None else max(0.01, expected)))
    finally:
        if live is not None:
            live.clear()
