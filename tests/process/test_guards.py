"""A device is guarded host-wide, whatever the command and whichever the repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.kit import Project, finish, wait_until

DEVICE = '[devices.k1]\nhost = "127.0.0.1"\nmac = "02:4B:31:00:00:01"\n'
HOLD = ("--", "sh", "-c", "touch began; while ! test -e go; do sleep 0.02; done")


@pytest.fixture
def pair(make_workspace: Callable[..., Project]) -> tuple[Project, Project]:
    """Two repositories on one host that know the same device, the second under another name."""
    one, two = make_workspace("one"), make_workspace("two")
    one.configure(DEVICE)
    two.configure(DEVICE.replace("devices.k1", "devices.desk").replace("02:4B", "02:4b"))
    return one, two


def hold(project: Project, *options: str) -> subprocess.Popen[str]:
    process = project.popen("queue", "run", "device:k1", *options, *HOLD)
    wait_until((project.root / "began").exists)
    return process


def test_another_repository_waits(pair: tuple[Project, Project]) -> None:
    """While one repository's command has the device, the other's does not start; the refusal names the holder."""
    one, two = pair
    process = hold(one)

    refused = two.run("queue", "run", "device:desk", "--wait", "300ms", "--", "true")
    refused.assert_fails(75, "held by", str(one.root))
    waiter = two.popen("queue", "run", "device:desk", "--", "true")
    (one.root / "go").touch()

    assert finish(process) == 0
    assert finish(waiter) == 0


def test_waiting_for_the_other_repository_can_be_cancelled(pair: tuple[Project, Project]) -> None:
    """`queue cancel` and ^C end the wait for a guard: nothing was begun."""
    one, two = pair
    process = hold(one)
    for end in ("cancel", "interrupt"):
        waiter = two.popen("queue", "run", "device:desk", "--", "touch", "wrong")
        assert waiter.stderr is not None
        assert "held by" in waiter.stderr.readline()
        if end == "cancel":
            (ticket,) = two.run("queue", "list", "--json").json["tickets"]
            two.run("queue", "cancel", str(ticket["ticket"])).assert_ok()
        else:
            waiter.send_signal(signal.SIGINT)
        assert finish(waiter) == (143 if end == "cancel" else 130)
    (one.root / "go").touch()
    finish(process)
    assert not (two.root / "wrong").exists()


def test_a_command_that_outlives_its_supervisor_keeps_the_guard(pair: tuple[Project, Project]) -> None:
    """The supervisor is killed: the device stays guarded until the command ends."""
    one, two = pair
    process = hold(one, "--on-caller-exit", "keep")
    (ticket,) = one.run("queue", "list", "--json").json["tickets"]
    os.kill(ticket["pid"], signal.SIGKILL)

    assert two.run("queue", "run", "device:desk", "--wait", "300ms", "--", "true").exit_code == 75
    (one.root / "go").touch()

    two.run("queue", "run", "device:desk", "--wait", "20s", "--", "true").assert_ok()
    assert finish(process) == 76


def test_a_nested_run_is_covered(pair: tuple[Project, Project]) -> None:
    """A command under the guard may run k1ctl for the same device again."""
    inner = f"{sys.executable} -m k1ctl queue run device:k1 --wait 5s -- echo inner"

    assert pair[0].run("queue", "run", "device:k1", "--", "sh", "-c", inner).assert_ok().stdout == "inner\n"


def test_a_daemon_left_behind_does_not_keep_the_guard(pair: tuple[Project, Project]) -> None:
    """A process that left the group inherited the descriptor; the guard is free all the same."""
    one, two = pair
    code = (
        "import os, time\nif os.fork() == 0:\n os.setsid(); open('pid', 'w').write(str(os.getpid())); time.sleep(60)\n"
    )
    one.run("queue", "run", "device:k1", "--", sys.executable, "-c", code).assert_ok()
    pid = int(wait_until(lambda: (one.root / "pid").exists() and (one.root / "pid").read_text()))
    try:
        two.run("queue", "run", "device:desk", "--wait", "5s", "--", "true").assert_ok()
    finally:
        os.kill(pid, signal.SIGKILL)
