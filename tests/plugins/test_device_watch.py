"""`k1ctl device watch`: on a terminal, in a pipe and as JSON; resets that a run explains and those that none does."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pytest

from k1ctl.config import load
from k1ctl.device import health, resets
from k1ctl.device.verdict import HEALTH, INFO
from k1ctl.testing import SimulatedDevice
from k1ctl_plugins.device.watch import flow, show
from tests.kit import Project, finish

QUICK = '[device]\nwindow = "50ms"\n'
NOBODY = '[devices.gone]\nhost = "127.0.0.1"\nhttp_port = 9\n'


@pytest.fixture
def desk(workspace: Project, tmp_path: Path) -> Iterator[tuple[Project, SimulatedDevice]]:
    with SimulatedDevice(tmp_path / "sim", "uptime=1h") as device:
        workspace.configure(device.toml() + NOBODY + QUICK)
        yield workspace, device


class Watching:
    """A `device watch --jsonl` and what it has said so far."""

    def __init__(self, workspace: Project, *words: str) -> None:
        self.process = workspace.popen("device", "watch", *words, "--interval", "100ms", "--jsonl")
        self.lines: list[dict[str, Any]] = []

    def until(self, what: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The next line for which ``what`` is true."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
            if what(self.lines[-1]):
                return self.lines[-1]
        raise AssertionError(f"it ended: {self.lines}")

    def end(self) -> int:
        """^C."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        return finish(self.process)


def test_a_reset_past_the_queue_is_told(desk: tuple[Project, SimulatedDevice]) -> None:
    """Nobody had the device as it restarted: it says so, with an event, and counts it; ^C is exit 0."""
    workspace, device = desk
    watching = Watching(workspace)
    try:
        watching.until(lambda line: line["state"] == "online")
        device.device.restart()
        line = watching.until(lambda line: line["reset"])
    finally:
        code = watching.end()
    assert code == 0
    assert (line["device"], line["resets"], line["unexplained_resets"]) == ("k1", 1, 1)
    assert line["reset"]["explained_by"] == "" and "past the queue" in line["reset"]["message"]
    assert {each["state"] for each in watching.lines if each["device"] == "gone"} == {"offline"}
    (event,) = workspace.events("device.unexplained-reset")
    assert (event["device"], event["reset_at"]) == ("k1", line["reset"]["at"])


def look(workspace: Project, screen: flow.Screen, *names: str) -> None:
    """`device watch` in this process, until the screen has seen enough."""
    facts = workspace.facts()
    flow.watch(facts, load(facts, {}), names, interval=0.05, seconds=None, screen=screen)


class Until:
    """A screen that hands on what is shown, until ``enough`` of the devices: then it is ^C."""

    def __init__(self, enough: Callable[[Sequence[flow.Watched]], Any], screen: flow.Screen | None = None) -> None:
        self.enough, self.screen, self.shown = enough, screen, 0

    def show(self, all_of_them: Sequence[flow.Watched], new: flow.Watched) -> None:
        if self.screen is not None:
            self.screen.show(all_of_them, new)
        self.shown += 1
        if self.enough(all_of_them):
            raise KeyboardInterrupt


def test_a_reset_of_a_run_is_explained(desk: tuple[Project, SimulatedDevice], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the device through the queue may restart it: he is named, and there is no event."""
    workspace, device = desk
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(resets, "explanation", lambda *_: "repo: flash by hand")

    def restarted(watched: Sequence[flow.Watched]) -> bool:
        if not seen and watched[0].state == "online":
            device.device.restart()
        seen.append(watched[0].document())
        return bool(seen[-1]["reset"])

    look(workspace, Until(restarted), "k1")
    assert seen[-1]["reset"]["explained_by"] == "repo: flash by hand"
    assert (seen[-1]["resets"], seen[-1]["unexplained_resets"]) == (1, 0)
    assert workspace.events("device.unexplained-reset") == []


def test_a_board_that_did_not_say_who_it_is_did_not_restart(desk: tuple[Project, SimulatedDevice]) -> None:
    """Another uptime at its address may be another board's: only of the right one it is a reset."""
    workspace, device = desk
    facts = workspace.facts()
    settings, config = device.settings(), load(facts, {})
    watched = flow.Watched(settings)
    first = health.ask(facts, settings, window=0)
    watched.take(facts, config, first)
    routes = first["answers"]
    told = {**routes[HEALTH], "document": {**routes[HEALTH]["document"], "uptime_ms": 5}}
    limited = {"outcome": "limited", "code": "", "message": "", "hint": ""}
    for info, resets_seen in ((limited, 0), (routes[INFO], 1)):
        watched.take(facts, config, {**first, "answers": {HEALTH: told, INFO: info}})
        assert watched.state == "online" and watched.resets == resets_seen


def test_on_a_terminal(desk: tuple[Project, SimulatedDevice]) -> None:
    """One line a device, drawn over in place; a reset stays above them; ^C ends it with exit 0."""
    workspace, device = desk
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "k1ctl", "device", "watch", "--interval", "100ms"],
        cwd=str(workspace.root),
        env={**workspace.environment(), "TERM": "xterm", "NO_COLOR": "1"},
        encoding="utf-8",
        timeout=20,
        dimensions=(24, 60),
    )
    try:
        terminal.expect(r"k1: online, 150\.2 fps")
        terminal.expect(r"\x1b\[2A\rk1: online[^\n]*\x1b\[K\r\n\rgone: offline[^\n]*\x1b\[K\r\n")
        assert max(len(row) for row in terminal.after.replace("\x1b[K", "\n").split("\n")) <= 70
        device.device.restart()
        terminal.expect(r"\r\x1b\[J\S+ k1 restarted and nothing had it")
        terminal.expect(r"\rk1: online, 1 reset \(1 unexplained\), 150")
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)
    assert (terminal.exitstatus, terminal.signalstatus) == (0, None)
    assert "Traceback" not in str(terminal.before)


def test_in_a_pipe(desk: tuple[Project, SimulatedDevice], capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each device, and no further ones as long as nothing changes; --for ends it."""
    workspace, _ = desk
    screen = Until(lambda watched: screen.shown >= 4 and all(each.verdict for each in watched), show.Changes())
    look(workspace, screen)
    told = capsys.readouterr()
    assert sorted(line.split(" ", 1)[1].split(",")[0].split(" (")[0] for line in told.out.splitlines()) == [
        "gone: offline",
        "k1: online",
    ]
    assert "\x1b" not in told.out and told.err == ""
    assert workspace.run("device", "watch", "--for", "0").assert_ok().stdout == ""


def test_wrong_calls(workspace: Project) -> None:
    """No device at all, or one that is not configured, is 78."""
    workspace.run("device", "watch").assert_fails(78, "no device is configured")
    workspace.configure(NOBODY)
    workspace.run("device", "watch", "k9").assert_fails(78, "k9")
