"""Events as they come, and the filter that chooses among them."""

from __future__ import annotations

from collections import deque
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.containers import Vertical
from textual.widgets import Input, RichLog

from k1ctl.jsontext import dumps
from k1ctl.output import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult

_WIDE = 400  # columns of an event's line
KEPT = 1000  # events that are kept to be filtered anew
_HEAD = ("at", "event", "workspace")
_BAD = ("fail", "refus", "panic", "lost", "overrun", "incident", "killed", "opened", "unknown")


def matches(event: dict[str, Any], wanted: str) -> bool:
    """Whether ``event`` fits ``wanted``: words of which each is a glob of its name (``queue.*``), or a part of its
    line; ``!word`` for none of it."""
    line = line_of(event).plain.lower()
    for word in wanted.lower().split():
        no, word = word.startswith("!"), word.removeprefix("!")
        found = fnmatchcase(str(event.get("event", "")).lower(), word) or word in line
        if word and found == no:
            return False
    return True


def line_of(event: dict[str, Any]) -> Text:
    """An event on a line: the time of the day as the record has it (UTC), its name, its workspace, then the rest."""
    name = clean(str(event.get("event", "-")))
    result = f"{name} {event.get('result') or event.get('outcome') or event.get('code') or ''}"
    colour = "red" if any(word in result for word in _BAD) or event.get("exit_code") else "cyan"
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{str(event.get('at', '-'))[11:19]}  ", "dim")
    text.append(f"{name.ljust(18)}  ", colour)
    text.append(f"{clean(str(event.get('workspace', '-')))}  ", "bold")
    rest = [f"{key}={_short(value)}" for key, value in event.items() if key not in _HEAD and value not in ("", None)]
    text.append(clean(" ".join(rest)), "dim")
    return text


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"


class Stream(Vertical):
    """The last events, those that the filter wants."""

    def __init__(self) -> None:
        super().__init__(id="events", classes="panel")
        self.border_title = "events"
        self.kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.wanted = ""

    def compose(self) -> ComposeResult:
        yield RichLog(id="stream", max_lines=KEPT, wrap=False, min_width=20)
        yield Input(id="filter", placeholder="queue.*  oslo  !worktree.*", compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).display = False
        self.query_one(RichLog).can_focus = False

    def on_resize(self) -> None:
        """The newest stays in sight when other panels take their room, as at the first picture."""
        self.call_after_refresh(self.query_one(RichLog).scroll_end, animate=False)

    def add(self, news: Iterable[dict[str, Any]]) -> None:
        """Show what came."""
        log = self.query_one(RichLog)
        for event in news:
            self.kept.append(event)
            if not self.wanted or matches(event, self.wanted):
                log.write(line_of(event), width=_WIDE)  # cut where it is drawn: the screen may be resized

    def ask(self) -> None:
        """Let the user write a filter."""
        entry = self.query_one(Input)
        entry.display = True
        entry.focus()

    def on_input_changed(self, change: Input.Changed) -> None:
        self.wanted = change.value.strip()
        self.border_title = Text(f"events: {clean(self.wanted)}" if self.wanted else "events")
        log = self.query_one(RichLog)
        log.clear()
        for event in self.kept:
            if not self.wanted or matches(event, self.wanted):
                log.write(line_of(event), width=_WIDE)  # cut where it is drawn: the screen may be resized

    def close(self) -> None:
        """Put the entry away; an empty one filters nothing."""
        self.query_one(Input).display = False

    def back(self) -> None:
        """Put the entry away; where it is away already, the filter goes."""
        entry = self.query_one(Input)
        if not entry.display:
            entry.value = ""
        self.close()

    def on_input_submitted(self) -> None:
        self.close()
        self.app.action_focus_next()
