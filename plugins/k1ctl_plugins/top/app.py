"""The screen of `k1ctl top`: it looks when an event tells of news, and every few seconds without."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer

from k1ctl.output import clean
from k1ctl.overview.text import first_look
from k1ctl.units import format_duration
from k1ctl_plugins.top.calls import Calls
from k1ctl_plugins.top.dialogs import HELP, Growing, Pages, Question, wrapped
from k1ctl_plugins.top.panels import Host, Panel, Said, Tickets
from k1ctl_plugins.top.stream import KEPT, Stream
from k1ctl_plugins.top.tiles import Tiles
from k1ctl_plugins.top.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.notifications import SeverityLevel

    from k1ctl.overview import Overview
    from k1ctl.workspace import Workspace

_PANELS = {"slots": 8, "devices": 6, "builds": 5, "uploads": 5, "budget": 6}  # lines of each at most
_SLOW = 3.0  # s after which a look that does not end is told
_COLOURS = {"error": "red", "warning": "yellow"}


class TopApp(App[None]):
    """``look`` makes an overview of ``workspace``, in a thread: at events, and every ``interval`` seconds."""

    TITLE = "k1ctl top"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    CSS = """
    #head { height: auto; max-height: 5; padding: 0 1; }
    .panel { border: round $surface-lighten-2; padding: 0 1; height: auto; }
    Said { text-wrap: nowrap; text-overflow: ellipsis; }
    Tiles { border: round $surface-lighten-2; height: auto; min-height: 4; max-height: 65%; }
    Tiles:focus, Tickets:focus { border: round $accent; }
    Tickets { border: round $surface-lighten-2; height: 1fr; min-height: 35%; }
    .-narrow Tickets { min-height: 4; }
    #events { height: 1fr; min-height: 5; }
    #stream { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; background: transparent; }
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
        Binding("s", "sort", "Sort"),
        Binding("n", "jump", "Next busy"),
        Binding("r", "look", "", show=False),
        Binding("question_mark,f1,h", "keys", "Help", key_display="?"),
        Binding("ctrl+c", "quit", "", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "", show=False, priority=True),
    ]

    def __init__(self, workspace: Workspace, look: Callable[[], Overview], interval: float = 2.0) -> None:
        super().__init__()
        self.workspace = workspace
        self.found: Overview | None = None
        self.looks = 0  # that were drawn
        self._drawn_on = False  # a terminal
        self.calls = Calls(workspace)
        self.watcher = Watch(
            workspace.ops_path("events"),
            look,
            interval,
            tell=self.call_later,
            events=lambda news: self.query_one(Stream).add(news),
            found=self._show,
            failed=self._failed,
            kept=KEPT,
        )

    def compose(self) -> ComposeResult:
        yield Said(id="head")
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
        self._say_head(Text(first_look(self.workspace) or "looking ...", "dim"))
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._terminated)
        self.watcher.start()
        self._drawn_on = _terminal()
        self.set_interval(1.0, self._check)

    def on_unmount(self) -> None:
        self.watcher.stop()

    def _terminated(self, *_: object) -> None:
        """End as `q` does; at the second time whatever happens, as where a terminal takes nothing any more."""
        if self.return_code is not None:
            os._exit(128 + signal.SIGTERM)
        self._return_code = 128 + signal.SIGTERM
        asyncio.get_running_loop().call_soon_threadsafe(partial(self.exit, return_code=128 + signal.SIGTERM))

    def _fatal_error(self) -> None:
        """No traceback with the values of variables on the screen: who started us raises `fault`."""
        self._close_messages_no_wait()

    @property
    def fault(self) -> Exception | None:
        """What ended the screen though nobody wanted it to."""
        return self._exception

    def _check(self) -> None:
        """Tell of a look that does not end; end where the terminal is gone and nobody told, as after `nohup`."""
        if self._drawn_on and not _terminal():
            self.calls.end()
            os._exit(128 + signal.SIGHUP)
        began = self.watcher.began
        if began and time.monotonic() - began > _SLOW:
            since = format_duration(time.monotonic() - began)
            self._say_head(Text(f"nothing new is known: the files have not answered for {since}", "red"))

    def _say_head(self, text: Text) -> None:
        self.query_one("#head", Said).say(text)

    def _failed(self, why: str) -> None:
        self._say_head(Text(f"nothing new is known: {clean(why)}", "red"))

    def _show(self, found: Overview) -> None:
        self.found = found
        self._say_head(_head(found, holding=self.watcher.holding))
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
            return ticket, run, tickets.owner
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
            self._tell(f"{name or 'that'} has no run yet", "warning")
            return
        log = Growing(self.workspace.ops_path("runs", run, "log"))
        self.push_screen(Pages(f"log of run {run}", log.lines, lambda: log.rest or "Esc closes"))

    def action_why(self) -> None:
        """Say why the chosen one waits, was refused or failed."""
        ticket, run, name = self.chosen()
        about = str(ticket) if ticket is not None else run if self.query_one(Tickets).has_focus else name
        if about:
            self._call("why", "--", about, then=lambda text: self._page(f"why {about}", text))

    def action_cancel(self) -> None:
        """Cancel the chosen ticket, once the user has said yes."""
        ticket, _, name = self.chosen()
        if ticket is None:
            self._tell(f"{name or 'that'} has no ticket", "warning")
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
            self._tell(f"{name or 'that'} has no ticket", "warning")
            return
        self._call("queue", "bump", str(ticket))

    def action_filter(self) -> None:
        self.query_one(Stream).ask()

    def action_unfilter(self) -> None:
        self.query_one(Stream).back()
        self.query_one(Tiles).focus()

    def action_hold(self) -> None:
        """Hold the picture, or let it go on."""
        self.watcher.holding = not self.watcher.holding
        if self.found is not None:
            self._say_head(_head(self.found, holding=self.watcher.holding))

    def action_sort(self) -> None:
        self.query_one(Tiles).reorder()

    def action_jump(self) -> None:
        """To the next workspace that does something, or whose last result is bad."""
        tiles = self.query_one(Tiles)
        tiles.focus()
        tiles.jump()

    def action_look(self) -> None:
        self.watcher.now()

    def action_keys(self) -> None:
        self._page("keys and marks", HELP)

    def _tell(self, text: str, severity: SeverityLevel = "information") -> None:
        """A notification; what is too long for one is a page."""
        if len(text) > 3 * self.size.width or text.count("\n") > self.size.height // 4:
            self._page("what it said", text)
        else:
            told = "\n".join(clean(line) for line in text.split("\n"))
            self.notify(told, severity=severity, timeout=5.0 if severity == "information" else 12.0, markup=False)

    def _call(self, *words: str, then: Callable[[str], None] | None = None) -> None:
        """Run a command of k1ctl, in a thread that nobody waits for, and tell what it said."""

        def call() -> None:
            said, severity = self.calls.run(words)
            if then is not None and said:
                self.call_later(then, said)
            else:
                self.call_later(self._tell, said or "done", severity)
            self.watcher.now()

        threading.Thread(target=call, daemon=True, name="k1ctl-top-call").start()

    def _page(self, title: str, text: str) -> None:
        width = max(20, self.size.width * 95 // 100 - 6)
        lines = [[part for line in text.rstrip().split("\n") for part in wrapped(clean(line), width)]]
        self.push_screen(Pages(title, lambda: lines.pop() if lines else []))


def _terminal() -> bool:
    """Whether keys come from a terminal that is still there: one that was closed is none any more."""
    return sys.__stdin__ is not None and os.isatty(sys.__stdin__.fileno())


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
