"""Process groups: who in one lives, told without a wrong answer for the dying, the dead and the reused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from k1ctl import groups
from tests import kit


def start(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, process_group=0)


def test_a_group_lives_while_one_member_does() -> None:
    """The leader may end first."""
    since = groups.stamp()
    leader = start("sh", "-c", "sleep 60 & exit 0")
    leader.wait()
    assert len(groups.members(leader.pid)) == 1
    assert groups.lives(leader.pid, since)
    assert groups.send(leader.pid, signal.SIGKILL)
    kit.wait_until(lambda: not groups.members(leader.pid))
    assert not groups.lives(leader.pid, since)


def test_a_killed_process_does_not_live() -> None:
    """A zombie that nobody reaps still has its number, but nobody lives in the group."""
    since = groups.stamp()
    process = start("sleep", "60")
    assert groups.members(process.pid) == [process.pid]
    process.kill()
    kit.wait_until(lambda: not groups.members(process.pid))
    assert groups.exists(process.pid)
    assert not groups.lives(process.pid, since)
    process.wait()
    assert not groups.exists(process.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="pthread_exit of the first thread")
def test_a_process_lives_while_one_thread_does() -> None:
    """The first thread may end before the others; the kernel then shows the process as a zombie."""
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(0)\n"
    )
    process = start(sys.executable, "-c", code)

    def state() -> str:
        with open(f"/proc/{process.pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0]

    kit.wait_until(lambda: state() == "Z")
    assert groups.members(process.pid) == [process.pid]
    process.kill()
    process.wait()


def test_a_reused_number_is_not_the_old_group() -> None:
    """A leader that started after the group, or a boot after it, is somebody else's."""
    process = start("sleep", "60")
    try:
        assert groups.lives(process.pid, groups.stamp())
        assert not groups.lives(process.pid, {k: v - 100 for k, v in groups.stamp().items()})
        assert not groups.lives(process.pid, {"started": 1.0})
    finally:
        process.kill()
    process.wait()


def test_our_own_group_is_never_signalled() -> None:
    """0 and 1 mean other things to the kernel."""
    assert not groups.send(0, signal.SIGKILL)
    assert not groups.send(1, signal.SIGKILL)
    assert groups.exists(os.getpgrp())
