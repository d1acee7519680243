"""`k1ctl capacity baseline`: status and output of the command, the record, what is learned, and bad calls."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from k1ctl import groups
from k1ctl.capacity import histogram
from k1ctl.capacity.baseline import Measured
from k1ctl.capacity.sampler import Sampler
from k1ctl.cli import Context
from k1ctl.errors import ConfigError, NotFoundError, UsageError
from k1ctl.plugins import Plugins
from k1ctl_plugins.capacity.baseline import _learn, baseline
from tests.kit import Project, finish
from tests.test_startup import HEAVY, imported

MB = 1 << 20
# Takes 60 MiB, and ends when who watches has gone to sleep some more times, which it does after each look
WATCHED = """
import os, sys, time
def slept():
    rows = [line.split() for line in open(f"/proc/{os.getppid()}/status")]
    return next(int(row[1]) for row in rows if row[0] == "voluntary_ctxt_switches:")
print("from the command", flush=True)
x = bytearray(b"x") * (60 << 20)
if os.path.exists("/proc/self/status"):
    until = slept() + 5
    while slept() < until: time.sleep(0.002)
else:
    time.sleep(0.5)
sys.exit(int(sys.argv[1]))
"""


def test_status_and_output_are_the_commands_and_the_record_is_kept(workspace: Project) -> None:
    """Its output stays on stdout, its exit code ours; a run that failed teaches its class nothing."""
    done = workspace.run("capacity", "baseline", "--class", "small", "--", sys.executable, "-c", WATCHED, "3")
    assert done.exit_code == 3 and done.stdout == "from the command\n"
    assert "small learns nothing from it: it ended with exit code 3" in done.stderr and "peak" in done.stderr
    (record,) = (workspace.ops / "benchmarks").glob("*-resource-baseline.json")
    assert json.loads(record.read_text())["exit_code"] == 3 and record.with_suffix(".svg").exists()
    done = workspace.run(
        *("capacity", "baseline", "--class", "small", "--plot", "a.svg", "--json"),
        *("--", sys.executable, "-c", WATCHED, "0"),
    )
    found = json.loads(done.assert_ok().stdout)
    assert "from the command" in done.stderr and (workspace.root / "a.svg").read_text().startswith("<svg")
    assert found["learned"]["class"] == "small" and found["learned"]["runs"] == 1
    assert (
        found["learned"]["confidence"] == "low" and found["learned"]["largest_bytes"] == found["memory"]["peak_bytes"]
    )
    assert Path(found["file"]).parent == workspace.ops / "benchmarks" and found["memory"]["at_most_bytes"] >= 60 * MB


def test_what_was_hardly_seen_teaches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is over in some milliseconds has no peak, or one of its last moment: it says so."""
    found = Measured(Sampler(session=2**22 + 1), ["true"], 2**22 + 1)
    found.exit_code = 0
    assert _learn(found, "small") is None and histogram.of("small") is None
    assert "small learns nothing from it: it was over before" in capsys.readouterr().err
    for at in range(3):
        found.sampler.trace.add((at / 100, 5 * MB, None, 5 * MB, 1, 0.0))
    found.sampler.peak_row = found.sampler.trace.rows[0]
    learned = _learn(found, "small")
    assert learned is not None and learned["largest_bytes"] == 5 * MB


def test_a_command_outlives_a_killed_baseline(workspace: Project) -> None:
    """Measuring must not end what is measured: after SIGKILL the command goes on, and nothing is half written."""
    process = workspace.popen("capacity", "baseline", "--", "/bin/sh", "-c", "echo $$; exec sleep 60")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    finish(process)
    assert groups.living(pid)
    os.killpg(pid, signal.SIGKILL)
    assert os.listdir(workspace.ops / "benchmarks") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no command"),
        (["--pid", "1", "--", "ls"], "two things"),
        (["--pid", "1", "--container", "x"], "a second time"),
        (["--interval", "1ms", "--", "ls"], "50ms to 1h"),
        (["--class", "x" * 65, "--", "ls"], "at most 64"),
        (["--plot", "a.pdf", "--", "ls"], ".svg or a .png"),
        (["--pid", "4194305"], "no process 4194305"),
    ],
)
def test_bad_calls(words: list[str], message: str, workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is refused before anything is run or written, in one sentence."""
    monkeypatch.chdir(workspace.root)
    done = CliRunner().invoke(baseline, words, obj=Context(Plugins()))
    assert isinstance(done.exception, UsageError) and message in done.exception.message
    assert not [*workspace.ops.glob("benchmarks/*")]


def test_a_png_without_its_library_is_refused_before_the_command_runs(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names the extra."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    done = CliRunner().invoke(baseline, ["--plot", "a.png", "--", "touch", "ran"], obj=Context(Plugins()))
    assert isinstance(done.exception, NotFoundError) and "k1ctl[plot]" in done.exception.hint
    assert not (workspace.root / "ran").exists()


def test_what_cannot_be_written_is_told_all_the_same(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at the end: the figures are printed, the exit code is 1 where the command's was 0. Facts of
    the host that cannot be read are an error before the command runs."""
    monkeypatch.chdir(workspace.root)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "benchmarks")

    monkeypatch.setattr("k1ctl.capacity.baseline_record.write_atomic", full)
    done = CliRunner().invoke(baseline, ["--json", "--", "true"], obj=Context(Plugins()), standalone_mode=False)
    assert json.loads(done.stdout)["problem"] == "benchmarks: No space left on device" and done.return_value == 1
    done = CliRunner().invoke(baseline, ["--", "sh", "-c", "exit 4"], obj=Context(Plugins()), standalone_mode=False)
    assert done.return_value == 4 and "not all could be written" in done.stderr and "exit" in done.stderr
    monkeypatch.setenv("K1CTL_FACTS", "nowhere")
    done = CliRunner().invoke(baseline, ["--", "touch", "ran"], obj=Context(Plugins()))
    assert isinstance(done.exception, ConfigError) and not (workspace.root / "ran").exists()


def test_asking_for_help_stays_light(workspace: Project) -> None:
    """Nothing that costs is imported before there is something to measure."""
    assert not imported("capacity", "baseline", "--help", cwd=workspace.root) & HEAVY
