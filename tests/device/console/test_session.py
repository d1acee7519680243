"""A console that stays open while its device moves from port to port, and what it keeps of it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tty
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device import port
from k1ctl.device.cable import Cable, CableLost
from k1ctl.device.console import dialogue as dialogues
from k1ctl.device.console import session as sessions
from k1ctl.device.console.backtrace import Explainer
from k1ctl.device.console.dialogue import Dialogue, Match, Step, expected, sent
from k1ctl.device.console.log import Log
from k1ctl.device.console.session import Session
from k1ctl.device.console.terminal import Keyboard, Screen
from k1ctl.device.usb import Port
from k1ctl.errors import BusyError, K1ctlError, UsageError
from k1ctl.workspace import Workspace

MAC = "02:4b:31:00:00:01"


class Board:
    """A terminal that stands for a board's port."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.port = Port(os.ttyname(slave), MAC)
        os.close(slave)

    def unplug(self) -> None:
        os.close(self.master)


class Console:
    """A session on boards that come and go."""

    def __init__(self, folder: Path) -> None:
        self.there: list[Port] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.folder = str(folder / "host")
        workspace = Workspace(str(folder), str(folder), "ada")
        self.log = Log(str(folder / "logs"), keep=5, limit=1 << 20)
        self.session = Session(
            {"name": "k1", "mac": MAC.upper()},
            self.log,
            Explainer(workspace, "k1"),
            what="a test",
            note=lambda event, **fields: self.events.append((event, fields)),
            folder=self.folder,
            lister=lambda: self.there,
        )

    def until(self, text: bytes) -> None:
        seen = b""
        while text not in seen:
            seen += self.session.pump(1)


def test_it_comes_back_on_another_path(tmp_path: Path) -> None:
    """A board that is unplugged is found again by its MAC, whatever its path is then, and beside a foreign board."""
    console, first, foreign = Console(tmp_path), Board(), Board()
    console.there = [first.port]
    console.session.open()
    os.write(first.master, b"one\n")
    console.until(b"one\n")
    console.there = []
    first.unplug()
    while not console.session.away:
        console.session.pump(1)
    assert not console.session.send(b"x")
    console.there = [foreign.port._replace(mac="02:4b:31:00:00:99")]
    console.session.pump(0)
    assert console.session.away
    again = Board()
    console.there.append(again.port)
    while console.session.away:
        console.session.pump(1)
    os.write(again.master, b"two\n")
    console.until(b"two\n")
    assert (
        console.session.path == again.port.path and console.session.send(b"key") and os.read(again.master, 9) == b"key"
    )
    console.session.close()
    assert Path(console.log.path).read_bytes() == b"one\ntwo\n"
    assert [name for name, _ in console.events] == [
        "console.opened",
        "console.lost",
        "console.resumed",
        "console.closed",
    ]
    assert console.events[-1][1]["bytes"] == 8
    for board in (foreign, again):
        board.unplug()


def test_a_program_took_the_port_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has the port when the device is back is named once and disturbed by nothing, and waited for."""
    monkeypatch.setattr(sessions, "BUSY", 0.02)
    console, board, again = Console(tmp_path), Board(), Board()
    said: list[str] = []
    console.session.say = said.append
    console.there = [board.port]
    console.session.open()
    console.there = [again.port]
    program = "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", program, again.port.path]
    other = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline()
    mine = os.open(again.port.path, os.O_RDWR | os.O_NOCTTY)  # to look at what the other has not read yet
    os.write(again.master, b"for the other")
    board.unplug()
    while f"(pid {other.pid})" not in console.session.away:
        console.session.pump(0.1)
    for _ in range(3):
        console.session.pump(0.05)
    assert len(said) == 2 and "in use by" in said[1] and os.read(mine, 99) == b"for the other"
    os.close(mine)
    other.communicate()
    while console.session.away:
        console.session.pump(0.1)
    console.session.close()
    again.unplug()


def test_a_flash_while_the_device_is_away(tmp_path: Path) -> None:
    """A console that waits for its device keeps nobody from the port, and takes it again afterwards."""
    console, board = Console(tmp_path), Board()
    console.there = [board.port]
    console.session.open()
    console.there = []
    board.unplug()
    while not console.session.away:
        console.session.pump(1)

    def meanwhile() -> None:
        console.session.pump(0)

    with port.borrowed(console.session.key, 5, folder=console.folder, check=meanwhile):
        console.session.pump(0)
        assert console.session.hold is None
    again = Board()
    console.there = [again.port]
    while console.session.away:
        console.session.pump(1)
    console.session.close()
    again.unplug()


def test_a_crash_loop_is_one_event_a_minute(tmp_path: Path) -> None:
    """The same panic again and again is told each time and noted once; another one is noted at once."""
    console, board = Console(tmp_path), Board()
    console.there = [board.port]
    console.session.open()
    text = b"abort() was called at PC 0x42001234 on core 1\r\nRebooting...\r\n"
    os.write(board.master, text * 3 + text.replace(b"1234", b"5678"))
    while len(console.session.explained) < 4:
        console.session.pump(1)
    console.session.close()
    noted = [fields["pc"] for name, fields in console.events if name == "device.panic"]
    assert noted == ["0x42001234", "0x42005678"]
    board.unplug()


def test_another_console_has_the_port(tmp_path: Path) -> None:
    """A console of another repository is named after the wait: port-busy."""
    console, board = Console(tmp_path), Board()
    console.there = [board.port]
    hold = port.take(port.key_of({"mac": MAC}), what="k1ctl device console k1", workspace="bob", folder=console.folder)
    assert hold is not None
    with pytest.raises(BusyError) as caught:
        console.session.open(0)
    assert caught.value.code == "port-busy" and "k1ctl device console k1 of bob" in caught.value.message
    hold.release()
    board.unplug()


def test_a_cable_that_is_gone(tmp_path: Path) -> None:
    """Every use of a port whose device is gone says so, and closing it is no failure."""
    board = Board()
    cable = Cable(board.port.path)
    board.unplug()
    with pytest.raises(CableLost):
        cable.receive(1)
    with pytest.raises(CableLost):
        cable.send(b"x" * 100_000)
    cable.close()
    cable.close()


def test_a_screen_that_takes_nothing() -> None:
    """What a reader does not take waits, up to a megabyte; then the oldest is dropped, and counted."""
    reading, writing = os.pipe()
    screen = Screen(writing)
    screen.show(b"x" * 2_000_000)
    taken = 2_000_000 - len(screen.waiting) - screen.dropped
    assert screen.dropped > 0 and 0 < len(screen.waiting) <= 1 << 20
    os.set_blocking(reading, False)
    assert len(os.read(reading, 1 << 20)) == taken
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        screen.finish()
    os.close(writing)


def test_a_reader_that_stands_still_keeps_nobody() -> None:
    """A console told to end gives up what is not taken, and counts it; a terminal that hung up is no failure."""
    reading, writing = os.pipe()
    screen = Screen(writing)
    screen.show(b"x" * 500_000)
    left = len(screen.waiting)
    screen.finish(0.01)
    assert 0 < screen.dropped <= left and not screen.waiting
    os.close(reading)
    os.close(writing)
    master, slave = os.openpty()
    os.close(master)
    screen = Screen(slave)
    screen.show(b"x")
    screen.finish()
    assert screen.gone
    os.close(slave)


def test_what_the_screen_answered_is_no_input() -> None:
    """A device may ask the terminal where its cursor is; what is left of the answers is not for the shell."""
    master, slave = os.openpty()
    with Keyboard(slave):
        os.write(master, b"\x1b[1;1R")
        assert select.select([slave], [], [], 5)[0]
    tty.setcbreak(slave)
    assert not select.select([slave], [], [], 0)[0]
    os.close(master)
    os.close(slave)


def test_a_flood_of_panics(tmp_path: Path) -> None:
    """However many panics a device makes up: all are counted, a thousand kept, some explained, a few noted."""
    console, board = Console(tmp_path), Board()
    console.there = [board.port]
    asked: list[bool] = []
    known = console.session.explainer.start
    console.session.explainer.start = lambda panic, now=False: asked.append(now) or known(panic, now=now)  # type: ignore[func-returns-value,method-assign]
    console.session.open()
    text = b"".join(b"abort() was called at PC 0x%08x on core 0\nRebooting...\n" % at for at in range(1200))
    left = memoryview(text)
    with console.session.explainer.lock:  # an addr2line that takes its time
        while console.session.reader.count < 1200:
            if left and select.select([], [board.master], [], 0)[1]:
                left = left[os.write(board.master, left[:2000]) :]
            console.session.pump(0.01)
        assert asked.count(False) == 32
    console.session.close()
    assert len(console.session.reader.panics) == 1000 == len(console.session.explained)
    assert len([name for name, _ in console.events if name == "device.panic"]) == 30
    assert console.events[-1][1]["panics"] == 1200
    board.unplug()


def test_a_panic_ends_with_the_port(tmp_path: Path) -> None:
    """A panic whose end a flash kept from us, or a device that is gone, is told at once, and not taken for what comes
    after it."""
    console, board = Console(tmp_path), Board()
    console.there = [board.port]
    console.session.open()
    os.write(board.master, b"abort() was called at PC 0x42001234 on core 1\n")
    console.until(b"core 1\n")

    def meanwhile() -> None:
        console.session.pump(0.2)

    with port.borrowed(console.session.key, 5, folder=console.folder, check=meanwhile):
        assert console.session.reader.count == 1
        error = console.session.gone()
        assert "lent to" in error.message and "plugged" not in error.hint
    console.session.close()
    board.unplug()


def test_an_expression_that_takes_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expression that tries all of many ways is given up past its limit, and named."""
    monkeypatch.setattr(dialogues, "_GRACE", -4.9)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(UsageError) as caught:
        dialogue(Console(tmp_path), Board(), expected("(a+)+$"), pieces=[b"a" * 40 + b"b\n"])
    assert caught.value.code == "bad-expression" and signal.getsignal(signal.SIGALRM) == before


def dialogue(console: Console, board: Board, *steps: Step, pieces: list[bytes]) -> list[Match]:
    """What is seen by these steps while the board says ``pieces``, each as soon as the one before was read."""
    console.there = [board.port]
    console.session.open()
    reading, writing = os.pipe()
    left = iter(pieces)

    def show(data: bytes) -> None:
        if data:
            os.write(board.master, next(left, b""))

    os.write(board.master, next(left))
    try:
        return Dialogue(console.session, show, reading).run(steps, 5)
    finally:
        console.session.close()
        board.unplug()
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("cut", [3, 8, 12, 14])
def test_half_a_word_is_not_seen(tmp_path: Path, cut: int) -> None:
    """Where a packet ends within a line its rest is waited for, so that an expression sees whole words."""
    line = b"build 12345678\r\n"
    found = dialogue(Console(tmp_path), Board(), expected(r"build (\S+)"), pieces=[line[:cut], line[cut:]])
    assert found[0].groups == ("12345678",)


@pytest.mark.parametrize(
    ("expect", "code"), [(["k1>"], "device-panic"), (["Rebooting"], ""), (["Guru", "k1>"], ""), (["PC +:", "k1>"], "")]
)
def test_which_start_says_it(tmp_path: Path, expect: list[str], code: str) -> None:
    """What comes after a panic that nobody asked for is not seen, also in one piece: another start said it."""
    text = b"Guru Meditation Error: Core  0 panic'ed (LoadProhibited).\nPC      : 0x40000000\nRebooting...\nk1> "
    steps = [expected(text) for text in expect]
    if not code:
        assert len(dialogue(Console(tmp_path), Board(), *steps, pieces=[text])) == len(expect)
        return
    with pytest.raises(K1ctlError) as caught:
        dialogue(Console(tmp_path), Board(), *steps, pieces=[text])
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("m", b"m"),
        (r"\r\n\t\e\0", b"\r\n\t\x1b\0"),
        (r"\x41\xff", b"A\xff"),
        (r"a\\n", b"a\\n"),
        ("\u00e9", b"\xc3\xa9"),
    ],
)
def test_what_is_sent(text: str, data: bytes) -> None:
    """Escapes are what they stand for, all else is UTF-8."""
    assert sent(text).send == data
