"""Copies of a command on this host: what their ends mean, and that none outlives an interruption."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl.capacity import cells, executor
from k1ctl.capacity.cells import Cell, Look, Stop
from k1ctl.capacity.executor import Copies, Interrupted
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.limited import Ended, Limited
from k1ctl.capacity.oom import Verdict
from k1ctl.capacity.stress import figures
from k1ctl.errors import K1ctlError

CELL = Cell(2, 64 << 20, 0.0)


def never(before: Facts, look: Look) -> Stop | None:
    return None


def quiet(ended: int, running: int) -> None:
    pass


def ended(by: str = "", confidence: str = "certain", exit_code: int | None = 1, more: int = 1) -> Ended:
    verdict = Verdict(by, confidence, "it lacked memory", [], None, more) if by else None
    return Ended(exit_code, 0 if exit_code is not None else 9, 1.0, 1.0, 7, 7, verdict, "watchdog")


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (ended(exit_code=0), executor.DONE),
        (ended(), executor.FAILED),
        (ended(exit_code=None), executor.FAILED),
        (ended("limit"), executor.OOM),
        (ended("cgroup", exit_code=0), executor.OOM),  # an exit code says nothing of memory
        (ended("kernel", "likely", None), executor.HOST_OOM),
        (ended("kernel", "possible", None), executor.FAILED),  # killed by nobody that is known
        (ended("program", "likely"), executor.OOM),
        (ended("program", "likely", more=0), executor.FAILED),  # V8 met a limit of its own
        (ended("program", "possible", 0), executor.DONE),  # it got over it
    ],
)
def test_what_an_end_means(end: Ended, outcome: str) -> None:
    """Memory is the reason when the verdict says so with some certainty, and more of it would help."""
    assert executor._job(1, end, "").outcome == outcome


def test_an_interruption_leaves_nobody(tmp_path: Path) -> None:
    """When the descriptor can be read every copy is ended, those that ignore TERM too."""
    read, write = os.pipe()
    copies = Copies(["sh", "-c", "trap '' TERM; sleep 60"], str(tmp_path), interrupt=read, every=0.05)
    copies.grace = 0.05
    calls = []

    def interrupt(before: Facts, look: Look) -> Stop | None:
        calls.append(executor._left_behind(str(tmp_path)))
        os.write(write, b".")
        return None

    try:
        with pytest.raises(Interrupted):
            copies.run(CELL, 4, interrupt, quiet)
    finally:
        os.close(read)
        os.close(write)
    assert len(calls[0]) >= 2
    assert executor._left_behind(str(tmp_path)) == []


def test_what_copies_leave_behind_ends_with_the_cell(tmp_path: Path) -> None:
    """One that leaves a process in its group has ended after the grace, one that leaves a daemon at once; neither lives
    when the cell is over. What a k1ctl among them runs is left to that one: it may be a flash."""
    daemon = "import os, time, sys; os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(60)); print(7)"
    script = f'if [ {{i}} = 1 ]; then sleep 60 & else {sys.executable} -c "{daemon}"; fi'
    run = subprocess.Popen(["sleep", "60"], env={**os.environ, executor.MARK: f"{tmp_path}//", "K1CTL_RUN": "inner"})
    copies = Copies(["sh", "-c", script], str(tmp_path), every=0.05)
    copies.grace = 0.1
    told: list[list[int]] = []
    copies.tell = told.append
    try:
        ran = copies.run(CELL, 2, never, quiet)
        assert {job.outcome for job in ran.jobs} == {executor.DONE}
        assert executor._left_behind(str(tmp_path)) == [] and run.poll() is None
        assert max(map(len, told)) == 2 and told[-1] == []
    finally:
        run.kill()
        run.wait()


def test_a_copy_that_cannot_be_watched_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host without room for its watchdog a copy is ended, and those beside it: nothing unlimited is left."""

    def poll(copy: Limited) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("k1ctl.capacity.limited.Limited.poll", poll)
    limits = cells.Limits(1 << 34, 0)
    ran = Copies(["sleep", "60"], str(tmp_path)).run(CELL, 4, lambda b, look: cells.stop(b, look, limits), quiet)
    assert ran.stop is not None and ran.stop.rule == "host-oom"
    assert [job.text for job in ran.jobs] == ["cannot be watched: Resource temporarily unavailable"] * 2
    assert executor._left_behind(str(tmp_path)) == []


@pytest.mark.parametrize(("number", "rule"), [(errno.ENOMEM, "host-oom"), (errno.EACCES, "")])
def test_a_copy_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, rule: str) -> None:
    """A host without memory for one more process stops the cell; what is no program is a failed run."""

    def start(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("k1ctl.capacity.limited.start", start)
    limits = cells.Limits(1 << 34, 0)
    ran = Copies(["true"], str(tmp_path)).run(CELL, 4, lambda b, look: cells.stop(b, look, limits), quiet)
    assert (ran.stop.rule if ran.stop else "") == rule
    assert {job.outcome for job in ran.jobs} == {executor.HOST_OOM if rule else executor.FAILED}
    assert len(ran.jobs) == (2 if rule else 4)


def test_what_the_host_suffers_stops_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts are read anew while copies run: one that fills the swap stops its cell with the number, and the copies
    are ended."""
    calm = {"cores": 4, "memory_bytes": 1 << 34, "swap_bytes": 1000, "swap_used_bytes": 0, "swapped_out_pages": 5}
    (tmp_path / "facts").write_text(json.dumps(calm))
    (tmp_path / "later").write_text(json.dumps({**calm, "swap_used_bytes": 600, "swapped_out_pages": 9}))
    monkeypatch.setenv("K1CTL_FACTS", str(tmp_path / "facts"))
    script = "[ {i} = 2 ] || mv later facts; exec sleep 60"
    copies = Copies(["sh", "-c", script], str(tmp_path), cwd=str(tmp_path), every=0.02)
    limits = cells.Limits(1 << 34, 0)
    ran = copies.run(CELL, 4, lambda before, look: cells.stop(before, look, limits), quiet)
    line = figures(CELL, ran)
    assert (line["stop"]["rule"], line["stop"]["value"], line["stop"]["limit"]) == ("swap", 60.0, 50)
    assert (line["swap_used_peak_bytes"], line["swap_delta_bytes"], line["swapped_out_pages"]) == (600, 600, 4)
    assert (line["started"], line["ended"], line["failed"]) == (2, 2, 0)


def test_a_folder_that_is_taken_away_is_no_failure_of_the_command(tmp_path: Path) -> None:
    """Without its folder the run ends with what is wrong, and not with figures of copies that could not log."""
    copies = Copies(["rm", "-r", str(tmp_path / "run")], str(tmp_path / "run"), cwd=str(tmp_path))
    with pytest.raises(K1ctlError, match=r"1x64M/1\.log cannot be written: No such file"):
        copies.run(Cell(1, 64 << 20, 0.0), 4, never, quiet)


def test_timeouts_and_failures_are_told_apart(tmp_path: Path) -> None:
    """Copy 1 fails, copy 2 runs past its limit and ignores TERM; each has its output in a log of its own."""
    script = "trap '' TERM; echo copy {i}; [ {i} = 1 ] || sleep 60; exit 3"
    copies = Copies(["sh", "-c", script], str(tmp_path), timeout=60, every=0.02)
    copies.grace = 0.05
    second = tmp_path / "logs" / CELL.name / "2.log"

    def tell(ended: int, running: int) -> None:
        if ended == running == 1 and second.read_text():  # both have done what they do
            copies.timeout = 0.01

    ran = copies.run(CELL, 2, never, tell)
    assert {job.number: job.outcome for job in ran.jobs} == {1: executor.FAILED, 2: executor.TIMEOUT}
    assert {job.number: job.text.partition(",")[0] for job in ran.jobs} == {1: "exit 3", 2: "ran past its limit"}
    assert [(tmp_path / "logs" / CELL.name / f"{n}.log").read_text() for n in (1, 2)] == ["copy 1\n", "copy 2\n"]
