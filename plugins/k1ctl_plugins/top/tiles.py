"""The tiles of `k1ctl top`: every workspace has one, as large as all of them have room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from k1ctl.output import clean
from k1ctl.overview.parts import STATES
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from rich.segment import Segment
    from textual import events
    from textual.geometry import Size

# (columns, lines) of a tile, the best ones first
_SIZES = ((26, 3), (20, 3), (26, 2), (20, 2), (14, 3), (14, 2), (26, 1), (20, 1), (14, 1))
_COLOURS = {"uploading": "cyan", "testing": "cyan", "building": "cyan", "running": "cyan", "waiting": "yellow"}
_BAD = ("failed", "refused", "unknown", "timeout")
_BRIEF = {"uploading": "flash", "testing": "tests", "building": "build", "running": "runs", "parked": "kept"}
_NARROW = 20  # columns of a tile below which its marks have no letters
_SIGNS = {"done": ("+", "green"), **dict.fromkeys(_BAD, ("!", "red"))}
_KINDS = ("build", "upload")
ORDERS = ("name", "busy first", "last active first")
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
    marks = _marks(row, letters=width >= _NARROW)
    room = width - 1
    if lines == 1:
        words = max(0, room - len(marks) - 1)
        does = does if width >= _NARROW else _brief(row)
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


def _marks(row: dict[str, Any], *, letters: bool) -> Text:
    """How the last build (B) and upload (U) ended: + done, ! failed, ? anything else, · none yet; nothing
    where there was neither."""
    marks = Text()
    for letter, kind in (("B", "build"), ("U", "upload")) if any(row[kind] for kind in _KINDS) else ():
        result = (row[kind] or {}).get("result")
        sign, colour = ("·", "bright_black") if not result else _SIGNS.get(result, ("?", "yellow"))
        marks.append(letter + sign if letters else sign, colour)
    return marks


def stands_out(row: dict[str, Any]) -> bool:
    """Whether somebody who looks around should stop here: it does something, or what it did last failed."""
    return bool(row["doing"]) or row["missing"] or any((row[kind] or {}).get("result") in _BAD for kind in _KINDS)


def ordered(rows: list[dict[str, Any]], order: str) -> list[dict[str, Any]]:
    """``rows``, which come by name, in one of `ORDERS`."""
    if order == "busy first":
        return sorted(rows, key=lambda row: (STATES.index(row["state"]), not stands_out(row)))
    if order == "last active first":
        return sorted(rows, key=lambda row: 1e18 if row["idle_seconds"] is None else row["idle_seconds"])
    return rows


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


def _brief(row: dict[str, Any]) -> str:
    """What it does, in at most five characters; nothing where it is idle."""
    if row["missing"]:
        return "gone"
    if row["state"] == "waiting":
        place = next((each["position"] for each in row["doing"] if each["position"]), None)
        return f"#{place}"[:5] if place else "waits"
    return _BRIEF.get(row["state"], "")


def _last(row: dict[str, Any]) -> str:
    """The last result, in a word or two."""
    last = [(row[kind].get("age_seconds"), kind, row[kind]["result"]) for kind in _KINDS if row[kind]]
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
        self._given: list[dict[str, Any]] = []  # the same as they came
        self.known = False  # something was looked at
        self.order = ORDERS[0]
        self.at = self.first = 0  # the tile under the cursor; the first row of tiles that is shown
        self._drawn: dict[int, list[Strip]] = {}  # {row of tiles: its lines}
        self._keys: dict[int, tuple[Any, ...]] = {}  # what they were drawn from

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The row of the overview under the cursor; None while there is none."""
        return self.rows[self.at] if self.rows else None

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Draw these; the cursor stays on its workspace."""
        chosen, self.known = self.chosen, True
        count, self._given, self.rows = len(self.rows), rows, ordered(rows, self.order)
        if chosen is not None:
            same = (chosen["name"], chosen["path"])
            places = [number for number, row in enumerate(self.rows) if (row["name"], row["path"]) == same]
            self.at = places[0] if places else min(self.at, max(0, len(rows) - 1))
        self.border_title = "workspaces" if self.order == ORDERS[0] else f"workspaces, {self.order}"
        if len(rows) != count:
            self.refresh(layout=True)
        else:
            self._draw()

    def reorder(self) -> None:
        """The next of the orders."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.show(self._given)

    def jump(self) -> None:
        """To the next workspace that stands out."""
        others = [*range(self.at + 1, len(self.rows)), *range(self.at + 1)]
        self.at = next((number for number in others if stands_out(self.rows[number])), self.at)
        self._draw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        columns, lines = _SIZES[0]
        return max(1, -(-len(self.rows) // max(1, width // columns)) * lines)

    def _draw(self) -> None:
        """Draw what is not as it was drawn: of 100 tiles few change from look to look."""
        width, height = self.size
        across, columns, lines = layout(len(self.rows), width, height)
        before, self.first = self.first, self._scrolled(across, max(1, height // lines))
        if before != self.first:
            self.refresh()
            return
        for band in range(-(-height // lines)):
            if self._keys.get(self.first + band) != self._key(self.first + band, across, columns, lines):
                self.refresh(Region(0, band * lines, width, lines))

    def _scrolled(self, across: int, shown: int) -> int:
        """The first row of tiles with which the cursor is on the screen."""
        row = self.at // across
        return min(max(self.first, row - shown + 1), row) if len(self.rows) > across * shown else 0

    def _key(self, band: int, across: int, columns: int, lines: int) -> tuple[Any, ...]:
        """All that a row of tiles shows."""
        numbers = range(band * across, min((band + 1) * across, len(self.rows)))
        cursor = self.at if self.has_focus and self.at in numbers else -1
        rows = [self.rows[number] for number in numbers]
        told = [
            (r["name"], r["state"], _does(r), _last(r), *((r[kind] or {}).get("result") for kind in _KINDS))
            for r in rows
        ]
        return (self.size.width, columns, lines, cursor, *told)

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        across, columns, lines = layout(len(self.rows), width, height)
        if y == 0:
            self.first = self._scrolled(across, max(1, height // lines))
        if not self.rows:
            empty = Text("no worktree here" if self.known and not y else "", "dim")
            return Strip(empty.render(self.app.console)).adjust_cell_length(width).apply_style(self.rich_style)
        band = self.first + y // lines
        key = self._key(band, across, columns, lines)
        if self._keys.get(band) != key:
            self._keys[band] = key
            self._drawn[band] = self._band(band, across, columns, lines)
        return self._drawn[band][y % lines]

    def _band(self, band: int, across: int, columns: int, lines: int) -> list[Strip]:
        drawn: list[list[Segment]] = [[] for _ in range(lines)]
        for number in range(band * across, min((band + 1) * across, len(self.rows))):
            for line, text in zip(drawn, tile(self.rows[number], columns, lines), strict=True):
                if number == self.at and self.has_focus:
                    text.stylize("reverse")
                line += text.render(self.app.console)
        width, style = self.size.width, self.rich_style
        return [Strip(line).adjust_cell_length(width).apply_style(style) for line in drawn]

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
        self._draw()

    def on_click(self, event: events.Click) -> None:
        across, columns, lines = layout(len(self.rows), *self.size)
        place = event.get_content_offset(self)
        if place is None:
            return
        number = (self.first + place.y // lines) * across + place.x // max(1, columns)
        if place.x < across * columns and number < len(self.rows):
            self.at = number
            self._draw()
            if event.chain == 2:
                self.post_message(self.Opened())

    def on_focus(self) -> None:
        self._draw()

    def on_blur(self) -> None:
        self._draw()
