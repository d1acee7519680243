"""Commands that are promised memory of one small host, who watches them, and an eye that takes no lock.

The eye lists the tickets and then reads the promises one by one: what is in both was promised at one moment between,
so a sum above the limit is one, whatever came and went meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psutil

from k1ctl.capacity import promises, watched
from k1ctl.capacity.limits import MIB
from k1ctl.queue import names
from tests.kit import Project

HOST = {"system": "linux", "cores": 16, "memory_bytes": 64 << 30, "available_bytes": 64 << 30}
# Marks that it began, takes memory, stays, marks that it ends: every line is one write. With `greed` it then takes so
# much more, keeps it, and marks that nobody minded.
EATER = """
import os, sys, time
log, who, need, size, stay, greed = sys.argv[1], *map(float, sys.argv[2:])
def mark(what):
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{what} {who:.0f} {need:.0f} {os.getpid()} {time.monotonic_ns()}\\n".encode())
    os.close(fd)
mark("S")
mine = [bytearray(int(size) << 20)]
time.sleep(stay)
for _ in range(int(greed)):
    mine.append(bytearray(1 << 20))
    time.sleep(0.001)
if greed:
    time.sleep(1.5)
    mark("ESCAPED")
mark("E")
"""


class Mark(NamedTuple):
    """``S`` start, ``E`` end or ``ESCAPED``; whose; MiB that it was promised; its process; monotonic seconds."""

    what: str
    who: int
    need: int
    pid: int
    at: float


class Host:
    """A host of 64 GiB of which ``limit`` MiB may be promised, shared by ``projects``."""

    def __init__(self, folder: Path, projects: list[Project], limit: int, more: str = "") -> None:
        self.folder, self.projects, self.limit = folder, projects, limit
        self.log, self.facts = folder / "marks", folder / "facts.json"
        self.facts.write_text(json.dumps(HOST))
        self.env = {"K1CTL_FACTS": str(self.facts)}
        for project in projects:
            project.configure(f'[capacity]\nmemory = "{limit}M"\nlimit_by = "watchdog"\n{more}')
        self.started: list[subprocess.Popen[str]] = []

    @property
    def place(self) -> str:
        return promises.folder()

    def run(
        self, who: int, need: int, *options: str, size: int = 0, stay: float = 0.0, greed: int = 0, wait: str = "60s"
    ) -> subprocess.Popen[str]:
        """Start a `capacity run` that is promised ``need`` MiB and takes ``size`` MiB for ``stay`` seconds."""
        project = self.projects[who % len(self.projects)]
        eater = [sys.executable, "-I", "-S", "-c", EATER, *map(str, (self.log, who, need, size, stay, greed))]
        words = ["capacity", "run", "--need", f"mem={need}M", "--wait", wait, *options, "--", *eater]
        with (self.folder / f"said.{who}").open("w") as said:
            self.started.append(project.popen(*words, env=self.env, stdout=said, stderr=said))
        return self.started[-1]

    def said(self, who: int) -> str:
        return (self.folder / f"said.{who}").read_text()

    def marks(self) -> list[Mark]:
        """What the commands wrote down, in the order of time; a torn line is an error."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        parts = [line.split() for line in lines]
        marks = [Mark(what, int(who), int(need), int(pid), int(ns) / 1e9) for what, who, need, pid, ns in parts]
        return sorted(marks, key=lambda mark: mark.at)

    def most_promised(self) -> int:
        """MiB that were promised at once to commands that ran, by what each wrote down itself."""
        now = most = 0
        for mark in self.marks():
            now += {"S": mark.need, "E": -mark.need}.get(mark.what, 0)
            most = max(most, now)
        return most

    def left(self) -> list[str]:
        """What is still promised, waits, or is limited, when all is over."""
        found = [f"{p.what} {p.run}" for p in promises.held(self.place, waiting=True, seen=False)]
        return found + [command.folder for command in watched.every() if command.guarded()]

    def guardians(self) -> list[psutil.Process]:
        """The watchdogs of this host, those on standby too."""
        return [p for p in _processes() if any("k1ctl.capacity.watchdog" in word for word in _words(p))]

    def supervisors(self) -> list[int]:
        """Who holds the promises."""
        return [p.pid for p in promises.held(self.place, seen=False) if p.pid]


def _processes() -> Iterator[psutil.Process]:
    mine = os.environ["K1CTL_HOST_DIR"]
    for process in psutil.process_iter():
        try:
            if process.environ().get("K1CTL_HOST_DIR") == mine:
                yield process
        except (psutil.Error, OSError):
            continue


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


class Eye:
    """A context manager that looks on from a thread: ``over`` are the moments at which more than the host's limit was
    promised, ``most`` MiB the most that was; ``seen`` bytes the most that the commands had at once."""

    def __init__(self, host: Host, *, memory: bool = False) -> None:
        self.host, self.memory = host, memory
        self.over: list[str] = []
        self.most = self.seen = self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Eye:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.004):
            self._look()
            if self.memory:
                self.seen = max(self.seen, self._resident())

    def _look(self) -> None:
        try:
            files = os.listdir(os.path.join(self.host.place, "tickets"))
        except FileNotFoundError:
            return
        listed = {str(name.seq) for name in map(names.parse, files) if name is not None and name.state == "r"}
        rows = {p.id: p for p in promises.held(self.host.place, seen=False)}
        both = [p for p in rows.values() if p.id in listed or not p.place]
        total = sum(p.units.get("mem", 0) for p in both)
        self.looks += 1
        self.most = max(self.most, total)
        if total > self.host.limit:
            self.over.append(f"{total} MiB: {[(p.id, p.units, p.kind) for p in both]}")

    def _resident(self) -> int:
        marks = self.host.marks()
        ended = {mark.pid for mark in marks if mark.what == "E"}
        return sum(_rss(mark.pid) for mark in marks if mark.what == "S" and mark.pid not in ended)


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; whether there was somebody."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def seconds(since: float) -> float:
    return time.monotonic() - since


__all__ = ["HOST", "MIB", "Eye", "Host", "Mark", "kill", "seconds"]


def documents(project: Project) -> list[dict[str, Any]]:
    """The records of a repository's runs; each is whole."""
    return [json.loads(path.read_text()) for path in (project.ops / "runs").glob("*/run.json")]
