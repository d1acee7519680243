"""`k1ctl top`: what it draws and when, by textual's own driver; its keys; and a real terminal."""

from __future__ import annotations

import asyncio
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
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Input, RichLog, Static

from k1ctl import overview
from k1ctl.config import load
from k1ctl.errors import ConfigError
from k1ctl.events import emit
from k1ctl_plugins.top import top
from k1ctl_plugins.top.app import TopApp
from k1ctl_plugins.top.calls import Calls
from k1ctl_plugins.top.dialogs import Growing, Pages, Question, readable, wrapped
from k1ctl_plugins.top.panels import Panel, Tickets, graph
from k1ctl_plugins.top.stream import Stream, matches
from k1ctl_plugins.top.tiles import ORDERS, Tiles, layout, ordered, stands_out, tile
from tests.kit import Project, finish, needs, wait_until

ROW: dict[str, Any] = {
    "name": "oslo",
    "branch": "oslo",
    "state": "idle",
    "missing": False,
    "current": False,
    "doing": [],
    "idle_seconds": 61.0,
    "build": {"result": "done", "age_seconds": 5.0, "run": "r1", "at": "2026-01-01T00:00:00.000Z"},
    "upload": {"result": "failed", "age_seconds": 90.0, "run": "r0", "at": "2025-12-31T00:00:00.000Z"},
}


@given(st.integers(0, 400), st.integers(1, 250), st.integers(1, 90))
def test_tiles_fit_where_they_can(count: int, width: int, height: int) -> None:
    """All of them have their place where tiles of the smallest size have; none is wider than the screen."""
    across, columns, lines = layout(count, width, height)
    assert across >= 1 and lines >= 1 and across * columns <= max(width, 14)
    if -(-count // max(1, width // 14)) <= height:
        assert -(-count // across) * lines <= height


@given(st.text(max_size=40), st.integers(8, 40), st.integers(1, 3))
def test_a_tile_fills_its_place(name: str, columns: int, lines: int) -> None:
    """Whatever a workspace is called, its tile has the lines and columns it was given, and no control character."""
    drawn = tile({**ROW, "name": name}, columns, lines)
    assert len(drawn) == lines
    assert all(line.cell_len == columns and not set(line.plain) & set("\n\r\x1b\t") for line in drawn)


@given(st.lists(st.floats(0, 1000)), st.integers(1, 60))
def test_a_graph_is_as_wide_as_it_was_told(values: list[float], width: int) -> None:
    """One block a value, the last ones; nothing is blank but nothing at all."""
    drawn = graph(values, width)
    assert len(drawn) == width
    assert [block == " " for block in drawn[::-1][: len(values)]] == [not v for v in values[::-1][:width]]


def test_a_filter_takes_names_words_and_their_opposite() -> None:
    """Globs of the name, parts of the line, and ! before either."""
    event = {"at": "2026-01-01T00:00:00.000Z", "event": "queue.granted", "workspace": "oslo", "run": "r1"}
    assert all(matches(event, wanted) for wanted in ("", "queue.*", "oslo r1", "!lima", "QUEUE.* !upload.*"))
    assert not any(matches(event, wanted) for wanted in ("upload.*", "oslo lima", "!queue.*", "queue.* !r1"))


def test_a_log_is_read_as_it_grows(tmp_path: Path) -> None:
    """Whole lines, each once, from the last 128 KiB on; a file made anew is read from its beginning."""
    path = tmp_path / "log"
    log = Growing(str(path))
    assert log.lines() == []
    path.write_bytes(b"x" * 50 + b"\n" + (b"y" * 99 + b"\n") * 2000 + b"to")
    first = log.lines()
    assert len(first) == 1310 and set(first) == {"y" * 99}
    with path.open("ab") as file:
        file.write(b"rn\x1b[2J\n")
    (torn,) = log.lines()
    assert torn == "torn" and log.lines() == [] and log.rest == ""
    path.write_bytes(b"new\nhalf")
    assert log.lines() == ["new"] and log.rest == "half"
    with path.open("r+b") as file:  # 100 MB at once: the end of it is read
        file.truncate(100 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\nend\n")
    assert log.lines() == ["end"]


def test_a_line_of_a_log_is_read_as_a_terminal_leaves_it() -> None:
    """Without colours, titles and links; of a progress bar the last state; tabs are spaces."""
    assert readable(b"\x1b[1;32mok\x1b[0m\tin\x1b[K 3 s\r") == "ok      in 3 s"
    assert readable(b"\rWriting 1 %\rWriting \x1b[33m100 %\r") == "Writing 100 %"
    assert readable(b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \xff\x00") == "link \ufffd?"


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Zs", "Zl", "Zp"]), max_size=200), st.integers(10, 60))
def test_prose_keeps_its_words(text: str, width: int) -> None:
    """Every character is somewhere, and an empty line stays one."""
    lines = wrapped(text, width)
    assert "".join(lines) == text and max(map(len, lines)) <= width and lines
    assert wrapped("", width) == [""]


def test_what_stands_out_is_told_without_colours() -> None:
    """Signs of the last build and upload, narrow ones too; the orders; nothing where there was nothing."""
    assert tile(ROW, 26, 3)[0].plain.endswith("B+U! ") and tile(ROW, 14, 2)[0].plain.endswith("+! ")
    idle = {**ROW, "name": "lima", "build": None, "upload": None, "idle_seconds": 1.0}
    busy = {**idle, "name": "rome", "state": "waiting", "doing": [{"state": "waiting"}], "idle_seconds": 0.0}
    assert [stands_out(row) for row in (ROW, idle, busy)] == [True, False, True]
    waits = {**busy, "doing": [{"state": "waiting", "position": 3, "resources": ["lamp"], "seconds": 1.0}]}
    assert tile(waits, 14, 1)[0].plain == "rome       #3 "
    assert not set(tile(idle, 26, 3)[0].plain) & set("BU·")
    names = [[row["name"] for row in ordered([idle, ROW, busy], order)] for order in ORDERS]
    assert names == [["lima", "oslo", "rome"], ["rome", "oslo", "lima"], ["rome", "lima", "oslo"]]


def test_no_command_is_left_behind(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is told with its hint; at the end what only looks is ended, and what changes something has its time."""
    said, severity = Calls(workspace.facts()).run(("queue", "cancel", "99"))
    assert severity == "error" and "99" in said and "hint: " in said
    program = tmp_path / "k1ctl"
    program.write_text('#!/bin/sh\necho $$ > "$0.$5"\n[ "$5" = queue ] || exec sleep 600\nsleep 0.2; echo did it\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    calls, found = Calls(workspace.facts()), dict[str, str]()
    words = [("why", "oslo"), ("queue", "cancel", "1")]
    threads = [threading.Thread(target=lambda w=w: found.update({w[0]: calls.run(w)[0]})) for w in words]
    for thread in threads:
        thread.start()
    wait_until(lambda: all((tmp_path / f"k1ctl.{each[0]}").exists() for each in words))
    calls.end()
    for thread in threads:
        thread.join()
    assert found == {"why": "", "queue": "did it"} and calls.run(("why", "x")) == ("", "information")


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

    asyncio.run(run())


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

    asyncio.run(run())


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

    asyncio.run(run())


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
