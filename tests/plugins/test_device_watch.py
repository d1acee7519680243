"""`k1ctl device watch`: on a terminal, in a pipe and as JSON; resets that a run explains and those that none does."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from k1ctl.testing import SimulatedDevice
from tests.kit import Project, finish, wait_until

QUICK = '[device]\nwindow = "100ms"\n'
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


def test_a_reset_of_a_run_is_explained(desk: tuple[Project, SimulatedDevice]) -> None:
    """Whoever has the device through the queue may restart it: he is named, and there is no event."""
    workspace, device = desk
    holder = workspace.popen("queue", "run", "device:k1", "--label", "flash by hand", "--", "sleep", "60")
    watching = Watching(workspace, "k1")
    try:
        wait_until(lambda: workspace.run("queue", "list", "--json").json["tickets"])
        watching.until(lambda line: line["state"] == "online")
        device.device.restart()
        line = watching.until(lambda line: line["reset"])
    finally:
        holder.terminate()
        holder.communicate()
        finish(holder)
        watching.end()
    assert line["reset"]["explained_by"] == "repo: flash by hand"
    assert (line["resets"], line["unexplained_resets"]) == (1, 0)
    assert workspace.events("device.unexplained-reset") == []


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


def test_in_a_pipe(desk: tuple[Project, SimulatedDevice]) -> None:
    """A line for each device, and no further ones as long as nothing changes; --for ends it."""
    workspace, _ = desk
    outcome = workspace.run("device", "watch", "--interval", "100ms", "--for", "0.7s").assert_ok()
    lines = outcome.stdout.splitlines()
    assert sorted(line.split(" ", 1)[1].split(",")[0].split(" (")[0] for line in lines) == [
        "gone: offline",
        "k1: online",
    ]
    assert "\x1b" not in outcome.stdout and outcome.stderr == ""


def test_wrong_calls(workspace: Project) -> None:
    """No device at all, or one that is not configured, is 78; a wrong duration is 2."""
    workspace.run("device", "watch").assert_fails(78, "no device is configured")
    workspace.configure(NOBODY)
    workspace.run("device", "watch", "k9").assert_fails(78, "k9")
    workspace.run("device", "watch", "--for", "soon").assert_fails(2)
