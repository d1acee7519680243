"""Who lives in a process group or a session: the dead do not count, the dying only until they are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from k1ctl import groups
from tests.kit import finish, wait_until


@contextmanager
def script(text: str) -> Iterator[subprocess.Popen[str]]:
    """A shell in a session of its own that has said its first line; everything in its session is killed at the end."""
    process = subprocess.Popen(["sh", "-c", text], start_new_session=True, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        for pid in groups.in_session(process.pid):
            os.kill(pid, signal.SIGKILL)
        finish(process)


def test_members_live(environment: dict[str, str]) -> None:
    """The members are those that live; a zombie keeps the group known to the kernel, but is no member."""
    with script("sleep 60 & echo up; wait") as process:
        assert groups.exists(process.pid)
        assert len(groups.members(process.pid)) == 2
        assert groups.send(process.pid, signal.SIGKILL)
        wait_until(lambda: groups.members(process.pid) == [])
        assert not groups.living(process.pid)
        assert process.poll() is not None
        wait_until(lambda: not groups.exists(process.pid))
        assert not groups.send(process.pid, signal.SIGKILL)


def test_no_signal_for_everybody() -> None:
    """Groups 0, 1 and below are nobody's: a damaged number never reaches our own group or all processes."""
    for group in (0, 1, -1):
        assert not groups.send(group, 0)
        assert not groups.lives(group, groups.stamp())


def test_a_session_has_all_that_did_not_leave_it() -> None:
    """A child in a group of its own is in the session and is reached; one in a session of its own is not."""
    text = "timeout 60 sleep 60 & setsid sh -c 'echo $$; exec sleep 60' & sleep 0.05; wait"
    process = subprocess.Popen(["sh", "-c", text], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = int(process.stdout.readline())
    try:
        wait_until(lambda: len(groups.groups_in(process.pid)) == 2)
        groups.send_to_session(process.pid, signal.SIGKILL)
        wait_until(lambda: groups.in_session(process.pid) == [])
        assert groups.living(left)
    finally:
        os.kill(left, signal.SIGKILL)
        finish(process)


def test_our_own_group_is_spared() -> None:
    """A leader that stops its session does not stop itself."""
    code = (
        "import os, signal, subprocess; from k1ctl import groups\n"
        "child = subprocess.Popen(['sleep', '60'], process_group=0)\n"
        "assert groups.groups_in(os.getpid()) == {child.pid}\n"
        "groups.send_to_session(os.getpid(), signal.SIGTERM)\n"
        "assert child.wait() == -signal.SIGTERM\n"
    )
    assert subprocess.run([sys.executable, "-c", code], start_new_session=True).returncode == 0


def test_a_group_lives_until_its_last_member_is_gone() -> None:
    """Its leader dead, a member keeps it; the answer never comes while a member is being taken apart."""
    with script("sleep 60 & echo up; exec sleep 60") as process:
        stamp = groups.stamp()
        assert groups.lives(process.pid, stamp)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert groups.lives(process.pid, stamp)
        groups.send(process.pid, signal.SIGKILL)
        wait_until(lambda: not groups.lives(process.pid, stamp))
        assert groups.members(process.pid) == []


def test_a_later_group_with_the_same_number_is_another() -> None:
    """A leader that began after the stamp is not the one that was meant; without a stamp nobody is."""
    before = groups.stamp()
    before = {name: value - 10 for name, value in before.items()}
    with script("echo up; exec sleep 60") as process:
        assert groups.lives(process.pid, groups.stamp())
        assert not groups.lives(process.pid, before)
        assert not groups.lives(process.pid, {})
        assert not groups.lives(str(process.pid), groups.stamp())
        assert groups.session_lives(process.pid, time.time())
        assert not groups.session_lives(process.pid, time.time() - 10)
