"""Process trees: who belongs to one, what it uses, and that both ways of asking (/proc, psutil) say the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from k1ctl import groups
from k1ctl.capacity import footprint, processes, scan
from k1ctl.capacity.processes import Watch, look
from k1ctl.process.sampling import command_memory
from tests.kit import wait_until

MB = 1 << 20
LINUX = pytest.mark.skipif(not processes._LINUX, reason="needs /proc")


@contextmanager
def session(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own that says a line when it is ready; all that came of it is killed."""
    child = subprocess.Popen(argv, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    watch = Watch(session=child.pid)
    try:
        child.stdout.readline()
        watch.look()
        yield child
    finally:
        watch.look()
        for pid in watch.members:
            groups.send(pid, 9)
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        child.stdin.close()
        child.stdout.close()
        child.wait()


@pytest.fixture(params=["proc", "psutil"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "psutil":
        monkeypatch.setattr(processes, "_LINUX", False)
    elif not processes._LINUX:
        pytest.skip("needs /proc")
    return str(request.param)


def test_orphans_and_those_who_left_belong_to_the_tree(way: str) -> None:
    """A session has its orphans; who made a session of his own while his parent lived is followed, and is no orphan."""
    script = "sh -c 'sleep 60 & exit'; setsid sh -c 'sleep 60; :' & echo; exec sleep 60"
    with session("/bin/sh", "-c", script) as child:
        watch = Watch(session=child.pid)
        wait_until(lambda: len(watch.look().pids) == 4)
        assert len(look(session=child.pid).pids) == 2
        away = max(watch.sessions)
        assert watch.sessions == {child.pid, away}
        by_root = Watch(root=child.pid)
        assert set(by_root.look().pids) >= {child.pid, away}
        assert len(look(session=child.pid, leave_out=[child.pid]).pids) == 1
        os.killpg(child.pid, 9)
        child.wait()
        wait_until(lambda: child.pid not in watch.look().pids)
        wait_until(lambda: set(groups.in_session(away)) <= set(watch.look().pids))
        assert away in watch.look().pids  # known by its start, though nobody of its first session lives


def test_memory_is_that_of_the_tree(way: str) -> None:
    """Resident bytes of all, the largest, and a process group's, as the record of a run has it."""
    code = "import os, sys\nx = bytearray(b'x') * (60 << 20)\nos.fork()\nprint(flush=True)\nsys.stdin.read()"
    with session(sys.executable, "-c", code) as child:
        watch = Watch(session=child.pid, highs=True)
        wait_until(lambda: len(watch.look().pids) == 2)
        tree = watch.look()
        assert 60 * MB <= tree.largest <= tree.rss and tree.rss >= 120 * MB
        assert command_memory(child.pid) == pytest.approx(tree.rss, rel=0.05)
        sessions, of_groups = processes.by_tree()
        assert [sessions[child.pid], of_groups[child.pid]] == [pytest.approx(tree.rss, rel=0.05)] * 2
        if way == "proc":
            total, told = processes.pss(tree.pids)
            assert told and 60 * MB <= total <= tree.rss * 0.75  # the pages of both count once
            assert max(member.high for member in watch.members.values()) >= 60 * MB


@LINUX
def test_cpu_time_is_kept_when_a_child_ends() -> None:
    """What a child used goes over to its parent; what was seen of it stays known."""
    burn = "import time\nwhile time.process_time() < .15: pass"
    code = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint(flush=True)\nsys.stdin.read()"
    )
    with session(sys.executable, "-c", code) as child:
        tree = look(session=child.pid)
        assert tree.waited >= 0.14 and tree.cpu < tree.waited + 0.2


def test_on_a_mac_what_a_process_is_charged_with_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its footprint for promises, limits and baselines alike; its resident bytes where there is none."""
    own, footprints = os.getpid(), {os.getpid(): (5 * MB, 9 * MB)}
    monkeypatch.setattr(processes, "_LINUX", False)
    monkeypatch.setattr(scan, "_LINUX", False)
    monkeypatch.setattr(processes, "_pids", lambda: [own])
    monkeypatch.setattr(psutil, "pids", lambda: [own])
    monkeypatch.setattr(footprint, "footprint", footprints.get)
    watched = scan.Scan(os.getsid(own))
    for expected in (5 * MB, psutil.Process(own).memory_info().rss):
        assert watched.look()
        seen = [watched.total, processes.by_tree()[1][os.getpgid(own)], look(group=os.getpgid(own)).rss]
        assert seen == [pytest.approx(expected, rel=0.1)] * 3
        footprints.clear()


@LINUX
def test_the_memory_of_a_starter_is_not_taken_for_the_childs() -> None:
    """ru_maxrss begins with what the starter had: that is passed over; what is beyond it is told, also when the one
    that started us had more."""
    code = """
import os, sys
from k1ctl.capacity.processes import resident
for size in (0, 150):
    words = [sys.executable, "-I", "-S", "-c", f"x = bytearray(b'x') * ({size} << 20)"]
    print(resident(os.wait4(os.posix_spawn(words[0], words, os.environ), 0)[2].ru_maxrss))
"""
    big = [
        sys.executable,
        "-c",
        "import os, sys; x = bytearray(b'x') * (300 << 20); os.execv(sys.argv[1], sys.argv[1:])",
    ]
    told = subprocess.run([*big, sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout.split()
    assert int(told[0]) == 0 and 150 * MB < int(told[1]) < 250 * MB


def test_nobody_is_there() -> None:
    """A session that nobody is in, a process that is gone: an empty look."""
    child = subprocess.Popen(["/bin/sh", "-c", ":"], start_new_session=True)
    child.wait()
    assert look(session=child.pid).pids == [] and Watch(root=child.pid).look().pids == []
    assert processes.started(child.pid) is None and processes.high(child.pid) == 0
    assert processes.pss([child.pid]) == (0, True)


def test_who_watches_is_not_watched(way: str) -> None:
    """An agent's shell that is watched from within: its other children count, the watcher does not."""
    code = "import os\nfrom k1ctl.capacity import processes as p\n" + f"p._LINUX = {way == 'proc'}\n"
    code += "print(len(p.Watch(root=os.getppid()).look().pids))"
    script = f"sleep 60 & {sys.executable} -c '{code}'; kill $!"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"
