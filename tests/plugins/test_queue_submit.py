"""`queue submit` and `queue wait`: a run that needs nobody, and calls that may be cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from k1ctl.queue import view
from tests.kit import Project, finish, wait_until

SH = ("--", "sh", "-c")
HOLD = "while ! test -e go; do sleep 0.02; done"


def submit(workspace: Project, *words: str, **options: Any) -> str:
    """The id of a run that was put in line."""
    told = workspace.run("queue", "submit", *words, **options).assert_ok()
    assert told.stderr == ""
    return told.stdout.strip()


def record(workspace: Project, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace.ops / "runs" / run / "run.json").read_text())
    return found


def test_it_returns_at_once_and_the_run_goes_on(workspace: Project) -> None:
    """The id comes while the run waits and while it runs; `wait` passes the log on and exits with the run's status."""
    first = submit(workspace, "r", *SH, f"echo one; {HOLD}; echo err >&2; exit 3")
    second = submit(workspace, "r", *SH, "echo two")
    [running, waiting] = view.entries(str(workspace.ops / "queue"))
    assert (running["run"], waiting["run"], waiting["state"]) == (first, second, "waiting")

    queued = workspace.run("queue", "wait", second, "--timeout", "50ms", "--json").assert_fails(75).json["error"]
    assert (queued["code"], queued["position"], queued["ticket"]) == ("still-queued", 1, 2)
    assert [h["ticket"] for h in queued["holders"]] == [1]
    working = workspace.run("queue", "wait", first, "--timeout", "50ms")
    working.assert_fails(75, f"run {first} is still running", "call again")
    assert working.stdout == "one\n"

    with workspace.popen("queue", "wait", second) as waiter:
        assert waiter.stderr is not None
        assert waiter.stderr.readline().startswith("waiting for r: position 1, held by repo (sh -c echo one;")
        (workspace.root / "go").touch()
        assert waiter.stdout is not None
        assert waiter.stdout.read() == "two\n"
        assert finish(waiter) == 0
    done = workspace.run("queue", "wait", first)
    assert (done.exit_code, done.stdout) == (3, "one\nerr\n"), "one log, in the order of writing"
    quiet = workspace.run("queue", "wait", first, "--quiet")
    assert (quiet.exit_code, quiet.stdout) == (3, "")
    kept = workspace.run("queue", "wait", first, "--json")
    assert (kept.exit_code, kept.json["ok"], kept.json["run"]) == (3, False, first)


def test_as_json(workspace: Project) -> None:
    """Run, ticket, folder, and whether it took a kept place."""
    told = workspace.run("queue", "submit", "r", "--json", "--", "true").assert_ok().json
    assert told == {
        "ok": True,
        "run": told["run"],
        "ticket": 1,
        "folder": str(workspace.ops / "runs" / told["run"]),
        "resumed": False,
    }
    workspace.run("queue", "wait", told["run"]).assert_ok()


def test_nothing_of_the_caller_is_left_with_it(workspace: Project) -> None:
    """No input, no descriptor, not its terminal's session; the pipe the caller reads the id from closes."""
    code = (
        "import os, sys\nfds = [f for f in range(3, 20) if os.path.exists(f'/dev/fd/{f}')]\n"
        "print(sys.stdin.read() == '', os.getsid(0) == int(sys.argv[1]), os.environ.get('MARK'), 7 in fds, 8 in fds)"
    )
    script = 'exec 7<>seven 8<&7; exec "$@"'
    call = [sys.executable, "-m", "k1ctl", "queue", "submit", "r", "--", sys.executable, "-c", code, str(os.getsid(0))]
    done = subprocess.run(
        ["sh", "-c", script, "sh", *call],
        cwd=workspace.root,
        env={**os.environ, "MARK": "here"},
        input="not for the run",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = workspace.run("queue", "wait", done.stdout.strip()).assert_ok().stdout
    assert told == "True False here False False\n"


def test_it_does_not_ride_on_the_callers_lease(workspace: Project) -> None:
    """Submitted by a command that holds the resource, it stands behind it and starts when that one is done."""
    inner = f"{sys.executable} -m k1ctl queue submit r -- sh -c 'echo $K1CTL_LEASES'; sleep 0.1"
    told = workspace.run("queue", "run", "r", *SH, inner).assert_ok().stdout.strip()
    leases = workspace.run("queue", "wait", told).assert_ok().stdout.split()
    assert leases[:2] == ["2", told]
    outer = next(e["run"] for e in workspace.events("run.ended") if e["run"] != told)
    assert record(workspace, outer)["monotonic"]["released"] <= record(workspace, told)["monotonic"]["granted"]


def test_what_keeps_it_out_of_the_line_is_said_at_once(workspace: Project) -> None:
    """Too many slots, a full line, a wrong call: no id, the run's own error and exit code."""
    workspace.configure("[queue]\nmax_length = 1\n")
    refused = workspace.run("queue", "submit", "r=2", "--", "true").assert_fails(2, "r has 1 slot")
    assert refused.stdout == ""
    workspace.run("queue", "submit", "r").assert_fails(2, "no command")
    workspace.run("queue", "submit", "r", "--on-caller-exit", "stop", "--", "true").assert_fails(2, "--on-caller-exit")
    (workspace.ops / "queue" / "history").mkdir(parents=True, exist_ok=True)
    (workspace.ops / "queue" / "history" / "r").write_text("60\n60\n")
    runs = [submit(workspace, "r", *SH, HOLD), submit(workspace, "r", *SH, "true")]
    full = workspace.run("queue", "submit", "r", "--json", *SH, "echo").assert_fails(75).json["error"]
    assert (full["code"], full["length"], full["expected_wait_seconds"]) == ("queue-full", 1, 60.0)
    assert "one more would wait about 1 m" in full["message"]
    (workspace.root / "go").touch()
    for run in runs:
        workspace.run("queue", "wait", run).assert_ok()


def test_cancelled_while_it_waits_and_while_it_runs(workspace: Project) -> None:
    """`queue cancel RUN` ends it in either state, a device's too: it is no flash; `wait` tells who did it."""
    running = submit(workspace, "device:k1", *SH, f"echo up; {HOLD}")
    waiting = submit(workspace, "device:k1", "--", "true")
    workspace.run("queue", "cancel", waiting).assert_ok()
    workspace.run("queue", "wait", waiting).assert_fails(1, "was cancelled by", "exits with 1")
    wait_until(lambda: "pid" in record(workspace, running))
    workspace.run("queue", "cancel", running).assert_ok()
    workspace.run("queue", "wait", running).assert_fails(143, "cancelled")
    assert view.entries(str(workspace.ops / "queue")) == []


def test_a_command_that_leaves_something_behind(workspace: Project) -> None:
    """`wait` exits with the command's status, as `run` does, while what it left in its group keeps the lease."""
    run = submit(workspace, "r", *SH, "sleep 60 >&- 2>&- & echo up; exit 3")
    told = workspace.run("queue", "wait", run)
    told.assert_fails(3, "left 1 process(es) in its group; they keep the lease")
    assert told.stdout == "up\n"
    [lease] = view.entries(str(workspace.ops / "queue"))
    assert (lease["state"], lease["run"]) == ("running", run)
    workspace.run("queue", "cancel", run).assert_ok()
    wait_until(lambda: record(workspace, run)["state"] == "ended")
    assert workspace.run("queue", "wait", run, "--json").assert_fails(3).json["exit_code"] == 3


def test_its_own_limits(workspace: Project) -> None:
    """--wait and --timeout hold for it as for `run`; --result is written when it ends."""
    holder = submit(workspace, "r", "--timeout", "60s", *SH, HOLD)
    late = submit(workspace, "r", "--wait", "100ms", "--result", "result.json", "--", "true")
    workspace.run("queue", "wait", late).assert_fails(1, "the place is kept")
    told = workspace.run("queue", "wait", late, "--json").assert_fails(1).json
    assert (told["ok"], told["exit_code"], told["code"]) == (False, 75, "queue-timeout")
    temporary = submit(workspace, "other", *SH, "exit 75")
    workspace.run("queue", "wait", temporary).assert_fails(1, "exit code 75", "exits with 1")
    assert json.loads((workspace.root / "result.json").read_text())["code"] == "queue-timeout"
    slow = submit(workspace, "other", "--timeout", "100ms", *SH, HOLD)
    workspace.run("queue", "wait", slow).assert_fails(124, "ran past its limit")
    (workspace.root / "go").touch()
    workspace.run("queue", "wait", holder).assert_ok()


def test_killed_in_line_it_says_so_and_its_place_is_kept(workspace: Project) -> None:
    """A waiting run's supervisor is killed: `wait` says that nothing was started; the same call takes its place."""
    holder = submit(workspace, "r", *SH, HOLD)
    lost = submit(workspace, "r", "--", "touch", "started")
    later = submit(workspace, "r", "--", "true")
    supervisor = record(workspace, lost)["supervisor"]
    os.kill(supervisor, signal.SIGKILL)
    told = workspace.run("queue", "wait", lost, "--json").assert_fails(76, "was not started", "submit it again").json
    assert told["error"]["code"] == "supervisor-lost"
    again = workspace.run("queue", "submit", "r", "--json", "--", "touch", "started").assert_ok().json
    assert (again["ticket"], again["resumed"]) == (record(workspace, lost)["ticket"], True)
    (workspace.root / "go").touch()
    for run in (holder, again["run"], later):
        workspace.run("queue", "wait", run).assert_ok()
    assert (workspace.root / "started").exists()
    times = [record(workspace, run)["monotonic"]["started"] for run in (again["run"], later)]
    assert times == sorted(times)


def test_killed_at_work_the_outcome_is_unknown(workspace: Project) -> None:
    """Supervisor and command killed: 76 and no word of nothing having been started."""
    run = submit(workspace, "r", *SH, f"echo up; {HOLD}")
    kept = wait_until(lambda: (r := record(workspace, run)).get("pid") and r)
    os.kill(kept["supervisor"], signal.SIGKILL)
    os.killpg(kept["pid"], signal.SIGKILL)
    workspace.run("queue", "wait", run).assert_fails(76, "ended without a record")
    workspace.run("queue", "run", "r", "--wait", "20s", "--", "true").assert_ok()


def test_a_reader_that_goes_away_does_not_end_the_run(workspace: Project) -> None:
    """`wait | head -1` ends with 141; the run goes on."""
    run = submit(workspace, "r", *SH, f"echo one; echo two; {HOLD}; yes | head -200000")
    command = f"set -o pipefail; (sleep 0.1; touch go) & {sys.executable} -m k1ctl queue wait {run} | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=workspace.root, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (141, "one\n", "")
    workspace.run("queue", "wait", run, "--quiet").assert_ok()
