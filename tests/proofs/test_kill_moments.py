"""Killed at every moment: a run's processes die right before each of their calls into the kernel, one after another.

A preloaded library counts the calls and strikes at the Nth (crash.c). For every N and every victim: a command is never
begun twice, nothing overlaps, the next in line is served, every record and event is whole. Of a supervisor's calls
every second is struck, the others in another run of the suite, or all with ``KILL_EVERY=1``.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from k1ctl.events import parse
from k1ctl.queue import view
from tests.kit import finish, needs, wait_until
from tests.queue.holding import Detector
from tests.queue.owners import Owners

pytestmark = [
    needs("gcc"),
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc are Linux's"),
]
AT_ONCE = 3
EVERY = int(os.environ.get("KILL_EVERY", "2"))
# Stands in line in each of the folders, one after the other, and says how that ended.
NEXT = """
import sys
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
for folder in sys.argv[1:]:
    ticket = Ticket(Line(folder), {"r": 1}, lambda resource: 1)
    print("granted" if ticket.enqueue() else ticket.wait(20))
    ticket.release()
"""


@pytest.fixture(scope="module")
def library() -> Iterator[str]:
    """The preloaded library."""
    folder = tempfile.mkdtemp(prefix="k1ctl-crash-")
    path = str(Path(folder) / "crash.so")
    source = str(Path(__file__).with_name("crash.c"))
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, source, "-ldl"], check=True)
    yield path
    shutil.rmtree(folder)


class Cell:
    """A root of its own for one trial; ``owners`` hold the resource from outside when somebody has to wait."""

    resource = "r"

    def __init__(self, folder: Path, library: str, who: str, at: int, number: int = signal.SIGKILL) -> None:
        self.root = folder
        (folder / "ops").mkdir(parents=True)
        self.detector = Detector(folder / "detector")
        self.token, self.count, self.begun = folder / "token", folder / "count", folder / "begun"
        self.token.touch()
        self.crash = {
            "LD_PRELOAD": library,
            "CRASH_WHO": who,
            "CRASH_AT": str(at),
            "CRASH_TOKEN": str(self.token),
            "CRASH_SIGNAL": str(int(number)),
            "CRASH_COUNT": str(self.count),
            "CRASH_BEGUN": str(self.begun),
        }

    @property
    def queue(self) -> Path:
        return self.root / "ops" / "queue"

    def run(self, who: str, *options: str, crash: bool = False, milliseconds: int = 3) -> subprocess.Popen[bytes]:
        env = {**os.environ, "K1CTL_ROOT": str(self.root), "K1CTL_PROCESS_GRACE": "2s", **(self.crash if crash else {})}
        command = self.detector.command(who, milliseconds)
        argv = [sys.executable, "-m", "k1ctl", "queue", "run", self.resource, "--key", who, *options, "--", *command]
        with (self.root / f"err.{who}").open("wb") as out:
            return subprocess.Popen(argv, cwd=self.root, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    @property
    def struck(self) -> bool:
        return not self.token.exists()

    def said(self, who: str) -> str:
        return (self.root / f"err.{who}").read_text()

    def check(self, first: int, *, keep: bool = False) -> None:
        """What must hold however the first run ended."""
        about = f"exit {first}, struck {self.struck}: {self.said('A')}"
        assert self.detector.overlaps() == [], about
        assert len(self.detector.started("A")) <= 1, f"begun twice: {about}"
        assert "Traceback" not in self.said("A") + self.said("B"), about
        assert "bug" not in self.said("A"), about
        if first == 0:
            assert len(self.detector.ended("A")) == 1, about
        if keep:
            wait_until(lambda: len(self.detector.ended("A")) == len(self.detector.started("A")))
        for path in (self.root / "ops" / "runs").glob("*/run.json"):
            json.loads(path.read_text())
        for path in (self.root / "ops" / "events").glob("*.jsonl"):
            assert [line for line in path.read_text().splitlines() if parse(line) is None] == []


def every(trial: Callable[[int], Cell], calls: Sequence[int]) -> int:
    """Run ``trial(n)`` for each of the calls, some at once; how many of them struck. Whoever comes next is served."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        cells = list(pool.map(trial, calls))
    argv = [sys.executable, "-c", NEXT, *(str(cell.queue) for cell in cells)]
    served = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert served.stdout.split() == ["granted"] * len(cells), served
    for cell in cells:
        left = [row for row in view.entries(str(cell.queue)) if row["state"] != "parked"]
        assert left == [], cell.said("A")
    return sum(cell.struck for cell in cells)


def calls_of(folder: Path, library: str, *options: str) -> tuple[int, int]:
    """How many calls the supervisor of an undisturbed run makes before its command begins, and in all."""
    cell = Cell(folder, library, "supervisor", 0)
    assert finish(cell.run("A", *options, crash=True)) == 0
    return int(cell.begun.read_text()), int(cell.count.read_text())


def alone(n: int, *, folder: Path, library: str, who: str, rule: str) -> Cell:
    """One trial where the first run is let in at once and another comes behind it."""
    cell = Cell(folder / f"{who}{n}", library, who, n)
    first = cell.run("A", "--on-caller-exit", rule, crash=True)
    second = cell.run("B")
    codes = finish(first), finish(second)
    assert codes[1] == 0, (n, cell.said("B"))
    if who == "front":
        assert codes[0] == (-signal.SIGKILL if cell.struck else 0), (n, codes, cell.said("A"))
    else:
        assert codes[0] in (0, 76), (n, codes, cell.said("A"))
    cell.check(codes[0], keep=rule == "keep")
    return cell


@pytest.mark.parametrize("rule", ["stop", "keep"])
def test_the_supervisor_is_killed_at_every_call(tmp_path: Path, library: str, rule: str) -> None:
    """Before its own ticket, with it, granted, at the start, while it records, at the release, behind the end: the call
    ends with 0 (another supervisor took the place over) or 76 (the outcome is not known), and by the rule ``keep`` a
    command that began completes; until it begins, the rule is not looked at.
    """
    begun, last = calls_of(tmp_path / "count", library)
    assert 10 < begun < last - 10 and last > 40
    calls = range((1 if rule == "stop" else begun - 3) + os.getpid() % EVERY, last + 1, EVERY)
    trial = functools.partial(alone, folder=tmp_path, library=library, who="supervisor", rule=rule)
    assert every(trial, calls) > len(calls) * 0.8


@pytest.mark.parametrize("rule", ["stop", "keep"])
def test_the_front_end_is_killed_at_every_call(tmp_path: Path, library: str, rule: str) -> None:
    """The run is stopped or completes by its rule, or waits parked; nobody notices but the caller."""
    trial = functools.partial(alone, folder=tmp_path, library=library, who="front", rule=rule)
    assert every(trial, range(1, 25)) > 5


def behind(n: int, *, folder: Path, library: str) -> Cell:
    """One trial where the first run has to wait in line, is struck there or later, and another waits behind it."""
    cell = Cell(folder / str(n), library, "supervisor", n)
    queue = cell.queue
    with Owners(queue, net=True) as owners:
        holder = owners.enqueue({"r": 1})
        first = cell.run("A", crash=True)
        wait_until(lambda: any(name[0] in "wp" for name in os.listdir(queue / "tickets")))
        second = cell.run("B")
        wait_until(lambda: len({name.split(".")[1] for name in os.listdir(queue / "tickets")}) == 3)
        owners.end(holder)
        codes = finish(first), finish(second)
    assert codes[1] == 0, (n, cell.said("B"))
    assert codes[0] in (0, 76), (n, codes, cell.said("A"))
    cell.check(codes[0])
    return cell


def test_a_waiter_is_killed_at_every_call(tmp_path: Path, library: str) -> None:
    """In line, woken, let in, begun: whoever waits behind is served, and the call goes on or says 76. From there on it
    is as in the run that did not have to wait, which is killed at every call above.
    """
    trial = functools.partial(behind, folder=tmp_path, library=library)
    begun = min(int(trial(0).begun.read_text()), 60)  # on a busy host it looks more often while it waits
    assert begun > 15
    assert every(trial, range(1 + os.getpid() % EVERY, begun + 4, EVERY)) > begun * 0.6 / EVERY


def test_a_stop_at_any_call_delays_and_harms_nothing(tmp_path: Path, library: str) -> None:
    """SIGSTOP instead, also with the mutex held: all wait, and after SIGCONT everything goes on as if nothing was."""

    def trial(n: int) -> Cell:
        cell = Cell(tmp_path / str(n), library, "supervisor", n, signal.SIGSTOP)
        first = cell.run("A", crash=True)
        second = cell.run("B")
        wait_until(lambda: cell.struck or first.poll() is not None)
        for pid in stopped_children(first.pid) if cell.struck else []:
            os.kill(pid, signal.SIGCONT)
        codes = finish(first), finish(second)
        assert codes == (0, 0), (n, codes, cell.said("A"), cell.said("B"))
        cell.check(0)
        return cell

    calls = calls_of(tmp_path / "count", library)[1]
    assert every(trial, range(1, calls + 1, 5)) > calls * 0.1


def stopped_children(parent: int) -> list[int]:
    """The children of ``parent`` once one of them has stopped."""
    import psutil

    def found() -> list[int]:
        children = psutil.Process(parent).children()
        return [c.pid for c in children if c.status() == psutil.STATUS_STOPPED]

    return wait_until(found)
