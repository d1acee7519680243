"""Percentiles of any figure in the events: exact, over all values, not over buckets."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from k1ctl.errors import UsageError
from k1ctl.events import read
from k1ctl.events_find import Wanted
from k1ctl.jsontext import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
UNITS = ("seconds", "bytes")


class Figures:
    """All values of one field: of events of one name, or of one value of what they are told apart by."""

    def __init__(self, field: str, of: str) -> None:
        from array import array

        self.field, self.of = field, of
        self.values = array("d")

    def document(self) -> dict[str, Any]:
        """count, min, p50, p95, p99, max and sum; a percentile is the smallest value that so many are at most."""
        ordered = sorted(self.values)
        ranks = {name: ordered[max(0, ceil(p * len(ordered)) - 1)] for p, name in QUANTILES}
        return {
            "field": self.field,
            "of": self.of,
            "count": len(ordered),
            "min": ordered[0],
            **ranks,
            "max": ordered[-1],
            "sum": round(sum(ordered), 6),
        }


def look(
    folder: str, what: str, *, by: str = "", since: str = "", until: str = "", wanted: Wanted | None = None
) -> list[Figures]:
    """The figures of ``what``, most values first: the field of that name in all ``wanted`` events, or all fields that
    end in seconds or bytes of the events of that name (it has a dot or is a glob).

    ``by`` tells them apart by a field's value (event, workspace, target, device ...). Raises UsageError for an event
    beside wanted ones.
    """
    is_event = any(c in what for c in ".*?[")
    wanted = Wanted() if wanted is None else wanted
    if is_event and wanted.events:
        raise UsageError(f"{what} is an event, and --event names another", hint="name a field, or leave out --event")
    if is_event:
        wanted = Wanted([what], run=wanted.run, workspace=wanted.workspace)
    found: dict[tuple[str, str], Figures] = {}
    for event in read(folder, since=since, until=until, take=_taker(wanted, "" if is_event else what)):
        of = _value(event, by) if by else str(event.get("event", "")) if is_event else ""
        for field in _fields(event) if is_event else (what,):
            value = event.get(field)
            if isinstance(value, int | float) and not isinstance(value, bool):
                if (field, of) not in found:
                    found[field, of] = Figures(field, of)
                found[field, of].values.append(value)
    return sorted(found.values(), key=lambda one: (-len(one.values), one.field, one.of))


def _taker(wanted: Wanted, field: str) -> Callable[[bytes], dict[str, Any] | None]:
    word = dumps(field).encode() if field else b""

    def take(line: bytes) -> dict[str, Any] | None:
        return wanted.take(line) if word in line else None

    return take


def _fields(event: dict[str, Any]) -> list[str]:
    return [name for name in event if name.endswith(UNITS)]


def _value(event: dict[str, Any], by: str) -> str:
    value = event.get(by)
    if isinstance(value, dict):  # a device, by its name
        value = value.get("name") or " ".join(sorted(value))
    return "" if value is None else value if isinstance(value, str) else dumps(value)


def shown(field: str, value: float) -> str:
    """A value with its unit, for people."""
    from k1ctl.units import format_duration, format_size

    if field.endswith("seconds"):
        return format_duration(value) if value >= 0.001 or value == 0 else f"{value * 1e6:.0f} us"
    return format_size(value) if field.endswith("bytes") else f"{value:g}"
