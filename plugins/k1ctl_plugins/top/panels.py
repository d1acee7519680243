"""The panels of `k1ctl top`: rows of an overview in words and colours, and figures of the last minutes as graphs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.widgets import DataTable, Static

from k1ctl.output import clean
from k1ctl.overview import phrases
from k1ctl.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from k1ctl.overview import Overview, Part

_BLOCKS = " ▁▂▃▄▅▆▇█"
_PAST = 240  # looks that graphs go back
_TICKETS = 200  # that are listed
_COLUMNS = ("ticket", "state", "workspace", "what", "for", "in")
_WIDE = 20  # columns of a name in it


def graph(values: Sequence[float], width: int, most: float = 100.0) -> str:
    """The last ``width`` values as blocks from 0 to ``most``, in eighths: anything above 0 has one, what passes
    ``most`` all eight."""
    steps, width = len(_BLOCKS) - 1, max(1, width)
    blocks = (max(value > 0, min(steps, round(value / most * steps))) for value in list(values)[-width:])
    return "".join(_BLOCKS[block] for block in blocks).rjust(width)


def text_of(lines: Iterable[list[tuple[str, str]]]) -> Text:
    """Lines of `k1ctl.overview.phrases` as the terminal draws them."""
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for number, line in enumerate(lines):
        text.append("\n" if number else "")
        for words, style in line:
            text.append(clean(words), style or None)
    return text


class Said(Static):
    """Text that is drawn anew only where it changed, and laid out anew only where it has other lines than before."""

    _said: Text | None = None

    def say(self, text: Text) -> None:
        """Show ``text`` from now on."""
        before, self._said = self._said, text
        if text != before:
            self.update(text, layout=before is None or text.plain.count("\n") != before.plain.count("\n"))


class Panel(Said):
    """One part of the overview, at most ``most`` lines of it, under its name; not there while it has nothing."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__(id=name, classes="panel")
        self.most = most
        self.border_title = name

    def show(self, part: Part) -> None:
        """Draw it, or why it could not be made."""
        if part.error:
            lines: list[list[tuple[str, str]]] = [[(f"not known: {part.error}", "red")]]
        else:
            lines = phrases.PARTS[str(self.id)](part) if part.rows else []
        if len(lines) > self.most:
            lines = [*lines[: self.most - 1], [(f"and {len(lines) - self.most + 1} more", "dim")]]
        self.set_class(not lines, "-empty")
        self.say(text_of(lines))


class Host(Said):
    """Memory, load and disk: now, and as they were at the last looks."""

    def __init__(self) -> None:
        super().__init__(id="host", classes="panel")
        self.border_title = "host"
        self.past: dict[str, deque[float]] = {name: deque(maxlen=_PAST) for name in ("memory", "load", "stall")}
        self.part: Part | None = None

    def show(self, part: Part) -> None:
        """Draw it, and remember its figures."""
        self.part, facts = part, part.facts
        if not part.error and facts:
            self.past["memory"].append(100.0 - 100.0 * facts["available_bytes"] / max(1, facts["memory_bytes"]))
            self.past["load"].append(100.0 * (facts["load_1m"] or 0.0) / max(1, facts["cores"]))
            self.past["stall"].append(facts["stalled_percent"] or 0.0)
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if self.part is None:
            return
        if self.part.error or not self.part.facts:
            self.say(text_of([[(f"not known: {self.part.error}", "red")]]))
            return
        facts = self.part.facts
        load = facts["load_1m"]
        said = {
            "memory": f"{format_size(facts['available_bytes'])} free",
            "load": "not known" if load is None else f"{load:.1f} on {facts['cores']}",
            "stall": f"{self.past['stall'][-1]:.0f} % in 10 s",
        }
        width = max(8, self.content_size.width - 26)
        rows = [
            [(f"{name:7}", "dim"), (graph(values, width), _heat(values[-1])), (f" {said[name]}", "")]
            for name, values in self.past.items()
            if name != "stall" or any(values)
        ]
        promised = f"{format_size(facts['promised_bytes'])} of {format_size(facts['limit_bytes'])} promised"
        level = f", level {facts['level']}: {facts['reason']}" if facts["level"] else ""
        rows.append([(f"{promised}, disk {facts['disk']['used_percent']} % used", "dim"), (clean(level), "red")])
        self.say(text_of(rows))


def _heat(percent: float) -> str:
    return "red" if percent >= 90 else "yellow" if percent >= 70 else "green"


class Tickets(DataTable[Text]):
    """Who holds what and who waits, a line a ticket."""

    def __init__(self) -> None:
        super().__init__(id="tickets", cursor_type="row", zebra_stripes=True)
        self.border_title = "queue"
        self.tickets: list[tuple[int | None, str]] = []
        self.whose: list[str] = []

    def on_mount(self) -> None:
        for name in _COLUMNS:
            self.add_column(name, key=name)

    @property
    def chosen(self) -> tuple[int | None, str] | None:
        """(ticket, run) under the cursor; None without a ticket there."""
        there = 0 <= self.cursor_row < len(self.tickets)
        return self.tickets[self.cursor_row] if there else None

    @property
    def owner(self) -> str:
        """Whose the chosen ticket is, and of what; "" without one."""
        return self.whose[self.cursor_row] if 0 <= self.cursor_row < len(self.whose) else ""

    def show(self, found: Overview) -> None:
        """List the tickets; the cursor stays on its own."""
        chosen = self.chosen
        rows = [*_held(found.slots.rows), *(_waits(row) for row in found.waiting.rows)]
        self.border_subtitle = f"{len(rows) - _TICKETS} more" if len(rows) > _TICKETS else ""
        rows = rows[:_TICKETS]
        tickets = [key for key, _ in rows]
        self.whose = [f"{row[2][0]} ({row[3][0]})" for _, row in rows]
        cells = [[_cell(words, style) for words, style in row] for _, row in rows]
        if tickets == self.tickets:  # the usual case: only times have changed
            for number, row in enumerate(cells):
                for column, cell in enumerate(row):
                    before = self.get_cell_at((number, column))  # type: ignore[arg-type]
                    if before != cell:
                        other = before.cell_len != cell.cell_len
                        self.update_cell_at((number, column), cell, update_width=other)  # type: ignore[arg-type]
            return
        self.tickets, place = tickets, self.cursor_row
        self.clear()
        for row in cells:
            self.add_row(*row)
        self.move_cursor(row=tickets.index(chosen) if chosen in tickets else min(place, max(0, len(tickets) - 1)))


def _cell(words: str, style: str) -> Text:
    text = clean(words)
    return Text(text if cell_len(text) <= _WIDE else set_cell_size(text, _WIDE - 1) + "…", style=style)


def _held(slots: list[dict[str, Any]]) -> list[tuple[tuple[int | None, str], list[tuple[str, str]]]]:
    """A row for each holder, with all that it holds."""
    rows: dict[tuple[int | None, str], list[Any]] = {}
    for slot in slots:
        for holder in slot["held"]:
            row = rows.setdefault((holder["ticket"], holder["run"]), [holder, []])
            row[1].append(slot["resource"])
    return [
        (key, _row(key[0], "has", "cyan", h["workspace"], names, h["seconds"], "")) for key, (h, names) in rows.items()
    ]


def _waits(row: dict[str, Any]) -> tuple[tuple[int | None, str], list[tuple[str, str]]]:
    state = f"#{row['position']}" if row["state"] == "waiting" and row["position"] else row["state"]
    soon = row["blocked"] or ("" if row["expected_seconds"] is None else format_duration(row["expected_seconds"]))
    names = row["resources"] or [row["label"]]
    told = _row(row["ticket"], state, "yellow", row["workspace"], names, row["seconds"], soon)
    return (row["ticket"], row["run"]), told


def _row(
    ticket: int | None, state: str, style: str, workspace: str, names: list[str], seconds: float | None, soon: str
) -> list[tuple[str, str]]:
    since = "" if seconds is None else format_duration(seconds)
    number = "-" if ticket is None else str(ticket)
    return [(number, "dim"), (state, style), (workspace, ""), (", ".join(names), ""), (since, "dim"), (soon, "dim")]
