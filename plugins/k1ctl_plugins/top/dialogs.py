"""What `k1ctl top` lays over its picture: a run's log as it grows, an answer in words, a question."""

from __future__ import annotations

import os
import re
import textwrap
from typing import TYPE_CHECKING

from rich.text import Text
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
_MOST = 8 << 20  # bytes that are read at once: what came faster is left out
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # ECMA-48: CSI, OSC, C1

HELP = """\
arrows, PgUp/PgDn, Home, End   another workspace or ticket
Tab                            between workspaces and queue
n                              the next workspace that is busy, or whose last result is bad
s                              sort workspaces: by name, busy first, last active first
l, Enter                       the log of its run as it grows (g begin, G end, Esc closes)
w                              why it waits, was refused or failed
c                              cancel its ticket (asks first)
b                              bump its ticket to the front of its priority
/                              filter the events: queue.*  oslo  !worktree.* (Esc keeps it, Esc again drops it)
p                              hold the picture; r looks at once
?                              this page
q, ^C                          end; ^Z suspends

B and U: the last build and upload. + done, ! failed, ? anything else, · none yet
(narrow tiles have the two signs alone).
Queue: has holds it, #1 #2 ... wait, parked: a place that is kept, room: waits for the host.
Colours say the same again: green well, red failed, cyan works, yellow waits.
"""


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
                if size - self._at > _MOST:
                    self._at, self._rest, cut = size - _TAIL, b"", True
                    file.seek(self._at)
                data = file.read(size - self._at)
        except OSError:
            return []
        self._at = size
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [readable(line) for line in whole[cut:]]

    @property
    def rest(self) -> str:
        """What stands on the last line, which is not whole yet: a progress bar, a prompt."""
        return readable(self._rest[-4096:]) if self._at >= 0 else "there is no log yet, or no more"


def readable(line: bytes) -> str:
    """A line of a log as a terminal would leave it: without colours, and of what was written over the last."""
    text = _ESCAPES.sub("", line.decode("utf-8", "replace")).expandtabs(8)
    return clean(next((part for part in reversed(text.split("\r")) if part.strip()), ""))


def wrapped(line: str, width: int) -> list[str]:
    """A line of prose on as many as it needs, the further ones indented as the first."""
    indent = " " * min(len(line) - len(line.lstrip()), width // 2)
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=indent, replace_whitespace=False, drop_whitespace=False, break_on_hyphens=False
    )
    return wrapper.wrap(line) or [""]


class Pages(ModalScreen[None]):
    """Text that is read page by page; ``more`` gives the lines that came since it was last called, ``rest`` what
    stands below them."""

    _below = ""
    BINDINGS = [
        Binding("escape,q,l,w,question_mark", "dismiss", "Close"),
        Binding("g", "top", "Begin"),
        Binding("G", "bottom", "End"),
    ]

    def __init__(
        self, title: str, more: Callable[[], list[str]], rest: Callable[[], str] = lambda: "Esc closes"
    ) -> None:
        super().__init__()
        self.title_text, self.more, self.rest = title, more, rest

    def compose(self) -> ComposeResult:
        log = Log(id="pages", max_lines=_LINES)
        log.border_title = Text(clean(self.title_text))  # a Text: no markup
        yield log

    def on_mount(self) -> None:
        self._look()
        self.set_interval(_LOOK, self._look)

    def _look(self) -> None:
        log, lines = self.query_one(Log), self.more()
        if lines:
            log.write_lines(line or " " for line in lines)  # it drops what is empty
        below = self.rest()
        if below != self._below:
            self._below = below
            log.border_subtitle = Text(below)

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
