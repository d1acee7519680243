"""`k1ctl device test`: reports, JUnit, exit codes, and the former pattern back after signals and kills."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.cli import cli
from k1ctl.simulator.faults import Faults
from k1ctl.testing import SimulatedDevice
from k1ctl_plugins.device.test import junit
from tests import desk
from tests.kit import Project, finish, wait_until

LAVA, TWILIGHT = 1, 2
RULES = '[test]\nduration = 0.01\nsettle = 0\ndelay = 0.01\nlost = 1\n[process]\ngrace = "5s"\n'
STATES = {"passed": None, "failed": "failure", "void": "error", "skipped": "skipped"}


@pytest.fixture
def device(workspace: Project, tmp_path: Path) -> Iterator[SimulatedDevice]:
    """A device that shows `twilight` and answers as often as it is asked."""
    with SimulatedDevice(tmp_path / "sim", "windows=0") as simulated:
        simulated.device.settings.pattern = TWILIGHT
        workspace.configure(RULES + simulated.toml())
        yield simulated


def mark(workspace: Project) -> Path:
    return workspace.ops / "device" / "k1.test.json"


def check_shape(text: bytes) -> xml.Element:
    """The suite of a document in the shape of Jenkins' junit-10.xsd: elements, their order, attributes, counts."""
    whole = xml.fromstring(text)
    assert whole.tag == "testsuites" and set(whole.attrib) <= {"name", "time", "tests", "failures", "errors"}
    (suite,) = whole
    known = {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"}
    assert suite.tag == "testsuite" and {"name", "tests", "failures", "errors"} <= set(suite.attrib) <= known
    cases = suite.findall("testcase")
    assert [e.tag for e in suite] in (["testcase"] * len(cases), ["testcase"] * len(cases) + ["system-out"])
    for case in cases:
        assert set(case.attrib) == {"classname", "name", "time"} and float(case.attrib["time"]) >= 0
        assert [e.tag for e in case if e.tag != "system-out"] in ([], ["skipped"], ["error"], ["failure"])
        for element in case:
            assert set(element.attrib) <= {"message", "type"} and len(element) == 0
    counts = {n: sum(case.find(e) is not None for case in cases) for n, e in STATES.items() if e}
    assert [suite.attrib[n] for n in ("failures", "errors", "skipped")] == [
        str(counts[s]) for s in ("failed", "void", "skipped")
    ]
    assert suite.attrib["tests"] == str(len(cases))
    return suite


TEXTS = st.text(st.characters(), max_size=30)


@settings(max_examples=40)
@given(st.lists(st.tuples(TEXTS, st.sampled_from(list(STATES)), TEXTS), max_size=4), TEXTS)
def test_junit_of_hostile_names(rows: list[tuple[str, str, str]], name: str) -> None:
    """Whatever patterns, devices and messages are called, the document is well-formed and has the schema's shape."""
    results = [
        {"pattern": p, "state": s, "code": m, "message": m, "seconds": 0.5, "figures": {"fps": 1.5}, "warnings": [m]}
        for p, s, m in rows
    ]
    found = {"device": name, "host": name, "message": name, "results": results, "restored": None}
    suite = check_shape(junit.document(found, "2026-01-03T10:15:00.000Z"))
    for case, (pattern, state, _) in zip(suite.findall("testcase"), rows, strict=True):
        shown = case.attrib["name"]
        assert len(shown) == len(pattern) and all(a == b or a == "?" for a, b in zip(shown, pattern, strict=True))
        assert [e.tag for e in case if e.tag != "system-out"] == ([STATES[state]] if STATES[state] else [])


def test_compare_and_report(workspace: Project, device: SimulatedDevice) -> None:
    """One pattern is slower than its baseline, one has none: table, JUnit, event and exit code agree, and name the
    device that was taken of the group."""
    workspace.configure(f'{RULES}{device.toml()}[devices.k2]\nhost = "127.0.0.1"\nhttp_port = 9\n')
    known = {"pattern": "lava", "baseline": {"fps": 170.0}, "thresholds": {"render_time_ms_max": 1.3}}
    workspace.write("ops/baselines/lava.json", json.dumps(known))
    (workspace.root / "a.xml").symlink_to("junit.xml")
    words = ("lava", "departure", "--device", "any", "--junit", "a.xml")
    outcome = workspace.run("device", "test", *words).assert_fails(1, "k1: lava: failed", "prompt.md")
    assert (workspace.root / "a.xml").is_symlink()
    lines = outcome.stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["lava", "failed", "149.5"], ["departure", "passed", "150.2"]]
    assert "(-12.1 %)" in lines[1] and "no baseline" in lines[2] and lines[3] == "k1: 1 passed, 1 failed"
    cases = check_shape((workspace.root / "a.xml").read_bytes()).findall("testcase")
    failure = cases[0].find("failure")
    assert failure is not None and failure.attrib["type"] == "pattern-regression"
    for text in ("12.06 % worse than the baseline of 170 fps", "at most 1.3 ms a frame is set"):
        assert text in failure.attrib["message"] and text in outcome.stderr
    assert device.device.settings.pattern == TWILIGHT
    (event,) = workspace.events("test.finished")
    assert (event["device"], event["outcome"], event["not_passed"]) == ("k1", "failed", ["lava"])


def test_a_busy_device_is_skipped_and_not_away(workspace: Project, device: SimulatedDevice) -> None:
    """429 to everything is 77, too, but nobody is told that it is gone."""
    device.device.faults = Faults(["busy"])
    workspace.configure(f"{RULES}{device.toml()}probe_timeout = 0.1\n")
    workspace.run("device", "test", "lava").assert_fails(77, "hint: others poll it", "again in 10 ms")
    assert not (workspace.ops / "device" / "k1.escalation.json").exists()


def test_offline_is_skipped_by_the_run_target(workspace: Project) -> None:
    """`hook run test:pattern` works as it is; a device that is off is 77 after three attempts, and never failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        workspace.configure(f'{RULES}[devices.k1]\nhost = "127.0.0.1"\nhttp_port = {port}\n')
        outcome = workspace.run("hook", "run", "test:pattern", "lava", "--junit", "b.xml").assert_fails(77, "skipped: ")
    assert outcome.stderr.count("attempt ") == 3
    (case,) = check_shape((workspace.root / "b.xml").read_bytes()).findall("testcase")
    assert case.find("skipped") is not None and case.attrib["name"] == "lava"
    (event,) = workspace.events("test.skipped")
    assert (event["attempts"], event["code"], event["exit_code"]) == (3, "device-offline", 77)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("lava", "--all"), 2, "--all"),
        (("--device", "k9"), 78, "k9"),
        (("lava", "--duration", "0"), 2, "--duration"),
        (("lava", "--junit", "none/a.xml"), 2, "none/a.xml"),
        (("broken",), 65, "ops/baselines/broken.json"),
    ],
)
def test_wrong_calls(workspace: Project, words: tuple[str, ...], code: int, text: str) -> None:
    """What is wrong is told before the call stands in line."""
    workspace.configure('[devices.k1]\nhost = "127.0.0.1"\n')
    workspace.write("ops/baselines/broken.json", "{")
    workspace.run("device", "test", *words).assert_fails(code, text)
    assert not workspace.events("queue.granted")


def test_a_wait_that_ends_is_in_the_junit_file(workspace: Project) -> None:
    """Still in line after --wait: 75, and CI finds an error in the file, not what an earlier call left."""
    workspace.configure('[devices.k1]\nhost = "127.0.0.1"\n')
    holder = workspace.popen("queue", "run", "device:k1", "--", "sleep", "60")
    try:
        wait_until(lambda: workspace.events("queue.granted"))
        workspace.run("device", "test", "lava", "--wait", "0.05", "--junit", "c.xml").assert_fails(75)
    finally:
        holder.terminate()
        holder.communicate()
        finish(holder)
    (case,) = check_shape((workspace.root / "c.xml").read_bytes()).findall("testcase")
    error = case.find("error")
    assert error is not None and error.attrib["type"] == "queue-timeout"


def test_a_run_that_cannot_be_begun_is_in_the_junit_file(
    workspace: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever it is that fails before there is a run, CI does not read what an earlier call left."""
    workspace.configure('[devices.k1]\nhost = "127.0.0.1"\n')

    def fork() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", fork)
    path = tmp_path / "d.xml"
    words = ["--root", str(workspace.root), "device", "test", "lava", "--junit", str(path)]
    with pytest.raises(OSError, match="no more processes"):
        cli.main(words, standalone_mode=False)
    (case,) = check_shape(path.read_bytes()).findall("testcase")
    error = case.find("error")
    assert error is not None and "no more processes" in error.attrib["message"]


def begun(workspace: Project, device: SimulatedDevice) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A test that samples for a long time: the call, and the record of its run."""
    front = workspace.popen("device", "test", "lava", "--duration", "300s", "--json")
    wait_until(lambda: device.device.settings.pattern == LAVA)
    wait_until(lambda: desk.runs(workspace, kind="device-test")[0].get("pid"))
    return front, desk.runs(workspace, kind="device-test")[0]


def test_a_stopped_test_puts_the_pattern_back(workspace: Project, device: SimulatedDevice) -> None:
    """^C ends it in the middle of a sample; the former pattern is there before the call ends."""
    front, _ = begun(workspace, device)
    front.send_signal(signal.SIGINT)
    front.communicate()
    assert (finish(front), device.device.settings.pattern, mark(workspace).exists()) == (130, TWILIGHT, False)


def test_a_test_that_nobody_waits_for_ends(workspace: Project, device: SimulatedDevice) -> None:
    """kill -9 of call and supervisor: the worker ends long before its time, and the pattern is back."""
    front, run = begun(workspace, device)
    os.kill(front.pid, signal.SIGKILL)
    os.kill(run["supervisor"], signal.SIGKILL)
    front.communicate()
    finish(front)
    wait_until(lambda: not mark(workspace).exists())
    assert device.device.settings.pattern == TWILIGHT
    wait_until(lambda: json.loads((Path(run["folder"]) / "test-outcome.json").read_text())["state"] == "ended")


@pytest.mark.parametrize("victim", ["pid", "front"])
def test_a_kill_puts_the_pattern_back(workspace: Project, device: SimulatedDevice, victim: str) -> None:
    """kill -9 of the worker: the supervisor does it, with the lease held; of the call: the worker, told by TERM."""
    front, run = begun(workspace, device)
    os.kill(front.pid if victim == "front" else run["pid"], signal.SIGKILL)
    front.communicate()
    assert finish(front) == (-signal.SIGKILL if victim == "front" else 137)
    wait_until(lambda: not mark(workspace).exists())
    assert device.device.settings.pattern == TWILIGHT
    wait_until(lambda: workspace.events("run.ended"))
    (event,) = workspace.events("test.finished")
    assert event["outcome"] == "void"


def test_the_next_test_puts_the_pattern_back(workspace: Project, device: SimulatedDevice) -> None:
    """kill -9 of supervisor and worker: the mark tells the next test, whatever pattern it finds shown. Its results are
    told although nobody reads the pipe that they are to go into."""
    front, run = begun(workspace, device)
    os.kill(front.pid, signal.SIGSTOP)  # else it would stop the worker as the supervisor would have done
    os.kill(run["supervisor"], signal.SIGKILL)
    os.kill(run["pid"], signal.SIGKILL)
    os.kill(front.pid, signal.SIGCONT)
    front.communicate()
    finish(front)
    assert (device.device.settings.pattern, mark(workspace).exists()) == (LAVA, True)
    os.mkfifo(workspace.root / "pipe.xml")
    words = ("departure", "--json", "--junit", "pipe.xml")
    report = workspace.run("device", "test", *words).assert_fails(1, "twilight is shown again").json
    assert (report["outcome"], report["passed"], report["restored"]["state"]) == ("passed", 1, "restored")
    assert report["error"]["code"] == "junit-unwritten" and (workspace.root / "pipe.xml").is_fifo()
    assert report["results"][0]["figures"] == {"fps": 150.2, "render_time_ms": 1.21, "memory_kb": 155}
    assert (device.device.settings.pattern, mark(workspace).exists()) == (TWILIGHT, False)
