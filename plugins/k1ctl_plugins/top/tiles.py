"""The tiles of `k1ctl top`: every workspace has one, as large as all of them have room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.message import Message
from textual.widget import Widget

from k1ctl.output import clean
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from textual import events
    from textual.geometry import Size

# (columns, lines) of a tile, the best ones first
_SIZES = ((26, 3), (20, 3), (26, 2), (20, 2), (14, 3), (14, 2), (26, 1), (20, 1), (14, 1))
_COLOURS = {"uploading": "cyan", "testing": "cyan", "building": "cyan", "running": "cyan", "waiting": "yellow"}
_BAD = ("failed", "refused", "unknown", "timeout")
_STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "pageup": (0, -8), "pagedown": (0, 8)}


def layout(count: int, width: int, height: int) -> tuple[int, int, int]:
    """(tiles in a row, columns and lines of one) with which ``count`` tiles fit into ``width`` x ``height``, the
    largest ones; where none do, the smallest."""
    for wanted, lines in _SIZES:
        across = max(1, width // wanted)
        if -(-count // across) * lines <= height:
            across = max(1, min(across, count))
            return across, min(width // across, 2 * _SIZES[0][0]), lines
    across = max(1, width // _SIZES[-1][0])
    return across, width // across, _SIZES[-1][1]


def tile(row: dict[str, Any], width: int, lines: int) -> list[Text]:
    """A workspace's row of an overview on ``lines`` lines of ``width`` columns, the last of them a gap."""
    style = _COLOURS.get(row["state"], "red" if row["missing"] else "")
    name, does = clean(row["name"]), clean(_does(row))
    marks = _marks(row)
    room = width - 1
    if lines == 1:
        words = max(0, room - len(marks) - 1)
        half = min(words, max(6, words - min(len(does), room // 2)))
        told = [_line((name, f"bold {style}"), half), (" ", ""), _line((does, style), words - half)]
        return [_joined(*told, marks)]
    head = _joined(_line((name, f"bold {style}"), room - len(marks)), marks)
    body = [head, _joined(_line((does, style or "dim"), room))]
    if lines > 2:
        body.append(_joined(_line((_last(row), "dim"), room)))
    return body


def _line(part: tuple[str, str], width: int) -> tuple[str, str]:
    """Cut or filled to ``width`` columns; some characters take two."""
    text, style = part
    width = max(0, width)
    if cell_len(text) > width > 0:
        text = set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width), style


def _joined(*parts: tuple[str, str] | Text) -> Text:
    line = Text(no_wrap=True)
    for part in parts:
        if isinstance(part, Text):
            line.append_text(part)
        else:
            line.append(part[0], part[1] or None)
    line.append(" ")
    return line


def _marks(row: dict[str, Any]) -> Text:
    """B and U: how the last build and upload ended."""
    marks = Text()
    for letter, kind in (("B", "build"), ("U", "upload")):
        result = (row[kind] or {}).get("result")
        colour = {"done": "green"}.get(result, "red" if result in _BAD else "yellow") if result else "bright_black"
        marks.append(letter if result else "·", colour)
    return marks


def _does(row: dict[str, Any]) -> str:
    if row["missing"]:
        return "its folder is gone"
    if not row["doing"]:
        idle = row["idle_seconds"]
        return "idle" if idle is None else f"idle {format_duration(idle)}"
    doing = min(row["doing"], key=lambda each: each["state"] != row["state"])
    what = ", ".join(doing["resources"]) or doing["label"]
    since = "" if doing["seconds"] is None else f" {format_duration(doing['seconds'])}"
    if doing["state"] == "waiting":
        place = f"#{doing['position']} " if doing["position"] else ""
        return f"waits {place}{what}{since}"
    return f"{doing['state']} {what}{since}"


def _last(row: dict[str, Any]) -> str:
    """The last result, in a word or two."""
    last = [(row[kind].get("age_seconds"), kind, row[kind]["result"]) for kind in ("build", "upload") if row[kind]]
    if not last:
        return row["branch"] or "" if row["branch"] != row["name"] else ""
    age, kind, result = min(last, key=lambda each: each[0] if each[0] is not None else 1e18)
    return f"{kind} {result}" + ("" if age is None else f" {format_duration(age)} ago")


class Tiles(Widget, can_focus=True):
    """The workspaces of the last overview. `chosen` is the row under the cursor, None without any."""

    class Opened(Message):
        """Enter was pressed, or the tile was clicked twice."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.rows: list[dict[str, Any]] = []
        self.at = self.first = 0  # the tile under the cursor; the first row of tiles that is shown

    @property
    def chosen(self) -> dict[str, Any] | None:
        return self.rows[self.at] if self.rows else None

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Draw these; the cursor stays on its workspace."""
        name = self.chosen["name"] if self.chosen else None
        count, self.rows = len(self.rows), rows
        places = [number for number, row in enumerate(rows) if row["name"] == name]
        self.at = places[0] if places else min(self.at, max(0, len(rows) - 1))
        self.refresh(layout=len(rows) != count)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        columns, lines = _SIZES[0]
        return max(1, -(-len(self.rows) // max(1, width // columns)) * lines)

    def render(self) -> Text:
        width, height = self.size
        across, columns, lines = layout(len(self.rows), width, height)
        shown = max(1, height // lines)
        row = self.at // across
        self.first = min(max(self.first, row - shown + 1), row) if len(self.rows) > across * shown else 0
        text = Text(no_wrap=True, end="")
        for start in range(self.first * across, min((self.first + shown) * across, len(self.rows)), across):
            band = [self._tile(number, columns, lines) for number in range(start, min(start + across, len(self.rows)))]
            for line in range(lines):
                for each in band:
                    text.append_text(each[line])
                text.append("\n")
        if not self.rows:
            text.append("no worktree here\n", "dim")
        return text

    def _tile(self, number: int, columns: int, lines: int) -> list[Text]:
        drawn = tile(self.rows[number], columns, lines)
        if number == self.at and self.has_focus:
            for each in drawn:
                each.stylize("reverse")
        return drawn

    def on_key(self, event: events.Key) -> None:
        if event.key in _STEPS and self.rows:
            across, _, _ = layout(len(self.rows), *self.size)
            right, down = _STEPS[event.key]
            self.at = min(max(0, self.at + right + across * down), len(self.rows) - 1)
        elif event.key in ("home", "end"):
            self.at = 0 if event.key == "home" else max(0, len(self.rows) - 1)
        elif event.key == "enter" and self.rows:
            self.post_message(self.Opened())
        else:
            return
        event.stop()
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        across, columns, lines = layout(len(self.rows), *self.size)
        number = (self.first + event.y // lines) * across + event.x // max(1, columns)
        if event.x < across * columns and number < len(self.rows):
            self.at = number
            self.refresh()
            if event.chain == 2:
                self.post_message(self.Opened())

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
