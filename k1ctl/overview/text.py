"""An overview on one screen: a title at the left, and as many lines of each part as there is room for."""

from __future__ import annotations

import os

from k1ctl.output import clean, style
from k1ctl.overview import phrases
from k1ctl.overview.verdict import next_step
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k1ctl.overview import Overview
    from k1ctl.overview.phrases import Line
    from k1ctl.workspace import Workspace

_TITLE = 11  # characters of the column of titles
_TITLES = {"problems": "attention"}
LEAST = {"workspaces": 4, "waiting": 3, "slots": 3, "devices": 3, "problems": 3}  # lines before any gets more
_MANY = 20 << 20  # bytes of events that take a second
_PIPED = 12  # lines of a part where there is no screen


class Section:
    """A part as ``lines``; ``shown`` of them have room. ``rest`` tells of how many were left out: (count) -> text."""

    def __init__(self, name: str, lines: Sequence[Line], rest: Callable[[int], str]) -> None:
        self.name, self.lines, self.rest = name, lines, rest
        self.shown = min(len(lines), LEAST.get(name, 1))

    def cut(self) -> list[Line]:
        """The lines that have room; the last one says what was left out, the only one at its end."""
        if self.shown >= len(self.lines):
            return list(self.lines)
        if self.shown == 1:
            return [[*self.lines[0], (f"  {self.rest(len(self.lines) - 1)}", "dim")]]
        left = len(self.lines) - self.shown + 1
        return [*self.lines[: self.shown - 1], [(self.rest(left), "dim")]]


def screen(found: Overview, *, width: int = 0, height: int = 0, every: bool = False) -> str:
    """The overview for people; ``width`` and ``height`` in characters (0: no screen, so nothing is cut at its right);
    ``every``: all lines of all parts. Coloured where stdout is."""
    sections = _sections(found, wide=not width)
    if every:
        for section in sections:
            section.shown = len(section.lines)
    elif height:
        _share(sections, height - 2)  # the head, and a line for the prompt
    else:
        for section in sections:
            section.shown = min(len(section.lines), _PIPED)
    lines = [_head(found, width)]
    for section in sections:
        for number, line in enumerate(section.cut()):
            title = _TITLES.get(section.name, section.name) if number == 0 else ""
            lines.append(_drawn([(title.ljust(_TITLE), "bold"), *line], width))
    return "\n".join(lines)


def size() -> tuple[int, int]:
    """(width, height) of the terminal that stdout is; (0, 0) when it is none."""
    try:
        found = os.get_terminal_size(1) if os.isatty(1) else None
    except OSError:
        found = None
    return (found.columns or 80, found.lines or 24) if found else (0, 0)


def _share(sections: list[Section], room: int) -> None:
    """Give each section a line in turn until ``room`` is used up; what is over the room is taken from the longest."""
    while sum(section.shown for section in sections) > room:
        longest = max(sections, key=lambda section: section.shown)
        if longest.shown <= 1:
            return
        longest.shown -= 1
    while sum(section.shown for section in sections) < room:
        short = [section for section in sections if section.shown < len(section.lines)]
        if not short:
            return
        min(short, key=lambda section: section.shown / LEAST.get(section.name, 1)).shown += 1


def _sections(found: Overview, *, wide: bool) -> list[Section]:
    sections = []
    problems: list[Line] = [[(clean(p["text"]), "red" if p["level"] == "error" else "yellow")] for p in found.problems]
    if problems:
        sections.append(Section("problems", problems, lambda n: f"and {n} more"))
    for name, lines_of in phrases.PARTS.items():
        part = found.parts[name]
        if part.error and not part.rows and not part.facts:
            continue  # the problems tell of it
        lines = lines_of(part, wide=wide)
        if lines:
            sections.append(Section(name, lines, phrases.REST.get(name, lambda n: f"and {n} more")))
    step = next_step(found)
    if step:
        sections.append(Section("next", [[(f"{step}   {phrases.STEPS.get(step, '')}".rstrip(), "cyan")]], str))
    return sections


def _head(found: Overview, width: int) -> str:
    facts = found.workspaces.facts
    count = facts.get("count", 0)
    states = ", ".join(f"{n} {state}" for state, n in facts.items() if state != "count")
    what = f"{count} workspace{'s' * (count != 1)}" + (f" ({states})" if states and states != f"{count} idle" else "")
    errors = sum(problem["level"] == "error" for problem in found.problems)
    warnings = len(found.problems) - errors
    told = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    colour = "red" if errors else "yellow" if warnings else "green"
    line: Line = [(", ".join(told) or "all well", colour), ("  ", ""), (what, ""), (f"  {found.at[11:19]}Z", "dim")]
    line.append((f"  {clean(found.workspace.root)}", "dim"))
    return _drawn(line, width)


def _drawn(line: Line, width: int) -> str:
    """A line in colour, cut at the width of the screen."""
    left, drawn = width or 1 << 30, []
    for text, colour in line:
        text = phrases.cut(text, left)
        left -= len(text)
        drawn.append(style(text, colour) if colour and text.strip() else text)
    return "".join(drawn).rstrip()


def first_look(workspace: Workspace) -> str:
    """What to tell whoever has to wait while many events are read for the first time; "" where it takes no time."""
    folder = workspace.ops_path("events")
    if os.path.exists(workspace.ops_path("metrics", "tally.json")) or not os.path.isdir(folder):
        return ""
    try:
        with os.scandir(folder) as found:
            size = sum(each.stat().st_size for each in found)
    except OSError:  # a day that was compressed in between; whatever else it is, the look says
        return ""
    return f"reading {format_size(size)} of events for the first time ..." if size > _MANY else ""
