"""Labelled texts and tables of `capacity show`, `plan` and `forecast`, in at most 100 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.output import clean, style, table
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k1ctl.capacity.calibrate import Parameter

WIDTH = 100
PARAMETERS = ("PARAMETER", "VALUE", "FROM", "SAMPLES", "")  # headers over rows of `parameter`
_NAME, _LEAST, _WORDS = 44, 12, 24  # columns: of a name, at most and at least; of words before they go on below


def labelled(label: str, text: str, margin: int, *, colour: str = "", indent: int = 0) -> Iterator[str]:
    """A label, and a text that is wrapped ``margin`` columns from the left, below a label that is too long."""
    from textwrap import wrap

    head = f"{' ' * indent}{clean(label)}"
    first, *rest = wrap(clean(text), WIDTH - margin, break_long_words=False) or [""]
    if len(head) >= max(1, margin):
        yield head
        head = ""
    yield head.ljust(margin) + (style(first, colour) if colour else first)
    for part in rest:
        yield " " * margin + (style(part, colour) if colour else part)


def fitted(rows: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """A table: names in the first column are cut, words in the last go on below."""
    from textwrap import wrap

    widths = [max(len(str(row[i])) for row in [headers, *rows]) + 2 for i in range(1, len(headers) - 1)]
    words = max(len(headers[-1]), min(_WORDS, max((len(str(row[-1])) for row in rows), default=0)))
    name = min(_NAME, max(_LEAST, WIDTH - sum(widths) - words - 2))
    cells = [(_cut(str(row[0]), name), *row[1:-1]) for row in rows]
    widths.append(max(len(str(row[0])) for row in [headers, *cells]) + 2)
    room = max(WIDTH - sum(widths), len(headers[-1]), _LEAST)
    found: list[Sequence[object]] = []
    for cell, row in zip(cells, rows, strict=True):
        first, *rest = wrap(str(row[-1]), room) or [""]
        found += [(*cell, first), *[(*[""] * len(cell), part) for part in rest]]
    return table(found, headers)


def parameter(one: Parameter) -> tuple[object, ...]:
    """A row on a number of the model, and where it is from."""
    if one.unit == "seconds":
        value = format_duration(one.value)
    elif one.unit == "share":
        value = f"{one.value:.0%}"
    else:
        value = f"{one.value:.0f}" if one.unit == "count" else f"{one.value:.2f}"
    return one.name, value, one.origin, "-" if one.origin == "configured" else one.samples, one.text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
