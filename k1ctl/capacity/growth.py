"""Growth from month to month, from the builds that the events tell of."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MONTHS = 2  # whole months from which there is a growth to speak of
BUILDS = 20  # in each of them
_MOST_BYTES = 1 << 29  # of events that are looked at, the newest
_PIECE = 1 << 20  # bytes that are read at once
_FINISHED = b'"event":"build.finished"'  # as k1ctl.jsontext.dumps writes it


class Growth:
    """``rate`` a month (0.1: a tenth more; None: too little is known) with its standard ``error`` from counting alone,
    the whole ``months`` [(``2026-05``, builds a day)] it is from, and ``text`` for people."""

    __slots__ = ("error", "months", "rate", "text")

    def __init__(
        self, rate: float | None, text: str, months: Sequence[tuple[str, float]] = (), error: float = 0.0
    ) -> None:
        self.rate, self.text, self.months, self.error = rate, text, list(months), error

    def document(self) -> dict[str, Any]:
        return {
            "per_month": None if self.rate is None else round(self.rate, 6),
            "error": round(self.error, 6),
            "origin": self.text,
            "months": [{"month": month, "builds_per_day": round(n, 3)} for month, n in self.months],
        }


def measured(ops: str, now: float) -> Growth:
    """The growth of builds a day over the whole months in ``ops/events``; the month of ``now`` is not one, nor is the
    first, unless its events begin with it. Months without a file do not count as months without builds."""
    counts, first = _counts(os.path.join(ops, "events"))
    this = datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
    whole = [month for month in sorted(counts) if month < this and (month != first[:7] or first[8:] == "01")]
    enough = [month for month in whole if counts[month] >= BUILDS]
    rows = [(month, counts[month] / _days(month)) for month in whole]
    if len(enough) < MONTHS or len(enough) < len(whole):
        few = f"{len(enough)} whole month{'s' * (len(enough) != 1)} with {BUILDS} builds or more"
        few += f", {len(whole) - len(enough)} with fewer" if len(enough) < len(whole) else ""
        return Growth(None, f"too little history: {few}, of {MONTHS} that it takes", rows)
    xs = [_number(month) for month in whole]
    middle = sum(xs) / len(xs)
    spread = sum((x - middle) ** 2 for x in xs)
    slope = sum((x - middle) * math.log(n) for x, (_, n) in zip(xs, rows, strict=True)) / spread
    # a count of n is good for 1 / sqrt(n) of itself; least squares carries that over to the slope
    error = math.sqrt(sum(((x - middle) / spread) ** 2 / counts[m] for x, m in zip(xs, whole, strict=True)))
    text = f"history: builds of {len(whole)} whole months, {whole[0]} to {whole[-1]}"
    return Growth(math.exp(slope) - 1, text, rows, error * math.exp(slope))


def _counts(folder: str) -> tuple[dict[str, int], str]:
    """({month: builds}, the first day that there are events of)."""
    from k1ctl.events_files import open_part, parts

    counts: dict[str, int] = {}
    first, left = "", _MOST_BYTES
    for part in reversed(parts(folder)):
        if left <= 0:
            break
        if not _is_day(part.day):
            continue
        try:
            opened = open_part(folder, part)
        except OSError:
            continue
        if opened is None:
            continue
        number = 0
        with opened:  # in pieces: a day's file may be of any size
            for lines in opened.blocks(chunk=_PIECE):
                number += lines[:left].count(_FINISHED)
                left -= len(lines)
                if left <= 0:
                    break
        first = part.day
        counts[first[:7]] = counts.get(first[:7], 0) + number
    return counts, first


def _is_day(text: str) -> bool:
    try:
        return len(text) == 10 and datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) is not None
    except ValueError:
        return False


def _number(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:])


def _days(month: str) -> int:
    from calendar import monthrange

    return monthrange(int(month[:4]), int(month[5:]))[1]
