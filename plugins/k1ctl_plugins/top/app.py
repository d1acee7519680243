"""The screen of `k1ctl top`: it looks when an event tells of news, and every few seconds without."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Static

from k1ctl.errors import K1ctlError
from k1ctl.events_follow import Follower
from k1ctl.failure import words
from k1ctl.output import clean
from k1ctl_plugins.top.dialogs import Growing, Pages, Question
from k1ctl_plugins.top.panels import Host, Panel, Tickets
from k1ctl_plugins.top.stream import KEPT, Stream
from k1ctl_plugins.top.tiles import Tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from k1ctl.overview import Overview
    from k1ctl.workspace import Workspace

_PULSE = 0.1  # s between two looks for events
_GAP = 0.2  # s between two looks at everything, however many events come
_PANELS = {"slots": 8, "devices": 6, "builds": 5, "uploads": 5, "budget": 6}  # lines of each at most
_TIMEOUT = 30.0  # s for a command of ours
_COLOURS = {"error": "red", "warning": "yellow"}


class TopApp(App[None]):
    """``look`` makes an overview of ``workspace``, in a thread: at events, and every ``interval`` seconds."""

    TITLE = "k1ctl top"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    CSS = """
    #head { height: auto; max-height: 5; padding: 0 1; }
    .panel { border: round $surface-lighten-2; padding: 0 1; height: auto; }
    Panel, Host, #head { text-wrap: nowrap; text-overflow: ellipsis; }
    Tiles { border: round $surface-lighten-2; height: auto; min-height: 4; max-height: 65%; }
    Tiles:focus, Tickets:focus { border: round $accent; }
    Tickets { border: round $surface-lighten-2; height: 1fr; min-height: 4; }
    #events { height: 1fr; min-height: 5; }
    #stream { height: 1fr; scrollbar-size-vertical: 1; background: transparent; }
    #left { width: 3fr; }
    #right { width: 2fr; }
    .-narrow #body { layout: vertical; }
    .-narrow #left { width: 1fr; height: 2fr; }
    .-narrow #right { width: 1fr; height: 1fr; }
    Panel.-empty, .-narrow #right .panel { display: none; }
    Pages, Question { align: center middle; }
    #pages { width: 95%; height: 90%; border: round $accent; }
    #question { width: auto; max-width: 80%; height: auto; border: round $warning; padding: 1 2; background: $surface; }
    #question Static { width: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("l", "log", "Log"),
        Binding("w", "why", "Why"),
        Binding("c", "cancel", "Cancel"),
        Binding("b", "bump", "Bump"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "unfilter", "", show=False),
        Binding("p", "hold", "Hold"),
    ]

    def __init__(self, workspace: Workspace, look: Callable[[], Overview], interval: float = 2.0) -> None:
        super().__init__()
        self.workspace, self.look, self.interval = workspace, look, interval
        self.follower = Follower(workspace.ops_path("events"))
        self.found: Overview | None = None
        self.looks = 0  # that were drawn
        self._looked = self._news = 0.0  # monotonic: when the last look began; when an event came that it did not see
        self._looking = self._holding = False

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        with Horizontal(id="body"):
            with Vertical(id="left"):
                tiles = Tiles(id="tiles")
                tiles.border_title = "workspaces"
                yield tiles
                yield Stream()
            with Vertical(id="right"):
                yield Tickets()
                yield Host()
                for name, most in _PANELS.items():
                    yield Panel(name, most)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Tiles).focus()
        try:
            self.query_one(Stream).add(self.follower.last(KEPT // 5, lambda event: True))
        except OSError as exc:
            self.notify(words(exc), severity="error")
        self._start()
        self.set_interval(_PULSE, self._pulse)

    def _pulse(self) -> None:
        """Look again where an event came, or where the last look is old."""
        now = time.monotonic()
        try:
            news = list(self.follower.news())
        except OSError:  # its folder was removed meanwhile: it may come back
            news = []
        if news:
            self._news = now
            self.query_one(Stream).add(news[-KEPT:])
        if self._looking or self._holding:
            return
        since = now - self._looked
        if since >= self.interval or (self._news >= self._looked and since >= _GAP):
            self._start()

    def _start(self) -> None:
        self._looking, self._looked = True, time.monotonic()
        self.run_worker(self._look, thread=True, group="look")

    def _look(self) -> None:
        """In a thread of its own: the keys work meanwhile."""
        try:
            found = self.look()
        except Exception as exc:  # a configuration that is being edited: the next look may succeed
            self.call_from_thread(self._failed, words(exc) if isinstance(exc, K1ctlError | OSError) else repr(exc))
        else:
            self.call_from_thread(self._show, found)

    def _failed(self, why: str) -> None:
        self._looking = False
        self.query_one("#head", Static).update(Text(f"nothing new is known: {clean(why)}", "red"))

    def _show(self, found: Overview) -> None:
        self._looking = False
        self.found = found
        self.query_one("#head", Static).update(_head(found, holding=self._holding))
        self.query_one(Tiles).show(found.workspaces.rows)
        self.query_one(Tickets).show(found)
        self.query_one(Host).show(found.host)
        for name in _PANELS:
            self.query_one(f"#{name}", Panel).show(found.parts[name])
        self.looks += 1

    def chosen(self) -> tuple[int | None, str, str]:
        """(ticket, run, workspace) under the cursor, None and "" where there is none."""
        tickets = self.query_one(Tickets)
        if tickets.has_focus:
            ticket, run = tickets.chosen or (None, "")
            return ticket, run, ""
        row = self.query_one(Tiles).chosen
        if row is None:
            return None, "", ""
        doing = next((each for each in row["doing"] if each["state"] == row["state"]), None)
        last: dict[str, Any] = max(
            (row[k] for k in ("build", "upload") if row[k]), key=lambda each: str(each["at"]), default={}
        )
        ticket, run = (doing["ticket"], doing["run"]) if doing else (None, "")
        return ticket, run or last.get("run", ""), row["name"]

    def on_tiles_opened(self) -> None:
        self.action_log()

    def on_data_table_row_selected(self) -> None:
        self.action_log()

    def action_log(self) -> None:
        """Open the log of the chosen run, or of the workspace's last one."""
        _, run, name = self.chosen()
        if not run:
            self.notify(f"{name or 'that'} has no run yet", severity="warning")
            return
        self.push_screen(Pages(f"log of run {run}", Growing(self.workspace.ops_path("runs", run, "log")).lines))

    def action_why(self) -> None:
        """Say why the chosen one waits, was refused or failed."""
        ticket, run, name = self.chosen()
        about = str(ticket) if ticket is not None else name or run
        if about:
            self._call("why", "--", about, then=lambda text: self._page(f"why {about}", text))

    def action_cancel(self) -> None:
        """Cancel the chosen ticket, once the user has said yes."""
        ticket, _, name = self.chosen()
        if ticket is None:
            self.notify(f"{name or 'that'} has no ticket", severity="warning")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._call("queue", "cancel", str(ticket))

        whose = f" of {name}" if name else ""
        self.push_screen(Question(f"Cancel ticket {ticket}{whose}? A command that runs is ended."), answered)

    def action_bump(self) -> None:
        """Move the chosen ticket to the front of its priority."""
        ticket, _, name = self.chosen()
        if ticket is None:
            self.notify(f"{name or 'that'} has no ticket", severity="warning")
            return
        self._call("queue", "bump", str(ticket))

    def action_filter(self) -> None:
        self.query_one(Stream).ask()

    def action_unfilter(self) -> None:
        self.query_one(Stream).close()
        self.query_one(Tiles).focus()

    def action_hold(self) -> None:
        """Hold the picture, or let it go on."""
        self._holding = not self._holding
        if self.found is not None:
            self.query_one("#head", Static).update(_head(self.found, holding=self._holding))

    def _call(self, *words: str, then: Callable[[str], None] | None = None) -> None:
        """Run a command of k1ctl, in a thread, and tell what it said."""

        def call() -> None:
            said, severity = run_command(self.workspace, words)
            if then is not None and said:
                self.call_from_thread(then, said)
            else:
                self.call_from_thread(self.notify, said or "done", severity=severity, markup=False)

        self.run_worker(call, thread=True, group="call")

    def _page(self, title: str, text: str) -> None:
        lines = [text.rstrip().split("\n")]
        self.push_screen(Pages(title, lambda: lines.pop() if lines else []))


def run_command(workspace: Workspace, words: tuple[str, ...]) -> tuple[str, str]:
    """(what ``k1ctl WORDS`` said, how severe that is for textual); checks, refusals and events are the command's."""
    command = [sys.executable, "-m", "k1ctl", "--root", workspace.root, *words]
    try:
        done = subprocess.run(
            command, cwd=workspace.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"k1ctl {words[0]} did not end: {exc}", "error"
    said = "\n".join(text.strip() for text in (done.stdout, done.stderr) if text.strip())
    return said, "error" if done.returncode else "information"


def _head(found: Overview, *, holding: bool) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis", end="")
    text.append(f"{clean(found.workspace.root)}  ", "bold")
    text.append(f"{found.at[11:19]} UTC", "dim")
    text.append("  held: p goes on" if holding else "", "reverse")
    for problem in found.problems[:4]:
        text.append("\n")
        text.append(f"{problem['level']}: ", _COLOURS.get(problem["level"]))
        text.append(clean(problem["text"]))
    if not found.problems:
        text.append("  all is well", "green")
    elif len(found.problems) > 4:
        text.append(f"  (and {len(found.problems) - 4} more)", "dim")
    return text
