"""`k1ctl queue`: standing in line, seeing who does, and acting on it, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Project, finish, wait_until
from tests.queue.holding import Detector

GRACE = {"K1CTL_PROCESS_GRACE": "300ms"}
TRUE = ("--", "true")


def tickets(workspace: Project, *options: str) -> list[dict[str, Any]]:
    """What `queue list` tells."""
    found: list[dict[str, Any]] = workspace.run("queue", "list", "--json", *options).assert_ok().json["tickets"]
    return found


@contextmanager
def holding(workspace: Project, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Somebody who holds ``words`` (resources and options) until the end of the block."""
    run = workspace.popen("queue", "run", *words, "--", "sh", "-c", "echo up; exec sleep 60", env=GRACE)
    assert run.stdout is not None
    try:
        said = run.stdout.readline()
        assert said == "up\n", f"{said!r} {run.communicate(timeout=30)}"
        yield run
    finally:
        if run.poll() is None:
            run.terminate()
        finish(run)


@contextmanager
def waiting(workspace: Project, *words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Somebody who waits in line; ended at the end of the block when still there."""
    before = len(tickets(workspace))
    run = workspace.popen("queue", "run", *words, **options)
    try:
        wait_until(lambda: len(tickets(workspace)) > before)
        yield run
    finally:
        if run.poll() is None:
            run.kill()
        finish(run)


def test_an_empty_queue(workspace: Project) -> None:
    """A list is a list, also when nobody was ever there; looking makes no folder."""
    assert workspace.run("queue", "list", "--json").assert_ok().json == {
        "ok": True,
        "tickets": [],
        "paused": {},
        "out_of_service": {},
    }
    assert "nobody" in workspace.run("queue", "list").assert_ok().stderr
    assert list(workspace.ops.iterdir()) == []


def test_list_tells_who_holds_and_who_waits(workspace: Project) -> None:
    """Holders first, then waiters in the order of service, with workspace, command, label and position."""
    with holding(workspace, "device:k1", "build:fw=2", "--label", "a flash") as holder:
        with waiting(workspace, "device:k1", "--priority", "low", *TRUE), waiting(workspace, "device:k1", *TRUE):
            rows = tickets(workspace)
            assert [(r["state"], r["ticket"], r.get("position")) for r in rows] == [
                ("running", 1, None), ("waiting", 3, 1), ("waiting", 2, 2),
            ]  # fmt: skip
            assert rows[0]["resources"] == {"build:fw": 2, "device:k1": 1}
            assert (rows[0]["label"], rows[0]["workspace"]) == ("a flash", "repo")
            assert (rows[1]["command"], rows[2]["priority"]) == ("true", "low")
            assert rows[0]["granted_at"] <= rows[1]["queued_at"]
            assert [r["ticket"] for r in tickets(workspace, "--resource", "build:fw")] == [1]
            table = workspace.run("queue", "list").assert_ok().stdout
            assert [line.split()[0] for line in table.splitlines()] == ["TICKET", "1", "3", "2"]
            assert "waiting (1)" in table
            shown = workspace.run("queue", "show", "3", "--json").assert_ok().json
            assert (shown["position"], [h["ticket"] for h in shown["holders"]]) == (1, [1])
            by_run = workspace.run("queue", "show", rows[0]["run"], "--json").assert_ok().json
            assert by_run["ticket"] == 1
            assert Path(by_run["log"]).read_text() == "up\n"
        assert holder.poll() is None


def test_what_a_waiter_is_told(workspace: Project) -> None:
    """Position, who holds it, what for, since when, and the expected start from past runs; one line at each change."""
    workspace.run("queue", "run", "device:k1", "--", "sleep", "0.05").assert_ok()
    with holding(workspace, "device:k1", "--label", "a flash"):
        with waiting(workspace, "device:k1", *TRUE) as run:
            assert run.stderr is not None
            said = run.stderr.readline()
    assert said.startswith("waiting for device:k1: position 1, expected start ")
    assert "held by repo (a flash, for " in said


def test_show_of_what_is_over_and_what_never_was(workspace: Project) -> None:
    """A finished run is shown from its record; an unknown id is an error that says where to look."""
    workspace.run("queue", "run", "r", "--", "sh", "-c", "exit 3")
    [folder] = (workspace.ops / "runs").iterdir()
    shown = workspace.run("queue", "show", folder.name, "--json").assert_ok().json
    assert (shown["state"], shown["exit_code"]) == ("ended", 3)
    assert "exit code 3" in workspace.run("queue", "show", folder.name).assert_ok().stdout
    for wrong in ("99", "20200101-000000.000-0000", "../../etc", "", "a b\nc"):
        for command in ("show", "cancel"):
            outcome = workspace.run("queue", command, wrong).assert_fails(1, "k1ctl queue list")
            assert len(outcome.stderr.splitlines()) == 2


def test_cancel_of_a_waiter(workspace: Project) -> None:
    """Its call ends with 75 and who did it; the line moves on; --dry-run does nothing."""
    with holding(workspace, "r"):
        with waiting(workspace, "r", *TRUE) as run:
            assert workspace.run("queue", "cancel", "2", "--dry-run").assert_ok().stdout == ""
            assert len(tickets(workspace)) == 2
            done = workspace.run("queue", "cancel", "2", "--json").assert_ok().json
            assert (done["ticket"], done["state"], done["dry_run"]) == (2, "waiting", False)
            err = run.communicate(timeout=30)[1]
            assert run.returncode == 75
            assert "ticket 2 was cancelled by " in err
        assert [r["ticket"] for r in tickets(workspace)] == [1]
        workspace.run("queue", "cancel", "2").assert_fails(1)
    assert len(workspace.events("queue.cancelled")) == 1


def test_cancel_of_a_parked_place(workspace: Project) -> None:
    """A parked place is given up; the same call then stands at the end."""
    with holding(workspace, "r"):
        workspace.run("queue", "run", "r", "--key", "me", "--wait", "0", *TRUE).assert_fails(75)
        assert [r["state"] for r in tickets(workspace)] == ["running", "parked"]
        workspace.run("queue", "cancel", "2").assert_ok()
        with waiting(workspace, "r", "--key", "me", *TRUE):
            assert [r["ticket"] for r in tickets(workspace)] == [1, 3]


def test_cancel_of_a_running_command(workspace: Project) -> None:
    """TERM, the grace period, KILL; its call ends with 143, and the next one starts."""
    with holding(workspace, "r") as holder:
        [entry] = tickets(workspace)
        with waiting(workspace, "r", *TRUE) as waiter:
            workspace.run("queue", "cancel", entry["run"]).assert_ok()
            err = holder.communicate(timeout=30)[1]
            assert (holder.returncode, "cancelled" in err) == (143, True)
            assert finish(waiter) == 0


def test_cancel_where_only_the_command_lives(workspace: Project) -> None:
    """With its supervisor killed nobody can stop the command in good order: the error says what lives on."""
    with holding(workspace, "r", "--on-caller-exit", "keep") as holder:
        [entry] = tickets(workspace)
        os.kill(entry["pid"], signal.SIGKILL)
        wait_until(lambda: tickets(workspace)[0]["state"] == "running")
        workspace.run("queue", "cancel", str(entry["ticket"])).assert_fails(1, f"group {entry['group']}", "lives on")
        os.killpg(entry["group"], signal.SIGKILL)
        assert finish(holder) == 76
    workspace.run("queue", "run", "r", *TRUE).assert_ok()


def test_pause_and_resume(workspace: Project) -> None:
    """A paused resource lets nobody new in; who runs goes on, others are not concerned; resume wakes who waits."""
    with holding(workspace, "r") as holder:
        assert workspace.run("queue", "pause", "r", "--dry-run", "--json").assert_ok().json["changed"] is True
        assert (
            workspace.run("queue", "pause", "r", "--reason", "cable is out", "--json").assert_ok().json["changed"]
            is True
        )
        assert workspace.run("queue", "pause", "r", "--reason", "cable is out", "--json").json["changed"] is False
        assert workspace.run("queue", "list", "--json").json["paused"] == {"r": "cable is out"}
        assert "cable is out" in workspace.run("queue", "list").stderr
        with waiting(workspace, "r", *TRUE) as waiter:
            holder.terminate()
            finish(holder)
            workspace.run("queue", "run", "other", *TRUE).assert_ok()
            assert waiter.stderr is not None
            said = waiter.stderr.readline()
            assert "r is paused" in said
            assert waiter.poll() is None
            assert workspace.run("queue", "resume", "r", "--json").assert_ok().json["changed"] is True
            assert finish(waiter) == 0
    assert workspace.run("queue", "resume", "r", "--json").json["changed"] is False
    assert [len(workspace.events(f"queue.{e}")) for e in ("paused", "resumed")] == [1, 1]
    workspace.run("queue", "pause", "a/b").assert_fails(2, "not a resource name")


def test_wait_at_most(workspace: Project) -> None:
    """--wait ends with 75 and the place is kept: the same call takes the old number over and says so."""
    with holding(workspace, "r") as holder:
        outcome = workspace.run("queue", "run", "r", "--wait", "50ms", *TRUE)
        outcome.assert_fails(75, "waited 50 ms for r (position 1, held by repo (", "the place is kept for 15 m")
        with waiting(workspace, "r", "--label", "later", "--key", "later", *TRUE) as later:
            again = workspace.run("queue", "run", "r", "--wait", "50ms", *TRUE).assert_fails(75)
            assert "took the kept place 2 over" in again.stderr
            assert [r["ticket"] for r in tickets(workspace)] == [1, 3, 2]
            holder.terminate()
            finish(holder)
            assert finish(later) == 0


def test_a_full_line(workspace: Project) -> None:
    """Past [queue] max_length a call is refused at once with 75."""
    workspace.configure("[queue]\nmax_length = 1\n")
    with holding(workspace, "r"), waiting(workspace, "r", "--key", "a", *TRUE):
        workspace.run("queue", "run", "r", "--key", "b", *TRUE).assert_fails(75, "1 ticket waits for r already")
        workspace.run("queue", "run", "other", *TRUE).assert_ok()


def test_slots_are_configuration(workspace: Project) -> None:
    """As many hold a resource as it has slots; more than there are is refused with the line to write."""
    workspace.configure("[queue.slots]\nr = 2\n")
    with holding(workspace, "r"), holding(workspace, "r"):
        workspace.run("queue", "run", "r", "--wait", "50ms", *TRUE).assert_fails(75)
    workspace.run("queue", "run", "r=2", *TRUE).assert_ok()
    outcome = workspace.run("queue", "run", "r=3", *TRUE).assert_fails(2, "r has 2 slots, 3 were asked for")
    assert '"r" = 3' in outcome.stderr


def test_several_resources_are_granted_together(workspace: Project) -> None:
    """Who wants two holds neither while one is missing; nobody takes what he is next for."""
    with holding(workspace, "a"):
        with waiting(workspace, "a", "b", *TRUE) as both:
            assert tickets(workspace)[0]["resources"] == {"a": 1}
            workspace.run("queue", "run", "b", "--key", "x", "--wait", "50ms", *TRUE).assert_fails(75)
            workspace.run("queue", "run", "c", *TRUE).assert_ok()
            assert both.poll() is None


def nested(*words: str) -> list[str]:
    return [sys.executable, "-m", "k1ctl", "queue", "run", *words]


def test_nested_runs(workspace: Project) -> None:
    """What a run holds already its command may use again; what sorts behind may be waited for; what sorts before is
    refused, and so is waiting for oneself avoided.
    """
    outer = ["queue", "run", "device:k1", "--"]
    workspace.run(*outer, *nested("device:k1", "--wait", "5s", "--", "true"), timeout=30).assert_ok()
    workspace.run(*outer, *nested("device:k1", "port:1", "--wait", "5s", "--", "true"), timeout=30).assert_ok()
    workspace.run(*outer, *nested("port:1", "--", *nested("device:k1", "port:1", "--", "true")), timeout=30).assert_ok()
    refused = workspace.run(*outer, *nested("build:fw", "--wait", "5s", "--", "true"), timeout=30)
    refused.assert_fails(2, "device:k1", "k1ctl queue run build:fw device:k1")
    assert tickets(workspace) == []


def test_a_nested_run_that_outlives_its_lease_stands_in_line(workspace: Project) -> None:
    """The mark of a lease that is over counts for nothing."""
    left = "K1CTL_LEASES"
    told = workspace.run("queue", "run", "r", "--", "sh", "-c", f"echo ${left}").stdout.strip()
    with holding(workspace, "r"):
        workspace.run("queue", "run", "r", "--wait", "50ms", *TRUE, env={left: told}).assert_fails(75)


def test_repositories_with_one_queue(make_workspace: Any, tmp_path: Path) -> None:
    """[queue] dir makes two repositories stand in one line, however the folder is written; nested runs see it too."""
    one, two = make_workspace("one"), make_workspace("two")
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    one.configure('[queue]\ndir = "../../shared"\n')
    two.configure(f'[queue]\ndir = "{tmp_path / "link"}"\n')
    (tmp_path / "shared").mkdir()
    one.configure('[queue]\ndir = "../shared"\n')
    with holding(one, "device:k1"):
        assert [r["workspace"] for r in tickets(two)] == ["one"]
        two.run("queue", "run", "device:k1", "--wait", "50ms", *TRUE).assert_fails(75)
    inner = ["sh", "-c", f'cd {two.root} && exec "$@"', "sh", *nested("device:k1", "--wait", "5s", "--", "true")]
    one.run("queue", "run", "device:k1", "--", *inner).assert_ok()
    assert not (one.ops / "queue" / "tickets").exists()


def test_worktrees_stand_in_one_line(workspace: Project) -> None:
    """A worktree's call uses the root's queue and is known by the worktree's name; its own ops/ is not used."""
    path = workspace.add_worktree("agent-1")
    (path / "ops").mkdir(exist_ok=True)
    with holding(workspace, "r"):
        workspace.run("queue", "run", "r", "--wait", "50ms", *TRUE, cwd=path).assert_fails(75)
        assert [r["workspace"] for r in tickets(workspace)] == ["repo", "agent-1"]
    assert list((path / "ops").iterdir()) == []


def test_sixteen_waiters_are_served_in_order(workspace: Project, tmp_path: Path) -> None:
    """Each in the order of its number, one at a time, whatever order they were started in."""
    detector = Detector(tmp_path / "detector")
    with holding(workspace, "r") as holder:
        calls = [workspace.popen("queue", "run", "r", "--", *detector.command(i, 5)) for i in range(16)]
        wait_until(lambda: len(tickets(workspace)) == 17, timeout=60)
        holder.terminate()
        assert [finish(call, 60) for call in calls] == [0] * 16
    assert detector.overlaps() == []
    records = [json.loads(path.read_text()) for path in (workspace.ops / "runs").glob("*/run.json")]
    number = {r["argv"][3]: r["ticket"] for r in records if len(r["argv"]) > 4}
    served = [number[mark.who] for mark in detector.marks("S")]
    assert served == sorted(served)
    assert len(served) == 16


def test_priorities_go_first(workspace: Project, tmp_path: Path) -> None:
    """Critical, high, normal, low; within one, who came first."""
    detector = Detector(tmp_path / "detector")
    with holding(workspace, "r") as holder:
        calls = []
        for i, priority in enumerate(["low", "normal", "high", "low", "critical", "high"]):
            call = workspace.popen("queue", "run", "r", "--priority", priority, "--", *detector.command(i, 2))
            calls.append(call)
            wait_until(lambda: len(tickets(workspace)) == len(calls) + 1)
        holder.terminate()
        assert [finish(call) for call in calls] == [0] * 6
    assert [mark.who for mark in detector.marks("S")] == ["4", "2", "5", "1", "0", "3"]


def test_wait_for_a_run_that_was_lost(workspace: Project) -> None:
    """A run whose supervisor and command were killed is over, and its outcome unknown: 76."""
    with holding(workspace, "r") as holder:
        [entry] = tickets(workspace)
        os.kill(entry["pid"], signal.SIGSTOP)  # or it would end the run in good order
        holder.kill()
        os.kill(entry["pid"], signal.SIGKILL)
        os.killpg(entry["group"], signal.SIGKILL)
        workspace.run("queue", "wait", entry["run"]).assert_fails(76, "ended without a record")
        assert workspace.run("queue", "show", entry["run"], "--json").assert_ok().json["state"] == "lost"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"run": 5}', b"\xff\xfe"])
def test_a_damaged_record(workspace: Project, damage: bytes) -> None:
    """A record that cannot be read is an error that says so, not a traceback."""
    workspace.run("queue", "run", "r", *TRUE).assert_ok()
    [folder] = (workspace.ops / "runs").iterdir()
    (folder / "run.json").write_bytes(damage)
    for command in ("show", "wait"):
        workspace.run("queue", command, folder.name).assert_fails(1, folder.name)
    workspace.run("queue", "run", "r", *TRUE).assert_ok()


def test_a_killed_call_in_a_poor_environment(workspace: Project) -> None:
    """The command line works without HOME, PATH or a writable folder for temporary files."""
    env = dict.fromkeys(os.environ, None) | {"K1CTL_HOST_DIR": os.environ["K1CTL_HOST_DIR"], "PATH": "/nowhere"}
    workspace.run("queue", "run", "r", "--", shutil.which("true") or "/bin/true", env=env).assert_ok()


def test_a_command_with_control_characters_cannot_paint(workspace: Project) -> None:
    """Labels and commands of others are shown without their escape sequences."""
    with holding(workspace, "r", "--label", "\x1b[2Jevil\r\n"):
        told = workspace.run("queue", "list").assert_ok().stdout
        with waiting(workspace, "r", *TRUE) as run:
            assert run.stderr is not None
            said = run.stderr.readline()
    assert "\x1b" not in told + said
    assert "evil" in told
    assert "evil" in said


def test_many_look_while_many_work(workspace: Project) -> None:
    """`queue list` never fails while tickets come and go under it."""
    argv = nested("r", "--", "true")
    workers = [
        subprocess.Popen(["sh", "-c", 'for i in 1 2 3 4 5; do "$@" || exit 1; done', "sh", *argv], cwd=workspace.root)
        for _ in range(3)
    ]
    deadline = time.monotonic() + 60
    while any(w.poll() is None for w in workers) and time.monotonic() < deadline:
        assert isinstance(tickets(workspace), list)
    assert [finish(w) for w in workers] == [0, 0, 0]
