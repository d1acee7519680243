"""Interactive run targets: in the terminal's foreground, as this very process, with the lease held by a supervisor."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.queue.view import entries
from tests.kit import Project, wait_until

# Writes down who and where it is, says hello on its terminal, and works until it is told to end.
WORK = """
import json, os, signal, sys, time
facts = {
    "pid": os.getpid(), "foreground": os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp(), "cwd": os.getcwd(),
    "words": sys.argv[1:], "leases": os.environ.get("K1CTL_LEASES", ""),
}
signal.signal(signal.SIGINT, lambda *_: sys.exit(33))
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in sys.argv and os.fork() == 0:
    os.setsid()
    open("child", "w").write(str(os.getpid()))
    while not os.path.exists("end"):
        time.sleep(0.01)
    os._exit(0)
open("facts.new", "w").write(json.dumps(facts))
os.rename("facts.new", "facts")
while not os.path.exists("end"):
    time.sleep(0.01)
sys.exit(7)
"""


class Terminal:
    """A repository and calls of `hook run` in a pseudo terminal of their own, as Conductor makes them."""

    def __init__(self, project: Project) -> None:
        self.project, self.root = project, project.root
        self.calls: list[tuple[int, int]] = []
        project.write("work.py", WORK)
        command = f'command = ["{sys.executable}", "work.py", "word"]\ninteractive = true\n'
        project.configure(
            '[process]\ngrace = "500ms"\n'
            f'[run_targets.work]\n{command}resources = ["console:k1"]\n'
            f"[run_targets.free]\n{command}"
            '[run_targets.gone]\ncommand = ["./gone"]\ninteractive = true\nresources = ["console:k1"]\n'
        )

    def call(self, *words: str) -> int:
        """Start `hook run WORDS`; its pid."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.root)
            argv = [sys.executable, "-m", "k1ctl", "hook", "run", *words]
            os.execve(argv[0], argv, self.project.environment())
        self.calls.append((pid, terminal))
        return pid

    def facts(self) -> dict[str, Any]:
        """What the command wrote down, once it works."""
        path = self.root / "facts"
        found: dict[str, Any] = wait_until(lambda: path.exists() and json.loads(path.read_text()))
        return found

    def end(self, pid: int) -> int:
        """The exit code of a call (negative: the signal), once it ended."""
        (terminal,) = [fd for number, fd in self.calls if number == pid]
        self.calls.remove((pid, terminal))
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status)

    def leases(self) -> list[dict[str, Any]]:
        return [e for e in entries(str(self.project.ops / "queue")) if e["state"] == "running"]

    def free(self) -> bool:
        """The resource can be had by the next."""
        return self.project.run("queue", "run", "console:k1", "--wait", "0", "--", "true").exit_code == 0


@pytest.fixture
def terminal(workspace: Project) -> Iterator[Terminal]:
    made = Terminal(workspace)
    yield made
    (made.root / "end").touch()
    for pid, _ in list(made.calls):
        os.kill(pid, signal.SIGKILL)
        made.end(pid)


@pytest.mark.parametrize("name", ["work", "free"])
def test_the_command_is_the_call(terminal: Terminal, name: str) -> None:
    """Its pid, its terminal, its foreground, its status: nobody stands between; what it holds is seen in the queue."""
    pid = terminal.call(name, "more")
    facts = terminal.facts()
    assert facts["pid"] == pid and facts["foreground"]
    assert facts["cwd"] == str(terminal.root) and facts["words"] == ["word", "more"]
    held = terminal.leases()
    assert [(e["label"], e["resources"]) for e in held] == [("hook run work", {"console:k1": 1})] * (name == "work")
    assert bool(facts["leases"]) == (name == "work")
    if name == "work":
        assert not terminal.free()
        assert f" {held[0]['run']} " in f" {facts['leases']} "
        record = json.loads((terminal.project.ops / "runs" / held[0]["run"] / "run.json").read_text())
        assert record["details"]["interactive"] and record["details"]["pid"] == pid
    (terminal.root / "end").touch()
    assert terminal.end(pid) == 7
    wait_until(terminal.free)


def test_the_keyboard_reaches_the_command(terminal: Terminal) -> None:
    """^C typed in the terminal is the command's own to answer."""
    pid = terminal.call("work")
    terminal.facts()
    os.write(terminal.calls[0][1], b"\x03")
    assert terminal.end(pid) == 33
    wait_until(terminal.free)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_killed_it_leaves_nothing_held(terminal: Terminal, number: signal.Signals) -> None:
    """Conductor's way to stop a script ends the command itself, and the next one has its turn."""
    pid = terminal.call("work")
    terminal.facts()
    os.kill(pid, number)
    assert terminal.end(pid) == -number
    wait_until(terminal.free)


def test_a_child_that_works_on_keeps_the_lease(terminal: Terminal) -> None:
    """The command is killed; what it started still has the device open, and so the lease, until it ends."""
    pid = terminal.call("work", "child")
    terminal.facts()
    wait_until((terminal.root / "child").exists)
    os.kill(pid, signal.SIGKILL)
    terminal.end(pid)
    assert not terminal.free() and len(terminal.leases()) == 1
    (terminal.root / "end").touch()
    wait_until(terminal.free)


@pytest.mark.parametrize("words", [(), ("deaf",)])
def test_a_cancelled_lease_ends_the_command_first(terminal: Terminal, words: tuple[str, ...]) -> None:
    """`queue cancel` tells it to end, kills it where it does not listen, and only then is the lease free."""
    pid = terminal.call("work", *words)
    terminal.facts()
    ticket = str(terminal.leases()[0]["ticket"])
    terminal.project.run("queue", "cancel", ticket).assert_ok()
    assert terminal.end(pid) == -(signal.SIGKILL if words else signal.SIGTERM)
    wait_until(terminal.free)


def test_its_supervisor_is_no_single_point(terminal: Terminal) -> None:
    """The supervisor is killed: the command works on and keeps what it holds."""
    pid = terminal.call("work")
    terminal.facts()
    os.kill(terminal.leases()[0]["pid"], signal.SIGKILL)
    assert not terminal.free()
    (terminal.root / "end").touch()
    assert terminal.end(pid) == 7
    wait_until(terminal.free)


def test_it_waits_in_line_and_is_left_at_once(terminal: Terminal) -> None:
    """Behind another one it waits; a hang-up ends the wait, its place is parked, and nothing was begun."""
    first = terminal.call("work")
    terminal.facts()
    second = terminal.call("work", "second")
    wait_until(lambda: [e for e in entries(str(terminal.project.ops / "queue")) if e["state"] == "waiting"])
    os.kill(second, signal.SIGHUP)
    assert terminal.end(second) == -signal.SIGHUP
    wait_until(lambda: [e for e in entries(str(terminal.project.ops / "queue")) if e["state"] == "parked"])
    (terminal.root / "end").touch()
    assert terminal.end(first) == 7
    assert terminal.facts()["pid"] == first


@pytest.mark.parametrize("resources", ["", 'resources = ["console:k1"]\n'])
def test_signals_mean_what_they_mean_elsewhere(workspace: Project, resources: str) -> None:
    """Python ignores SIGPIPE; the command must not inherit that."""
    workspace.configure(
        '[run_targets.x]\ncommand = ["sh", "-c", "kill -s PIPE $$; exit 3"]\ninteractive = true\n' + resources
    )
    assert workspace.run("hook", "run", "x").exit_code == -signal.SIGPIPE


def test_a_command_that_cannot_be_started(terminal: Terminal, tmp_path: Path) -> None:
    """Its interpreter is missing: 127 and the reason, and the lease is given back."""
    terminal.project.write("gone", "#!/no/such/interpreter\n").chmod(0o755)
    terminal.project.run("hook", "run", "gone").assert_fails(127, "gone", "first line")
    wait_until(terminal.free)
    terminal.project.run("hook", "run", "--result", "x", "work").assert_fails(2, "interactive")
