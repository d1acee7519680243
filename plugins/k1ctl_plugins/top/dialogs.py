"""What `k1ctl top` lays over its picture: a run's log as it grows, an answer in words, a question."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Log, Static

from k1ctl.output import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

_TAIL = 128 << 10  # bytes of a log that are shown at first
_LINES = 5000  # lines of it that are kept
_LOOK = 0.25  # s between two looks at a log


class Growing:
    """A file that is read as it grows, from its last `_TAIL` bytes on; one that is not there yet is empty."""

    def __init__(self, path: str) -> None:
        self.path, self._at, self._rest = path, -1, b""

    def lines(self) -> list[str]:
        """The whole lines that came since the last call, without control characters."""
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                first = self._at < 0
                if first or size < self._at:  # a file that shrank was made anew
                    self._at, self._rest = max(0, size - _TAIL) if first else 0, b""
                cut = first and self._at > 0
                file.seek(self._at)
                data = file.read(size - self._at)
        except OSError:
            return []
        self._at = size
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [clean(line.decode("utf-8", "replace")) for line in whole[cut:]]


class Pages(ModalScreen[None]):
    """Text that is read page by page; ``more`` gives the lines that came since it was last called."""

    BINDINGS = [
        Binding("escape,q,l,w", "dismiss", "Close"),
        Binding("g", "top", "Begin"),
        Binding("G", "bottom", "End"),
    ]

    def __init__(self, title: str, more: Callable[[], list[str]]) -> None:
        super().__init__()
        self.title_text, self.more = title, more

    def compose(self) -> ComposeResult:
        log = Log(id="pages", max_lines=_LINES)
        log.border_title = clean(self.title_text)
        log.border_subtitle = "Esc closes"
        yield log

    def on_mount(self) -> None:
        self._look()
        self.set_interval(_LOOK, self._look)

    def _look(self) -> None:
        lines = self.more()
        if lines:
            self.query_one(Log).write_lines(lines)

    def action_top(self) -> None:
        self.query_one(Log).scroll_home(animate=False)

    def action_bottom(self) -> None:
        self.query_one(Log).scroll_end(animate=False)


class Question(ModalScreen[bool]):
    """Yes or no; Enter is no answer."""

    BINDINGS = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,q", "dismiss(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(clean(self.text), markup=False)
            yield Static("y yes   n no", markup=False)
