"""A run within a run: covered by the outer lease, and the outer lease lasts as long as it does."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest

from k1ctl.device import guard
from k1ctl.process import nested
from tests.kit import Project, finish, wait_until

QUICK = {"K1CTL_PROCESS_GRACE": "300ms"}
HOLD = "touch began; while ! test -e go; do sleep 0.02; done; touch ended"


def test_a_lease_outlasts_its_command_for_an_inner_run(workspace: Project) -> None:
    """The outer call is told to end and its command is gone: while the inner run works nobody else is let in."""
    inner = f"{sys.executable} -m k1ctl queue run device:k1 --on-caller-exit keep -- sh -c '{HOLD}'"
    outer = workspace.popen("queue", "run", "device:k1", "--", "sh", "-c", inner, env=QUICK)
    wait_until((workspace.root / "began").exists)

    outer.terminate()
    refused = workspace.run("queue", "run", "device:k1", "--wait", "1s", "--", "true")
    (workspace.root / "go").touch()

    assert refused.exit_code == 75
    assert finish(outer) == 143
    assert (workspace.root / "ended").exists()
    workspace.run("queue", "run", "device:k1", "--wait", "20s", "--", "true").assert_ok()


def test_a_daemon_of_an_inner_run_keeps_nothing(workspace: Project) -> None:
    """What an inner run left behind in a session of its own holds neither its lease nor the outer one."""
    daemon = "setsid sh -c 'echo $$ > pid; exec sleep 60' & while ! test -s pid; do sleep 0.01; done"
    inner = [sys.executable, "-m", "k1ctl", "queue", "run", "device:k1", "port:1", "--", "sh", "-c", daemon]
    try:
        workspace.run("queue", "run", "device:k1", "--", *inner, timeout=30).assert_ok()
        workspace.run("queue", "run", "device:k1", "port:1", "--wait", "20s", "--", "true").assert_ok()
        assert list((workspace.ops / "queue" / "nested").iterdir()) == []
    finally:
        os.kill(int((workspace.root / "pid").read_text()), signal.SIGKILL)


def test_what_killed_runs_left_is_swept(tmp_path: Path) -> None:
    """Only the file of a run that has no lease and whose inner runs are gone is removed."""
    lease = tmp_path / "tickets" / f"r50.0000000001.{os.getpid()}.-.r=1"
    lease.parent.mkdir()
    lease.write_text('{"run":"holds"}')
    place = tmp_path / "nested"
    place.mkdir()
    for run in ("holds", "gone", "outlived"):
        (place / run).touch()
    with (place / "outlived").open() as inner:
        fcntl.flock(inner, fcntl.LOCK_SH)
        nested.sweep(str(tmp_path))
    assert sorted(os.listdir(place)) == ["holds", "outlived"]
    nested.sweep(str(tmp_path / "nowhere"))


def test_a_mark_of_another_run_is_not_believed(workspace: Project) -> None:
    """Numbers begin anew after a clean: a mark counts only for the very run that holds the ticket now."""
    holder = workspace.popen("queue", "run", "r", "--", "sh", "-c", HOLD)
    wait_until((workspace.root / "began").exists)
    stale = {"K1CTL_LEASES": f"1 20200101-000000.000-0000 {workspace.ops / 'queue'}"}

    refused = workspace.run("queue", "run", "r", "--wait", "200ms", "--", "true", env=stale)
    (workspace.root / "go").touch()

    assert refused.exit_code == 75
    assert finish(holder) == 0


def test_more_slots_than_are_held_are_refused(workspace: Project) -> None:
    """Holding one slot does not cover a wish for two: the call is refused instead of waiting for itself."""
    inner = f"{sys.executable} -m k1ctl queue run build:fw=2 -- true"

    done = workspace.run("queue", "run", "build:fw", "--", "sh", "-c", inner)

    assert (done.exit_code, "wait for each other" in done.stderr) == (2, True)


def test_a_guard_mark_is_believed_only_while_its_run_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment outlives its run: the guard must be held, and by the run that the mark names."""
    path = guard.guard_path("k1", str(tmp_path))
    monkeypatch.setenv(guard.GUARDS, f"run-1 {path}")
    assert not guard.covered(path)

    held = guard.acquire(path, 1.0, run="run-1")
    assert guard.covered(path)
    held.release()
    assert not guard.covered(path)
    other = guard.acquire(path, 1.0, run="run-2")
    assert not guard.covered(path)
    other.release()
    assert os.path.exists(path)


def test_all_waiters_follow_a_change_of_slots(workspace: Project) -> None:
    """Slots raised while some wait: they agree with newcomers, and the first in line goes first."""
    workspace.configure("[queue.slots]\nr = 1\n")
    holder = workspace.popen("queue", "run", "r", "--", "sh", "-c", HOLD)
    wait_until((workspace.root / "began").exists)
    first = workspace.popen("queue", "run", "r", "--", "sh", "-c", "touch first; " + HOLD.replace("began", "two"))
    wait_until(lambda: len(workspace.run("queue", "list", "--json").json["tickets"]) == 2)
    workspace.configure("[queue.slots]\nr = 2\n")

    newcomer = workspace.popen("queue", "run", "r", "--", "sh", "-c", "test -e first")
    wait_until((workspace.root / "two").exists)
    (workspace.root / "go").touch()

    assert [finish(p) for p in (holder, first, newcomer)] == [0, 0, 0]
