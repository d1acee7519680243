"""`k1ctl top`: what it draws and when, by textual's own driver; its keys; and a real terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from click.testing import CliRunner
from textual.pilot import Pilot
from textual.widgets import Input, RichLog, Static

from k1ctl import overview
from k1ctl.config import load
from k1ctl.errors import ConfigError
from k1ctl.events import emit
from k1ctl_plugins.top import top
from k1ctl_plugins.top.app import TopApp
from k1ctl_plugins.top.dialogs import Pages, Question
from k1ctl_plugins.top.panels import Panel, Tickets
from k1ctl_plugins.top.stream import Stream
from k1ctl_plugins.top.tiles import Tiles
from tests.kit import Project, finish, needs, run_screen, wait_until


@pytest.fixture
def busy(workspace: Project) -> Iterator[Project]:
    """Two worktrees: oslo has a lease, lima waits for it; both commands are ended."""
    for name in ("oslo", "lima"):
        workspace.add_worktree(name)
    started = [workspace.popen("queue", "run", "lamp", "--", "sleep", "600", cwd=workspace.worktree("oslo"))]
    try:
        wait_until(lambda: workspace.events("queue.granted"))
        started.append(workspace.popen("queue", "run", "lamp", "--", "true", cwd=workspace.worktree("lima")))
        wait_until(lambda: workspace.events("queue.enqueued"))
        yield workspace
    finally:
        for process in started:
            process.terminate()
        for process in started:
            finish(process)


def played(
    project: Project, play: Callable[[TopApp, Pilot[None]], Awaitable[None]], *, size: tuple[int, int] = (130, 40)
) -> None:
    """``k1ctl top`` under textual's driver; it looks only where an event tells of news."""
    facts = project.facts()
    app = TopApp(facts, lambda: overview.look(facts, load(facts)), interval=3600)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.looks)
            await play(app, pilot)

    run_screen(run())


async def until(pilot: Pilot[None], predicate: Callable[[], Any]) -> None:
    """Wait until it is so, for 20 s at most."""
    for _ in range(2000):
        if predicate():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not become so")


def drawn(tiles: Tiles) -> str:
    return "\n".join(tiles.render_line(y).text for y in range(tiles.size.height))


def text(app: TopApp, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


def test_what_is_drawn_follows_the_events(busy: Project) -> None:
    """Tiles, tickets and events of the first look; an event brings the next look, a hold keeps the picture."""

    async def play(app: TopApp, pilot: Pilot[None]) -> None:
        tiles, tickets, log = app.query_one(Tiles), app.query_one(Tickets), app.query_one(RichLog)
        assert [row["name"] for row in tiles.rows] == [busy.root.name, "lima", "oslo"]
        assert "running lamp" in (seen := drawn(tiles)) and "waits #1 lamp" in seen
        assert [str(cell) for cell in tickets.get_row_at(0)][:4] == ["1", "has", "oslo", "lamp"]
        assert [str(cell) for cell in tickets.get_row_at(1)][:4] == ["2", "#1", "lima", "lamp"]
        looks, lines = app.looks, len(log.lines)
        emit(busy.facts(), "lamp.lit", room="lab")
        await until(pilot, lambda: app.looks > looks and len(log.lines) == lines + 1)
        await pilot.press("p")
        assert "held" in text(app, "#head")
        looks = app.looks
        emit(busy.facts(), "lamp.lit", room="hall")
        await until(pilot, lambda: len(log.lines) == lines + 2)
        assert app.looks == looks
        await pilot.press("p")
        await until(pilot, lambda: app.looks > looks)
        await pilot.press("slash", *"room=hall")
        await until(pilot, lambda: len(log.lines) == 1)
        await pilot.press("escape")
        assert not app.query_one(Input).display and "hall" in str(app.query_one("#events").border_title)

    played(busy, play)


def test_keys_act_on_what_is_chosen(busy: Project) -> None:
    """l opens the log as it grows; c asks first and then cancels; b and what cannot be done are told; q ends."""
    run = busy.events("queue.granted")[0]["run"]

    async def play(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.press("l")  # the main checkout has no run yet
        assert app.screen is app.screen_stack[0]
        await pilot.press("end", "l")  # oslo
        assert isinstance(app.screen, Pages) and run in app.screen.title_text
        with (busy.ops / "runs" / run / "log").open("a") as log:
            log.write("it shines\n")
        await until(pilot, lambda: "it shines" in list(app.screen.query_one("#pages").lines))  # type: ignore[attr-defined]
        await pilot.press("escape", "tab", "down", "c")
        assert isinstance(app.screen, Question) and "ticket 2" in app.screen.text
        await pilot.press("n")
        assert not busy.events("queue.cancelled")
        await pilot.press("c", "y")
        await until(pilot, lambda: busy.events("queue.cancelled"))
        await until(pilot, lambda: app.query_one(Tickets).row_count == 1)
        await pilot.press("q")
        assert app.return_code == 0

    played(busy, play)


def test_the_newest_event_is_in_sight_from_the_beginning(workspace: Project) -> None:
    """What happened before the first picture ends with the last event, whatever room the tiles took meanwhile."""
    for number in range(100):
        emit(workspace.facts(), "lamp.lit", number=number)
    for name in ("oslo", "lima", "tide", "lava", "fern", "moss"):
        (workspace.root / ".git" / "worktrees" / name).mkdir(parents=True)
        (workspace.root / ".git" / "worktrees" / name / "gitdir").write_text(f"{workspace.root}/../{name}/.git\n")

    async def play(app: TopApp, pilot: Pilot[None]) -> None:
        log = app.query_one(RichLog)
        await until(pilot, lambda: len(log.lines) >= 100)
        await until(pilot, lambda: "number=99" in log.render_line(log.size.height - 1).text)

    played(workspace, play)


def test_a_narrow_screen_keeps_tiles_events_and_queue(busy: Project) -> None:
    """On 80x24 the other panels go; tiles, events and queue stay."""

    async def play(app: TopApp, pilot: Pilot[None]) -> None:
        assert not app.query_one("#host").display and not app.query_one("#slots", Panel).display
        assert all(app.query_one(name).size.height >= 2 for name in ("#tiles", "#events", "#tickets"))

    played(busy, play, size=(80, 24))


def test_a_look_that_fails_is_told_and_tried_again(workspace: Project) -> None:
    """A configuration that is being edited does not end it."""
    facts, broken = workspace.facts(), [True]

    def look() -> overview.Overview:
        if broken:
            broken.pop()
            raise ConfigError("k1ctl.toml is half written")
        return overview.look(facts, load(facts))

    async def run() -> None:
        app = TopApp(facts, look, interval=3600)
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "half written" in text(app, "#head"))
            emit(facts, "lamp.lit")
            await until(pilot, lambda: app.looks)
            assert "half written" not in text(app, "#head")

    run_screen(run())


def test_without_a_terminal_it_says_what_to_call(workspace: Project) -> None:
    """Exit 2, and the commands that print on anything."""
    done = workspace.run("top").assert_fails(2, "this is none")
    assert "k1ctl status --watch" in done.stderr
    assert CliRunner().invoke(top, ["--interval", "1ms"], obj=None).exit_code != 0


def test_without_textual_the_status_is_drawn_anew(workspace: Project) -> None:
    """One line says what is missing; ^C ends it with exit code 0."""
    program = "import sys; sys.modules['textual'] = None; sys.argv[1:] = ['top']; "
    program += "from k1ctl.__main__ import main; sys.exit(main())"
    environment = {**os.environ, "TERM": "xterm"}
    terminal = pexpect.spawn(
        sys.executable, ["-c", program], cwd=str(workspace.root), env=environment, encoding="utf-8", timeout=30
    )
    terminal.expect("pip install 'k1ctl\\[top\\]'")
    terminal.expect("all well")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_the_end_waits_for_no_look(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that hangs, as on a dead mount, is told, and holds up neither keys nor the end."""
    facts, go = workspace.facts(), threading.Event()
    monkeypatch.setattr("k1ctl_plugins.top.app._SLOW", 0.0)

    def look() -> overview.Overview:
        go.wait(60)
        return overview.look(facts, load(facts))

    async def run() -> None:
        app = TopApp(facts, look, interval=3600)
        async with app.run_test(size=(100, 30)) as pilot:
            await until(pilot, lambda: "have not answered" in text(app, "#head"))
            await pilot.press("question_mark")
            assert isinstance(app.screen, Pages)
            await pilot.press("ctrl+c")
            assert app.return_code == 0
        assert app.watcher.is_alive() and not go.is_set()
        go.set()
        app.watcher.join(20)

    run_screen(run())


def test_names_are_no_markup(workspace: Project) -> None:
    """Brackets in a workspace's name, a filter and an event are drawn as they are."""
    workspace.add_worktree("[red]x", branch="odd")

    async def play(app: TopApp, pilot: Pilot[None]) -> None:
        assert "[red]x" in drawn(app.query_one(Tiles))
        await pilot.press("slash", *"[/b]", "escape")
        assert app.query_one(Stream).wanted == "[/b]"
        await pilot.press("escape")
        assert not app.query_one(Stream).wanted
        await pilot.press("s", "n", "end", "l", "c", "b")
        app.push_screen(Pages("[/red]", list, lambda: "[/]"))
        await pilot.pause()
        app.push_screen(Question("[/red]?"))
        await pilot.pause()
        assert app.is_running

    played(workspace, play)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(workspace: Project, end: signal.Signals) -> None:
    """SIGTERM as q does, with its own code; SIGHUP, of a terminal that is gone, at once."""
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "k1ctl", "top"],
        cwd=str(workspace.root),
        env={**os.environ, "TERM": "xterm-256color"},
        encoding="utf-8",
        timeout=30,
        dimensions=(30, 160),
    )
    terminal.expect("all is well")
    terminal.kill(end)
    if end is signal.SIGTERM:
        terminal.expect(re.escape("\x1b[?1049l"))  # the screen of before is back
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, terminal.signalstatus) == ((143, None) if end is signal.SIGTERM else (None, end))


def test_a_terminal_that_is_gone_ends_it(workspace: Project) -> None:
    """Also where nobody is told by SIGHUP, as under nohup: it does not go on reading from nothing."""
    terminal = pexpect.spawn(
        "/bin/sh",
        ["-c", f"trap '' HUP; exec {sys.executable} -m k1ctl top"],
        cwd=str(workspace.root),
        env={**os.environ, "TERM": "xterm-256color"},
        timeout=30,
        dimensions=(30, 160),
    )
    terminal.expect("all is well")
    terminal.ptyproc.fileobj.close()
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 128 + signal.SIGHUP
    terminal.closed = terminal.ptyproc.closed = terminal.terminated = terminal.ptyproc.terminated = True


@needs("tmux")
def test_in_a_real_terminal(busy: Project, tmp_path: Path) -> None:
    """tmux shows the tiles; what happens is there without a key; q gives the terminal back and ends with 0."""
    tmux = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]

    def call(*words: str) -> str:
        return subprocess.run([*tmux, *words], capture_output=True, text=True, check=True).stdout

    shell = f"{sys.executable} -m k1ctl top; echo ended with $?; read line"
    call("new-session", "-d", "-x", "120", "-y", "40", "-c", str(busy.root), shell)
    try:
        wait_until(lambda: "running lamp" in call("capture-pane", "-p"))
        emit(busy.facts(), "lamp.lit", room="cellar")
        wait_until(lambda: "room=cellar" in call("capture-pane", "-p"))
        call("send-keys", "q")
        wait_until(lambda: "ended with 0" in call("capture-pane", "-p"))
    finally:
        pid = int(call("display-message", "-p", "#{pid}"))
        call("kill-server")
        wait_until(lambda: not os.path.exists(f"/proc/{pid}") if os.path.isdir("/proc") else True)
