"""`queue run` comes to an end: its limit, its attempts, and the signals that it is sent."""

from __future__ import annotations

import re
import signal

import pytest

from tests.kit import Project, finish, wait_until
from tests.process.calls import GRACE, SH, lines, record


def test_a_run_past_its_limit(workspace: Project) -> None:
    """TERM first: a command that cleans up can; exit 124, k1ctl's."""
    script = "trap 'echo cleaned; exit 0' TERM; echo up; sleep 60 & wait"
    outcome = workspace.run("queue", "run", "r", "--timeout", "300ms", *SH, script, env=GRACE)
    outcome.assert_fails(124, "ran past its limit of 300 ms")
    assert outcome.stdout == "up\ncleaned\n"


def test_a_command_that_ignores_term_is_killed(workspace: Project) -> None:
    """KILL after the grace period, to the whole group; nobody survives."""
    script = "trap '' TERM; (trap '' TERM; sleep 60; true) & sleep 60; true"
    workspace.run("queue", "run", "r", "--timeout", "200ms", *SH, script, env=GRACE).assert_fails(124)
    assert workspace.run("queue", "list", "--json").json["tickets"] == []


def test_a_stopped_command_is_stopped_for_good(workspace: Project) -> None:
    """A command that was paused (SIGSTOP) still ends at its limit."""
    workspace.run("queue", "run", "r", "--timeout", "200ms", *SH, "kill -STOP $$", env=GRACE).assert_fails(124)


def test_retries(workspace: Project) -> None:
    """A failing command is tried again with the same lease, had since the first; the waits double; each attempt is in
    the record."""
    script = "cat ops/queue/tickets/r* >> facts; echo x >> tries; [ $(wc -l < tries) = 4 ]"
    options = ["--retries", "5", "--backoff", "exponential", "--delay", "20ms"]
    outcome = workspace.run("queue", "run", "r", *options, *SH, script).assert_ok()
    assert [word for word in outcome.stderr.split() if word.startswith("0.")] == ["0.02", "0.04", "0.08"]
    kept = record(workspace)
    attempts = kept["attempts"]
    assert isinstance(attempts, list)
    assert [a["exit_code"] for a in attempts] == [1, 1, 1, 0]
    assert len(workspace.events("queue.granted")) == 1
    assert len(workspace.events("run.retry")) == 3
    facts = (workspace.root / "facts").read_text()
    assert len(set(re.findall(r'"granted_at":"([^"]+)"', facts))) == 1


def test_retries_run_out(workspace: Project) -> None:
    """After the last attempt its status is ours."""
    script = "echo x >> tries; exit $(wc -l < tries)"
    assert workspace.run("queue", "run", "r", "--retries", "2", *SH, script).exit_code == 3


def test_each_attempt_has_the_limit(workspace: Project) -> None:
    """--timeout limits an attempt; one that ran past it is tried again."""
    script = "echo x >> tries; [ $(wc -l < tries) = 2 ] || sleep 60"
    workspace.run("queue", "run", "r", "--retries", "1", "--timeout", "300ms", *SH, script, env=GRACE).assert_ok()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_forwarded(workspace: Project, number: signal.Signals) -> None:
    """^C reaches the command as INT, and its answer is the status; TERM stops it."""
    script = (
        "trap 'echo interrupted; kill -9 $!; exit 7' INT; trap 'echo terminated; exit 8' TERM; sleep 60 & echo up; wait"
    )
    with workspace.popen("queue", "run", "r", *SH, script, env=GRACE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        run.send_signal(number)
        word = run.stdout.readline()
        code = finish(run)
    assert (word, code) == (("interrupted\n", 7) if number == signal.SIGINT else ("terminated\n", 143))


def test_a_second_interrupt_stops(workspace: Project) -> None:
    """A command that ignores ^C ends at the second one."""
    script = "trap 'echo no' INT; echo up; while :; do sleep 0.02; done"
    with workspace.popen("queue", "run", "r", *SH, script, env=GRACE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        run.send_signal(signal.SIGINT)
        assert run.stdout.readline() == "no\n"
        run.send_signal(signal.SIGINT)
        assert finish(run) == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_attempts_ends_the_run(workspace: Project, number: signal.Signals) -> None:
    """Who ends the call while it pauses before another attempt does not wait for that attempt; also when the one
    before ran past its limit.
    """
    script = "echo x >> tries; sleep 60"
    options = ["--retries", "9", "--delay", "60s", "--timeout", "100ms"]
    with workspace.popen("queue", "run", "r", *options, *SH, script, env=GRACE) as run:
        assert run.stderr is not None
        while "attempt 2 starts" not in (said := run.stderr.readline()):
            assert said
        run.send_signal(number)
        assert finish(run, 20) in (124, 130, 143)
    assert lines(workspace.root / "tries") == ["x"]
    assert workspace.run("queue", "list", "--json").json["tickets"] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_waiting_parks(workspace: Project, number: signal.Signals, code: int) -> None:
    """Who ends the call while it waits leaves the place parked."""
    with workspace.popen("queue", "run", "r", *SH, "echo up; sleep 60", env=GRACE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with workspace.popen("queue", "run", "r", "--", "true") as waiter:
            wait_until(lambda: len(workspace.run("queue", "list", "--json").json["tickets"]) == 2)
            waiter.send_signal(number)
            assert finish(waiter) == code
        states = [e["state"] for e in workspace.run("queue", "list", "--json").json["tickets"]]
        assert states == ["running", "parked"]
        holder.terminate()
        finish(holder)
