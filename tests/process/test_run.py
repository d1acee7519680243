"""What a run is to its caller: streams, exit codes, limits, retries, signals, the record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Outcome, Project, finish, wait_until

QUICK = {"K1CTL_PROCESS_GRACE": "300ms"}


def run(project: Project, *words: str, **options: Any) -> Outcome:
    return project.run("queue", "run", *words, env=QUICK, **options)


def records(project: Project) -> list[dict[str, Any]]:
    """The records of all runs, oldest first."""
    found = sorted((project.ops / "runs").glob("*/run.json"))
    return [json.loads(path.read_text()) for path in found]


def shell(script: str) -> tuple[str, ...]:
    return ("--", "sh", "-c", script)


def test_streams_stay_apart(workspace: Project) -> None:
    """Standard output and error reach the caller's own, byte for byte, and stdin reaches the command."""
    done = run(workspace, "r", *shell("cat; echo talk >&2"), stdin="data\n")

    assert (done.stdout, done.stderr, done.exit_code) == ("data\n", "talk\n", 0)


def test_one_stream_keeps_its_order(workspace: Project) -> None:
    """Where both lead to the same place, the order of the lines is the command's."""
    argv = [
        sys.executable,
        "-m",
        "k1ctl",
        "queue",
        "run",
        "r",
        *shell("for i in 1 2 3; do echo o$i; echo e$i >&2; done"),
    ]
    done = subprocess.run(
        argv, cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30
    )

    assert done.stdout.split() == ["o1", "e1", "o2", "e2", "o3", "e3"]


def test_binary_output_is_passed_on(workspace: Project) -> None:
    """A megabyte of every byte value arrives as it was written, also through a slow pipe."""
    code = "import os; [os.write(1, bytes(range(256)) * 16) for _ in range(256)]"
    argv = [sys.executable, "-m", "k1ctl", "queue", "run", "r", "--", sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=workspace.root, capture_output=True, timeout=60)

    assert done.stdout == bytes(range(256)) * 4096


@pytest.mark.parametrize("code", [0, 1, 3, 75, 255])
def test_the_exit_code_is_the_commands(workspace: Project, code: int, tmp_path: Path) -> None:
    """The status passes through; --result says that it is the command's."""
    result = tmp_path / "result.json"

    assert run(workspace, "r", "--result", str(result), *shell(f"exit {code}")).exit_code == code

    facts = json.loads(result.read_text())
    assert (facts["exit_code"], facts["by"]) == (code, "command")


def test_a_signal_is_128_and_its_number(workspace: Project) -> None:
    """A command that a signal killed ends with 128+N, as in a shell."""
    assert run(workspace, "r", *shell("kill -9 $$")).exit_code == 137


@pytest.mark.parametrize(("command", "code"), [("no-such-tool", 127), ("./data", 126)])
def test_what_cannot_be_run_is_k1ctls_word(workspace: Project, tmp_path: Path, command: str, code: int) -> None:
    """126 and 127 come from k1ctl, and the result says so."""
    workspace.write("data", "not a program")
    result = tmp_path / "result.json"

    done = run(workspace, "r", "--result", str(result), "--", command)

    done.assert_fails(code, command)
    assert json.loads(result.read_text())["by"] == "k1ctl"


def test_a_limit_ends_what_ignores_term(workspace: Project) -> None:
    """--timeout sends TERM, then KILL after the grace period, to the whole group; exit 124."""
    script = "trap '' TERM; sleep 60 & wait; sleep 60"

    done = run(workspace, "r", "--timeout", "200ms", *shell(script))

    done.assert_fails(124, "ran past its limit")
    (record,) = records(workspace)
    assert (record["code"], record["by"]) == ("timed-out", "k1ctl")


def test_retries_hold_the_lease(workspace: Project) -> None:
    """Attempts follow each other under one ticket until one succeeds; the record has them all."""
    script = "echo x >> count; test $(wc -l < count) -ge 3"

    run(workspace, "r", "--retries", "5", "--delay", "10ms", "--backoff", "exponential", *shell(script)).assert_ok()

    (record,) = records(workspace)
    assert [a["exit_code"] for a in record["attempts"]] == [1, 1, 0]
    assert len(workspace.events("queue.granted")) == 1


def test_the_record_tells_the_whole_story(workspace: Project) -> None:
    """State, times on one clock in order, resources, CPU and memory stand in run.json; the log keeps the output."""
    run(workspace, "device:k1", "--label", "try", *shell("echo hello")).assert_ok()

    (record,) = records(workspace)
    times = record["monotonic"]
    assert record["state"] == "ended"
    assert times["enqueued"] <= times["granted"] <= times["started"] <= times["ended"] <= times["released"]
    assert record["attempts"][0]["max_rss_bytes"] > 0
    assert (record["label"], record["resources"]) == ("try", {"device:k1": 1})
    assert (workspace.ops / "runs" / record["run"] / "log").read_text() == "hello\n"


def test_a_daemon_left_behind_keeps_nothing(workspace: Project) -> None:
    """A process that left the group (setsid) holds neither lease nor caller, though it inherited the descriptor."""
    pidfile = workspace.root / "pid"
    write = f"open({str(pidfile)!r}, 'w').write(str(os.getpid()))"
    code = f"import os, time\nif os.fork() == 0:\n os.setsid(); {write}; time.sleep(60)\n"
    run(workspace, "r", "--", sys.executable, "-c", code).assert_ok()
    pid = int(wait_until(lambda: pidfile.exists() and pidfile.read_text()))
    try:
        run(workspace, "r", "--wait", "5s", "--", "true").assert_ok()
        os.kill(pid, 0)  # it still runs
    finally:
        os.kill(pid, signal.SIGKILL)


def test_what_stays_in_the_group_keeps_the_lease(workspace: Project) -> None:
    """The caller returns when the command ends; the lease is free only when its background child is gone."""
    run(workspace, "r", *shell("sleep 30 & echo $! > pid")).assert_ok()
    pid = int((workspace.root / "pid").read_text())
    try:
        assert run(workspace, "r", "--wait", "300ms", "--", "true").exit_code == 75
    finally:
        os.kill(pid, signal.SIGKILL)
    run(workspace, "r", "--wait", "20s", "--", "true").assert_ok()


def test_command_substitution_does_not_hang(workspace: Project) -> None:
    """`$(k1ctl queue run ...)` ends with the command, although its supervisor outlives the call for a moment."""
    script = f"x=$({sys.executable} -m k1ctl queue run r -- echo one); echo got-$x"
    done = subprocess.run(["sh", "-c", script], cwd=workspace.root, capture_output=True, text=True, timeout=30)

    assert done.stdout == "got-one\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_are_passed_on(workspace: Project, number: int, code: int) -> None:
    """^C and TERM at the front end end the command and the call."""
    process = workspace.popen("queue", "run", "r", *shell("echo up; sleep 60"), env=QUICK)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    process.send_signal(number)

    assert finish(process) == code
    wait_until(lambda: records(workspace)[0]["state"] == "ended")


def test_a_reader_that_goes_away_ends_the_command(workspace: Project) -> None:
    """`k1ctl queue run ... | head -1` leaves nothing running."""
    script = f"{sys.executable} -m k1ctl queue run r -- yes | head -1"
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        timeout=30,
        env=workspace.environment(QUICK),
    )

    assert done.stdout == "y\n"
    assert "Traceback" not in done.stderr
    wait_until(lambda: records(workspace)[0]["state"] == "ended")


def test_a_held_resource_is_run_through(workspace: Project) -> None:
    """A command under a lease may ask for the same resource again; one that sorts before what is held is refused."""
    k1ctl = f"{sys.executable} -m k1ctl queue run"

    run(workspace, "device:k1", *shell(f"{k1ctl} device:k1 --wait 5s -- echo inner")).assert_ok()
    refused = run(workspace, "device:k1", *shell(f"{k1ctl} build:fw -- echo inner"))

    assert refused.exit_code == 2
    assert "wait for each other" in refused.stderr


def test_environment_and_folder_are_the_callers(workspace: Project) -> None:
    """The command runs in the caller's folder with the caller's environment and the mark of its run."""
    folder = workspace.root / "sub"
    folder.mkdir()

    done = workspace.run(
        "queue", "run", "r", *shell("pwd; echo $COLOUR; echo $K1CTL_RUN"), cwd=folder, env={"COLOUR": "blue"}
    )

    where, colour, run_id = done.stdout.split()
    assert (Path(where), colour) == (folder, "blue")
    assert run_id == records(workspace)[0]["run"]
    done.assert_ok()


def test_queue_wait_takes_a_run_up(workspace: Project) -> None:
    """`queue wait` ends when the run does, with its status; before that, at its own limit, with 75."""
    process = workspace.popen("queue", "run", "r", *shell("while ! test -e go; do sleep 0.02; done; exit 7"))
    run_id = wait_until(lambda: next((r["run"] for r in records(workspace) if r["state"] == "running"), ""))

    workspace.run("queue", "wait", run_id, "--timeout", "50ms").assert_fails(75, "still running")
    (workspace.root / "go").touch()

    assert workspace.run("queue", "wait", run_id).exit_code == 7
    assert finish(process) == 7


def test_an_idle_command_is_cheap_to_watch(workspace: Project) -> None:
    """While a command is silent neither the front end nor the supervisor is busy: few context switches."""
    import psutil

    process = workspace.popen("queue", "run", "r", *shell("echo up; sleep 60"), env=QUICK)
    assert process.stdout is not None
    process.stdout.readline()
    record = wait_until(lambda: next((r for r in records(workspace) if r["state"] == "running"), None))
    watchers = [psutil.Process(process.pid), psutil.Process(record["supervisor"])]
    time.sleep(0.3)  # let the reading of the log settle to its idle rate
    before = sum(p.num_ctx_switches().voluntary for p in watchers)
    time.sleep(1.0)
    switches = sum(p.num_ctx_switches().voluntary for p in watchers) - before
    process.terminate()
    finish(process)

    assert switches < 60
