"""`queue run` hands a command through: status, input, both outputs, what it leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.kit import Project, finish, wait_until
from tests.process.calls import GRACE, SH, record


@pytest.mark.parametrize("code", [0, 1, 2, 42, 75, 255])
def test_the_commands_status_is_ours(workspace: Project, code: int) -> None:
    """k1ctl exits as the command did and adds nothing to what it prints."""
    outcome = workspace.run("queue", "run", "r", *SH, f"echo out; echo err >&2; exit {code}")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (code, "out\n", "err\n")
    kept = record(workspace)
    assert (kept["state"], kept["exit_code"], kept["by"]) == ("ended", code, "command")


def test_a_command_killed_by_a_signal(workspace: Project) -> None:
    """128 + N, as a shell would say."""
    assert workspace.run("queue", "run", "r", *SH, "kill -KILL $$").exit_code == 137
    assert workspace.run("queue", "run", "r", *SH, "kill -TERM $$").exit_code == 143


def test_result_file(workspace: Project) -> None:
    """--result says whose status it is: the command's own 75 is not k1ctl's 75."""
    result = workspace.root / "result.json"
    workspace.run("queue", "run", "r", "--result", "result.json", *SH, "exit 75")
    own = json.loads(result.read_text())
    assert (own["exit_code"], own["by"], own["code"]) == (75, "command", "command-failed")
    assert json.loads((Path(own["folder"]) / "run.json").read_text())["run"] == own["run"]
    with workspace.popen("queue", "run", "r", *SH, "echo here; sleep 60", env=GRACE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        outcome = workspace.run("queue", "run", "r", "--wait", "0", "--result", "result.json", "--", "true")
        outcome.assert_fails(75, "waited", "r", "the place is kept")
        mine = json.loads(result.read_text())
        assert (mine["exit_code"], mine["by"], mine["code"]) == (75, "k1ctl", "queue-timeout")
        holder.terminate()
        finish(holder)
    workspace.run("queue", "run", "r=9", "--result", "result.json", "--", "true").assert_fails(
        2, "1 slot", "9 were asked"
    )
    refused = json.loads(result.read_text())
    assert (refused["exit_code"], refused["by"], refused["code"]) == (2, "k1ctl", "too-many-slots")


def test_126_and_127(workspace: Project) -> None:
    """A command that is not there, and one that cannot be run, are told apart, and the lease is given back."""
    plain = workspace.write("plain", "no program")
    workspace.run("queue", "run", "r", "--", "no-such-command-anywhere").assert_fails(127, "no-such-command-anywhere")
    workspace.run("queue", "run", "r", "--", "./missing").assert_fails(127, "./missing")
    workspace.run("queue", "run", "r", "--", str(plain)).assert_fails(126, "cannot be executed")
    workspace.run("queue", "run", "r", "--", str(workspace.root)).assert_fails(126, "cannot be executed")
    assert workspace.run("queue", "list", "--json").json["tickets"] == []


def test_standard_input_is_the_commands(workspace: Project) -> None:
    """What is piped in reaches the command, binary and to its end; the environment and the folder too."""
    outcome = workspace.run("queue", "run", "r", "--", "cat", stdin="one\ntwo\n" * 5000)
    assert outcome.stdout == "one\ntwo\n" * 5000
    below = workspace.root / "below"
    below.mkdir()
    told = workspace.run("queue", "run", "r", *SH, "pwd; echo $MARK", cwd=below, env={"MARK": "here"}).stdout
    assert told == f"{below}\nhere\n"


def test_output_is_passed_on_byte_by_byte(workspace: Project) -> None:
    """A megabyte of every byte there is, on both outputs, arrives unchanged and apart."""
    code = "import sys; d=bytes(range(256))*4096; sys.stdout.buffer.write(d); sys.stderr.buffer.write(d[::-1])"
    argv = [sys.executable, "-m", "k1ctl", "queue", "run", "r", "--", sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=workspace.root, capture_output=True, timeout=60)
    data = bytes(range(256)) * 4096
    assert done.returncode == 0
    assert done.stdout == data
    assert done.stderr == data[::-1]


def test_one_output_keeps_its_order(workspace: Project) -> None:
    """Where both outputs lead to one place, their lines stay in the order they were written."""
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo out$i; echo err$i >&2; done"
    argv = [sys.executable, "-m", "k1ctl", "queue", "run", "r", *SH, script]
    done = subprocess.run(
        argv, cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert done.stdout.split() == [f"{w}{i}" for i in range(1, 10) for w in ("out", "err")]


def test_output_comes_while_it_is_written(workspace: Project) -> None:
    """A line is passed on before the command ends."""
    with workspace.popen("queue", "run", "r", *SH, "echo first; read x; echo $x", stdin=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdin is not None
        assert run.stdout.readline() == "first\n"
        run.stdin.write("second\n")
        run.stdin.flush()
        assert run.stdout.readline() == "second\n"
        assert finish(run) == 0


def test_a_daemon_left_behind_does_not_keep_the_lease(workspace: Project) -> None:
    """A process that left for a session of its own holds neither the lease nor the call, nor a substitution $(...)."""
    pid_file = workspace.root / "pid"
    script = f"setsid sleep 60 & echo $! > {pid_file}; echo done"
    wrapped = f'out=$({sys.executable} -m k1ctl queue run r -- sh -c "$1"); echo "got $out"'
    done = subprocess.run(
        ["sh", "-c", wrapped, "sh", script], cwd=workspace.root, capture_output=True, text=True, timeout=30
    )
    try:
        assert done.stdout == "got done\n"
        wait_until(lambda: workspace.run("queue", "list", "--json").json["tickets"] == [])
        assert workspace.run("queue", "run", "r", "--wait", "5s", "--", "true").exit_code == 0
        os.kill(int(pid_file.read_text()), 0)
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_a_child_left_in_the_group_keeps_the_lease(workspace: Project) -> None:
    """What still works keeps what it holds: the call returns, says so, and the next one waits for the rest."""
    fifo = workspace.root / "fifo"
    os.mkfifo(fifo)
    wrapped = f'out=$({sys.executable} -m k1ctl queue run r -- sh -c "$1"); echo "got $out $?"'
    script = f"cat {fifo} >/dev/null & echo done; exit 3"
    done = subprocess.run(
        ["sh", "-c", wrapped, "sh", script], cwd=workspace.root, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "got done 3\n"
    assert "left 1 process(es)" in done.stderr
    [entry] = workspace.run("queue", "list", "--json").json["tickets"]
    assert entry["state"] == "running"
    assert record(workspace)["state"] == "lingering"
    workspace.run("queue", "run", "r", "--wait", "100ms", "--", "true").assert_fails(75)
    with workspace.popen("queue", "run", "r", "--", "true") as waiter:
        fifo.write_text("end")
        assert finish(waiter) == 0


def test_a_reader_that_goes_away_ends_the_run(workspace: Project) -> None:
    """A broken pipe stops the command as it would without k1ctl, and nothing is said about it."""
    command = f"{sys.executable} -m k1ctl queue run r -- yes | head -1"
    done = subprocess.run(["sh", "-c", command], cwd=workspace.root, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("y\n", "")
    wait_until(lambda: workspace.run("queue", "list", "--json").json["tickets"] == [])


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_with_closed_descriptors(workspace: Project, closed: str) -> None:
    """cron and daemons start programs with descriptors closed: the command runs, the status is right."""
    mark = workspace.root / "mark"
    command = (
        f"{sys.executable} -m k1ctl queue run r -- sh -c 'echo x > {mark}; echo out; echo err >&2; exit 5' {closed}"
    )
    done = subprocess.run(["sh", "-c", command], cwd=workspace.root, capture_output=True, text=True, timeout=30)
    assert done.returncode == 5, done.stderr
    assert mark.read_text() == "x\n"
    assert done.stdout == ("" if ">&-" in closed.replace("2>&-", "") else "out\n")
    assert done.stderr == ("" if "2>&-" in closed else "err\n")


def test_on_a_terminal(workspace: Project) -> None:
    """On a terminal the output comes through it, in order, without a live line when there was no wait."""
    main, side = pty.openpty()
    argv = [sys.executable, "-m", "k1ctl", "queue", "run", "r", *SH, "echo one; echo two >&2; echo three"]
    run = subprocess.Popen(argv, cwd=workspace.root, stdin=side, stdout=side, stderr=side)
    os.close(side)
    data = b""
    try:
        while chunk := os.read(main, 4096):
            data += chunk
    except OSError:  # Linux says EIO at the end
        pass
    os.close(main)
    assert finish(run) == 0
    assert data.split() == [b"one", b"two", b"three"]


def test_odd_words_reach_the_command(workspace: Project) -> None:
    """Spaces, quotes, newlines, bytes that are no text, options and -- behind --: nothing is interpreted."""
    words = [b"a b", b"'\"", b"\n", b"\xff\xfe", b"--help", b"--", b"$HOME", b"*", b""]
    code = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    argv = [sys.executable, "-m", "k1ctl", "queue", "run", "r", "--", sys.executable, "-c", code]
    done = subprocess.run([*map(os.fsencode, argv), *words], cwd=workspace.root, capture_output=True, timeout=30)
    assert done.stderr == b""
    assert done.stdout.split(b"\0") == words
    run_id = str(record(workspace)["run"])
    assert workspace.run("queue", "show", run_id).exit_code == 0
    assert workspace.run("queue", "show", run_id, "--json").json["exit_code"] == 0


def test_the_folder_of_a_waiter_is_removed(workspace: Project) -> None:
    """A worktree that is gone when its turn comes is a failure that says so, not a bug, and the record ends."""
    doomed = workspace.root / "doomed"
    doomed.mkdir()
    with workspace.popen("queue", "run", "r", *SH, "echo up; sleep 60", env=GRACE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with workspace.popen("queue", "run", "r", "--", "true", cwd=doomed) as waiter:
            wait_until(lambda: len(workspace.run("queue", "list", "--json").json["tickets"]) == 2)
            doomed.rmdir()
            holder.terminate()
            finish(holder)
            err = waiter.communicate(timeout=30)[1]
    assert waiter.returncode == 78, err
    assert str(doomed) in err
    assert "bug" not in err
    states = [json.loads(p.read_text())["state"] for p in (workspace.ops / "runs").glob("*/run.json")]
    assert states == ["ended", "ended"]
    assert workspace.run("queue", "list", "--json").json["tickets"] == []


def test_a_call_from_a_removed_folder(workspace: Project) -> None:
    """A shell whose folder was removed gets one line."""
    gone = workspace.root / "gone"
    gone.mkdir()
    command = f"cd {gone}; rmdir {gone}; exec {sys.executable} -m k1ctl queue run r -- true"
    env = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(["sh", "-c", command], env={**os.environ, **env}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 78, done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_the_environment_of_the_command(workspace: Project) -> None:
    """The command knows its run and its lease; descriptors of k1ctl's own are not open in it but the lease's."""
    script = 'echo "$K1CTL_RUN"; echo "$K1CTL_LEASES"; ls /proc/self/fd 2>/dev/null | wc -l'
    outcome = workspace.run("queue", "run", "r", *SH, script).assert_ok()
    run_id, lease, open_files = outcome.stdout.split("\n")[:3]
    assert run_id == record(workspace)["run"]
    assert lease == f"1 {run_id} {workspace.ops / 'queue'}"
    if open_files.strip() != "0":
        assert int(open_files) == 5  # 0 1 2, the lease, and the folder that ls reads


def test_queue_wait_takes_a_run_up(workspace: Project) -> None:
    """`queue wait` ends when the run does, with its status; before that, at its own limit, with 75."""
    with workspace.popen("queue", "run", "r", *SH, "echo up; while ! test -e go; do sleep 0.02; done; exit 7") as run:
        assert run.stdout is not None
        run.stdout.readline()
        run_id = str(wait_until(lambda: (r := record(workspace))["state"] == "running" and r)["run"])
        workspace.run("queue", "wait", run_id, "--timeout", "50ms").assert_fails(75, "still running")
        (workspace.root / "go").touch()
        assert workspace.run("queue", "wait", run_id).exit_code == 7
        assert finish(run) == 7
    workspace.run("queue", "wait", "20200101-000000.000-0000").assert_fails(1, "no run")


def test_an_idle_command_is_cheap_to_watch(workspace: Project) -> None:
    """While a command is silent neither the front end nor the supervisor is busy: few context switches."""
    with workspace.popen("queue", "run", "r", *SH, "echo up; sleep 60", env=GRACE) as run:
        assert run.stdout is not None
        run.stdout.readline()
        kept = wait_until(lambda: (r := record(workspace))["state"] == "running" and r)
        watchers = [psutil.Process(run.pid), psutil.Process(int(str(kept["supervisor"])))]
        time.sleep(0.3)  # let the reading of the log settle to its idle rate
        before = sum(p.num_ctx_switches().voluntary for p in watchers)
        time.sleep(1.0)
        switches = sum(p.num_ctx_switches().voluntary for p in watchers) - before
        run.terminate()
        finish(run)
    assert switches < 60


def test_what_left_the_group_is_stopped_too(workspace: Project) -> None:
    """timeout(1) and job control put their children into groups of their own: a stop reaches them, and the lease is
    kept until they are gone.
    """
    inner = "trap 'sleep 0.2; echo $$ >> gone; exit' TERM; echo up; while :; do sleep 0.02; done"
    script = 'timeout 60 sh -c "$0"; true'
    call = ["queue", "run", "r", "--", "sh", "-c", script, inner]
    with workspace.popen(*call, env={"K1CTL_PROCESS_GRACE": "20s"}) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        with workspace.popen("queue", "run", "r", "--", "cat", "gone") as waiter:
            wait_until(lambda: len(workspace.run("queue", "list", "--json").json["tickets"]) == 2)
            run.terminate()
            assert finish(run) == 143
            out, err = waiter.communicate(timeout=30)
            assert (waiter.returncode, err) == (0, "")
            assert len(out.split()) == 1


def test_times_and_use_are_recorded(workspace: Project) -> None:
    """The record has the times on one monotonic clock, CPU seconds and the largest process."""
    began = time.monotonic()
    code = "x = bytearray(50_000_000)\nfor i in range(10**6): pass"
    workspace.run("queue", "run", "r", "--", sys.executable, "-c", code).assert_ok()
    kept = record(workspace)
    times = kept["monotonic"]
    assert isinstance(times, dict)
    names = ["enqueued", "granted", "started", "ended", "released"]
    assert [*times] == names
    assert began < times["enqueued"]
    assert sorted(times.values()) == [times[n] for n in names]
    assert isinstance(kept["attempts"], list)
    assert kept["attempts"][0]["max_rss_bytes"] > 50_000_000
    assert kept["attempts"][0]["cpu_seconds"] > 0


def test_a_reader_that_goes_away_is_no_success(workspace: Project) -> None:
    """With pipefail the pipeline fails as it would without k1ctl: 141, SIGPIPE's status."""
    command = f"set -o pipefail; {sys.executable} -m k1ctl queue run r -- yes | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=workspace.root, capture_output=True, text=True, timeout=30)

    assert done.returncode == 141


def test_a_script_that_uses_descriptor_3_keeps_the_lease(workspace: Project) -> None:
    """Its supervisor and call killed, a shell that took descriptor 3 for itself still holds the lock."""
    script = "exec 3>&1; echo up; while ! test -e go; do sleep 0.02; done"
    with workspace.popen("queue", "run", "r", "--on-caller-exit", "keep", *SH, script) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        [entry] = workspace.run("queue", "list", "--json").json["tickets"]
        run.kill()
        os.kill(entry["pid"], signal.SIGKILL)
        finish(run)
    [ticket] = (workspace.ops / "queue" / "tickets").iterdir()
    with ticket.open() as f:
        with pytest.raises(BlockingIOError):
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    (workspace.root / "go").touch()
    workspace.run("queue", "run", "r", "--wait", "20s", "--", "true").assert_ok()
