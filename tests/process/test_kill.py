"""The kill matrix: whoever is struck, at whatever stage, nothing overlaps, nobody is stuck, nothing is torn."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.events import parse
from tests.kit import Project, finish, wait_until

ENV = {"K1CTL_PROCESS_GRACE": "400ms"}

# Uses the resource: proves that it is alone, says so, and works until it is told to end.
WORK = """
import fcntl, os, sys, time
name, end = sys.argv[1], sys.argv[2]
f = open("busy", "w")
try:
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open("overlap", "a").write(name + "\\n")
open("began." + name, "w").write(str(os.getpid()))
while not os.path.exists(end):
    time.sleep(0.01)
open("done." + name, "w").close()
"""


class Desk:
    """A repository whose runs all want one resource."""

    def __init__(self, project: Project) -> None:
        self.project, self.root = project, project.root
        (self.root / "now").touch()
        self.started: list[subprocess.Popen[Any]] = []

    def argv(self, name: str, end: str = "now", *options: str) -> list[str]:
        call = [sys.executable, "-m", "k1ctl", "queue", "run", "device:k1", *options]
        return [*call, "--", sys.executable, "-c", WORK, name, end]

    def start(self, name: str, end: str = "now", *options: str) -> subprocess.Popen[Any]:
        process = subprocess.Popen(
            self.argv(name, end, *options),
            cwd=self.root,
            env=self.project.environment(ENV),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.started.append(process)
        return process

    def record(self, name: str) -> dict[str, Any] | None:
        """The newest record of the run that this name was given to."""
        found = None
        for path in sorted((self.project.ops / "runs").glob("*/run.json")):
            record: dict[str, Any] = json.loads(path.read_text())
            if record["argv"][-2] == name:
                found = record
        return found

    def ticket(self, name: str) -> dict[str, Any] | None:
        from k1ctl.queue.view import entries

        rows = entries(str(self.project.ops / "queue"))
        return next((r for r in rows if f" {name} " in r.get("command", "").replace("\n", " ") + " "), None)

    def began(self, name: str) -> int:
        """Wait until the command of ``name`` works; its pid."""
        path = self.root / f"began.{name}"
        return int(wait_until(lambda: path.exists() and path.read_text()))

    def waits(self, name: str) -> dict[str, Any]:
        """Wait until ``name`` stands in line; its record."""
        return wait_until(lambda: (r := self.record(name)) and r["state"] == "waiting" and r.get("ticket") and r)

    def check(self) -> None:
        """A fresh run gets its turn; nothing overlapped; every record and event is whole."""
        fresh = self.start("fresh")
        assert finish(fresh) == 0
        assert not (self.root / "overlap").exists(), (self.root / "overlap").read_text()
        for path in (self.project.ops / "events").glob("*.jsonl"):
            assert [line for line in path.read_text().splitlines() if parse(line) is None] == []
        for path in (self.project.ops / "runs").glob("*/run.json"):
            json.loads(path.read_text())
        for process in self.started:
            if process.poll() is None:
                finish(process)


@pytest.fixture
def desk(workspace: Project) -> Desk:
    return Desk(workspace)


def gone(pid: int) -> Callable[[], bool]:
    """Whether the process does not run any more."""

    def check() -> bool:
        import psutil

        try:
            return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    return check


def strike(pid: int, how: str) -> None:
    """KILL at once, or after a stop of half a second."""
    if how == "stopped":
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)


def victim(desk: Desk, process: subprocess.Popen[Any], name: str, who: str) -> int:
    record = desk.record(name)
    assert record is not None
    return {"front": process.pid, "supervisor": record["supervisor"], "command": record.get("pid", 0)}[who]


@pytest.mark.parametrize("how", ["at once", "stopped"])
@pytest.mark.parametrize("who", ["front", "supervisor", "command"])
@pytest.mark.parametrize("rule", ["stop", "keep"])
def test_struck_while_running(desk: Desk, rule: str, who: str, how: str) -> None:
    """Whoever of a running run is killed: stopped or completed by its rule, never overlapped, and the next starts."""
    first = desk.start("one", "later", "--on-caller-exit", rule)
    command = desk.began("one")
    second = desk.start("two")
    desk.waits("two")

    strike(victim(desk, first, "one", who), how)

    if rule == "keep" and who != "command":
        os.kill(command, 0)
        (desk.root / "later").touch()
        wait_until((desk.root / "done.one").exists)
    wait_until(gone(command))
    assert finish(second) == 0
    assert (desk.root / "done.one").exists() == (rule == "keep" and who != "command")
    desk.check()


@pytest.mark.parametrize("how", ["at once", "stopped"])
@pytest.mark.parametrize("who", ["front", "supervisor", "both"])
def test_struck_while_waiting(desk: Desk, who: str, how: str) -> None:
    """A killed waiter keeps its place: the same call stands where it stood and is served before a later one."""
    desk.start("one", "later")
    desk.began("one")
    waiter = desk.start("two", "now", "--key", "mine")
    ticket = desk.waits("two")["ticket"]
    desk.start("three", "now")
    desk.waits("three")

    supervisor = victim(desk, waiter, "two", "supervisor")
    if who in ("front", "both"):
        strike(waiter.pid, how)
    if who in ("supervisor", "both") and not gone(supervisor)():
        strike(supervisor, how)
    if who != "supervisor":  # the call is gone: somebody calls again
        wait_until(gone(supervisor))
        waiter = desk.start("two", "now", "--key", "mine")
    record = wait_until(
        lambda: (r := desk.record("two")) and r["supervisor"] != supervisor and r.get("ticket") and r,
    )
    assert record["ticket"] == ticket
    (desk.root / "later").touch()

    assert finish(waiter) == 0
    order = [json.loads(p.read_text()) for p in (desk.project.ops / "runs").glob("*/run.json")]
    started = {r["argv"][-2]: r["monotonic"]["started"] for r in order if "started" in r.get("monotonic", {})}
    wait_until(lambda: (r := desk.record("three")) and r["state"] == "ended")
    third = desk.record("three")
    assert third is not None
    assert started["two"] < third["monotonic"]["started"]
    desk.check()


def test_the_whole_session_struck(desk: Desk) -> None:
    """Front end, supervisor and command killed together leave the resource to the next."""
    first = desk.start("one", "later")
    command = desk.began("one")
    second = desk.start("two")
    record = desk.record("one")
    assert record is not None

    for pid in (first.pid, record["supervisor"], command):
        os.kill(pid, signal.SIGKILL)

    assert finish(second) == 0
    desk.check()


@pytest.mark.parametrize("rule", ["stop", "keep"])
def test_stopped_the_way_conductor_does(desk: Desk, rule: str) -> None:
    """In a terminal of its own, SIGHUP and 200 ms later SIGKILL to the call: stopped or completed by its rule."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(desk.root)
        argv = desk.argv("one", "later", "--on-caller-exit", rule)
        os.execve(argv[0], argv, desk.project.environment(ENV))
    command = desk.began("one")
    second = desk.start("two")
    desk.waits("two")

    os.kill(child, signal.SIGHUP)
    time.sleep(0.2)  # what Conductor gives a script, not a wait for a condition
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.close(terminal)
    os.waitpid(child, 0)

    if rule == "keep":
        os.kill(command, 0)
        (desk.root / "later").touch()
    wait_until(gone(command))
    assert (desk.root / "done.one").exists() == (rule == "keep")
    assert finish(second) == 0
    desk.check()


def test_a_stopped_waiter_is_passed_and_keeps_its_place(desk: Desk) -> None:
    """SIGSTOP of the first in line's supervisor lets the second go after the stall time; CONT, and it has its turn."""
    desk.start("one", "later")
    desk.began("one")
    waiter = desk.start("two")
    supervisor = desk.waits("two")["supervisor"]
    third = desk.start("three")
    desk.waits("three")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        (desk.root / "later").touch()
        assert finish(third) == 0
        assert not (desk.root / "began.two").exists()
    finally:
        os.kill(supervisor, signal.SIGCONT)

    assert finish(waiter) == 0
    desk.check()


def test_children_without_the_descriptor_keep_the_lease(desk: Desk) -> None:
    """Supervisor and command killed, but a child that Python started (descriptor closed) works on: nobody overlaps."""
    code = f"import subprocess,sys; subprocess.run([sys.executable, '-c', {WORK!r}, 'child', 'later'])"
    call = [sys.executable, "-m", "k1ctl", "queue", "run", "device:k1", "--", sys.executable, "-c", code, "one", "x"]
    first = subprocess.Popen(call, cwd=desk.root, env=desk.project.environment(ENV), start_new_session=True)
    child = desk.began("child")
    record = desk.record("one")
    assert record is not None
    second = desk.start("two")
    desk.waits("two")

    os.kill(first.pid, signal.SIGSTOP)  # else it would tell the child to end
    for pid in (record["supervisor"], record["pid"], first.pid):
        os.kill(pid, signal.SIGKILL)
    finish(first)
    time.sleep(1.5)  # longer than a waiter takes to look again: it must not start
    assert not (desk.root / "began.two").exists()
    os.kill(child, 0)
    (desk.root / "later").touch()

    assert finish(second) == 0
    desk.check()


def test_git_clean_while_a_lease_is_held(desk: Desk, tmp_path: Path) -> None:
    """`git clean -fdx` takes the whole ops/ away: who runs ends well, who waits is served, the next call works."""
    first = desk.start("one", "later")
    desk.began("one")
    second = desk.start("two")
    desk.waits("two")

    desk.project.git("clean", "-fdxq", "-e", "later", "-e", "now", "-e", "busy", "-e", "began.*", "-e", "done.*")
    (desk.root / "later").touch()

    assert finish(first) == 0
    assert finish(second) == 0
    assert finish(desk.start("fresh")) == 0
