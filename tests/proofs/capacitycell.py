"""Commands that are promised memory of one small host, who watches them, and an eye that takes no lock.

The eye lists the tickets and then reads the promises one by one: what is in both was promised at one moment between,
so a sum above the limit is one, whatever came and went meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from k1ctl.capacity import promises, watched
from k1ctl.queue import names
from tests.kit import Project, wait_until

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
# Forks a front end for each call that is asked of it on stdin: what forty interpreters would import, it imports once.
# Says the number of each, and leaves the status of each in a file.
CALLER = """
import gc, json, mmap, os, shutil, signal, string, sys, tomllib
import psutil
from k1ctl import __main__, cli, config, events
from k1ctl.capacity import formula, gate, histogram, limited, promises, room, standing, watchdog
from k1ctl.process import admission, launch, limiting, nested
from k1ctl_plugins.capacity import check_call, run, run_call
folder = sys.argv[1]
def ended(*_):
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with open(f"{folder}/code.{pid}.new", "w") as file:
            file.write(str(os.waitstatus_to_exitcode(status)))
        os.rename(file.name, file.name[:-4])
def call(asked):
    for fd, path, how in ((0, os.devnull, os.O_RDONLY), (1, asked["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        os.dup2(os.open(path, how, 0o600), fd)
    os.dup2(1, 2)
    os.closerange(3, 100)
    os.chdir(asked["cwd"])
    sys.argv = ["k1ctl", *asked["words"]]
    os._exit(__main__.program())  # it has flushed; to tidy away what it shares with forty others copies all of it
gc.disable()
gc.freeze()
signal.signal(signal.SIGCHLD, ended)
for line in iter(sys.stdin.readline, ""):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    if not pid:
        call(json.loads(line))
    print(pid, flush=True)
"""
# Reserves in the way of `capacity check --reserve`, again and again, and gives back or lets the time run out.
RESERVER = """
import random, sys, time
from k1ctl.capacity import promises, reservations
from k1ctl.config import load
from k1ctl.errors import BusyError, K1ctlError
from k1ctl.workspace import resolve
from k1ctl_plugins.capacity.check_call import Call
number, of, cycles = map(int, sys.argv[1:])
workspace = resolve(cwd=".")
config, dice = load(workspace), random.Random(number)
for cycle in range(cycles):
    options = {"reserve": True, "reduce": dice.random() < 0.2, "wait": dice.choice([0.0, 0.0, 0.0, 1.5])}
    options |= {"ttl": dice.uniform(0.01, 0.2), "owner_pid": None, "priority": "normal"}
    try:
        answer = Call(workspace, config, f"mem={16 + number + of * (cycle % 5)}M", options).reserve()
    except BusyError as exc:
        assert exc.code == "no-capacity", exc
        continue
    print(answer.id, flush=True)
    time.sleep(dice.uniform(0, 0.05))
    if dice.random() < 0.5:
        try:
            reservations.release(promises.folder(), answer.id)
        except K1ctlError as exc:
            assert exc.code == "no-such-reservation", exc
"""


class Mark(NamedTuple):
    """``S`` start, ``E`` end or ``ESCAPED``; whose; MiB that it was promised; its process; monotonic seconds."""

    what: str
    who: int
    need: int
    pid: int
    at: float


class Call:
    """A front end that was forked, in the way of subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid, self.args, self.returncode, self._code = pid, f"call {pid}", 0, folder / f"code.{pid}"

    def poll(self) -> int | None:
        """Its status when it has ended."""
        if not self._code.exists():
            return None
        self.returncode = int(self._code.read_text())
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its status; raises AssertionError when it has none after ``timeout`` seconds."""
        wait_until(lambda: self.poll() is not None, timeout)
        return self.returncode


class Host:
    """A host of 64 GiB of which ``limit`` MiB may be promised, shared by ``projects``."""

    def __init__(self, folder: Path, projects: list[Project], limit: int, more: str = "") -> None:
        self.folder, self.projects, self.limit = folder, projects, limit
        self.log, self.facts = folder / "marks", folder / "facts.json"
        self.facts.write_text(json.dumps(HOST))
        self.env = {"K1CTL_FACTS": str(self.facts)}
        for project in projects:
            project.configure(f'[capacity]\nmemory = "{limit}M"\nlimit_by = "watchdog"\n{more}')
        self.caller: subprocess.Popen[str] | None = None

    def __enter__(self) -> Host:
        env = self.projects[0].environment(self.env)
        argv = [sys.executable, "-c", CALLER, str(self.folder)]
        self.caller = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.caller is not None
        self.caller.communicate()

    @property
    def place(self) -> str:
        return promises.folder()

    def run(
        self, who: int, need: int, *options: str, size: int = 0, stay: float = 0.0, greed: int = 0, inner: bool = False
    ) -> Call | subprocess.Popen[str]:
        """Start a `capacity run` that is promised ``need`` MiB and takes ``size`` MiB for ``stay`` seconds;
        ``inner``: it starts another one within its promise, which does. Within ``with host:`` it is forked."""
        project = self.projects[who % len(self.projects)]
        eater = [sys.executable, "-I", "-S", "-c", EATER, *map(str, (self.log, who, need, size, stay, greed))]
        words = ["capacity", "run", "--need", f"mem={need}M", "--wait", "60s", "--label", f"call {who}", *options, "--"]
        if inner:
            words += [sys.executable, "-m", "k1ctl", "capacity", "run", "--need", f"mem={need // 2}M", "--"]
        words += eater
        if self.caller is None:
            with (self.folder / f"said.{who}").open("w") as said:
                return project.popen(*words, env=self.env, stdout=said, stderr=said)
        assert self.caller.stdin is not None and self.caller.stdout is not None
        asked = {"words": words, "cwd": str(project.root), "said": str(self.folder / f"said.{who}")}
        self.caller.stdin.write(json.dumps(asked) + "\n")
        self.caller.stdin.flush()
        return Call(int(self.caller.stdout.readline()), self.folder)

    def reserve(self, number: int, of: int, cycles: int) -> subprocess.Popen[str]:
        """Start one of ``of`` processes that reserve and give back so often."""
        argv = [sys.executable, "-c", RESERVER, *map(str, (number, of, cycles))]
        project = self.projects[number % len(self.projects)]
        env = project.environment(self.env)
        return subprocess.Popen(argv, cwd=project.root, env=env, stdout=subprocess.PIPE, text=True)

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

    def running(self) -> list[Mark]:
        """The starts of the commands that all ran at the moment of the call, and perhaps some that began since."""
        marks = self.marks()
        ended = {mark.pid for mark in marks if mark.what == "E"}
        return [m for m in marks if m.what == "S" and m.pid not in ended and _lives(m.pid)]


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

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self._look()
            running = self.host.running()
            at_once = sum(mark.need for mark in running)
            if at_once > self.host.limit:
                self.over.append(f"{at_once} MiB of commands run: {running}")
            if self.memory:
                self.seen = max(self.seen, sum(_rss(mark.pid) for mark in running))

    def _look(self) -> None:
        try:
            files = os.listdir(os.path.join(self.host.place, "tickets"))
        except FileNotFoundError:
            return
        listed = {str(name.seq) for name in map(names.parse, files) if name is not None and name.state == "r"}
        both = [p for p in promises.held(self.host.place, seen=False) if p.id in listed or not p.place]
        total = sum(p.units.get("mem", 0) for p in both)
        self.looks += 1
        self.most = max(self.most, total)
        if total > self.host.limit:
            self.over.append(f"{total} MiB: {[(p.id, p.units, p.kind) for p in both]}")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


class Storm:
    """``calls`` of `capacity run` in all, ``at_once`` at a time, and ``kills`` SIGKILLs of whoever takes part. One
    in four commands wants three times what it may have, one in seven starts another run within its promise."""

    VICTIMS = ("front", "supervisor", "watchdog", "command", "front and supervisor", "watchdog and supervisor")

    def __init__(self, host: Host, calls: int, kills: int, seed: int, at_once: int = 8) -> None:
        self.host, self.calls, self.kills, self.at_once = host, calls, kills, at_once
        self.random = random.Random(seed)
        self.about = f"seed {seed}"
        self.live: dict[int, Call | subprocess.Popen[str]] = {}
        self.codes: dict[int, int] = {}
        self.struck: dict[int, list[str]] = {}
        self.greedy: set[int] = set()
        self.blows = 0

    def rage(self) -> None:
        """Do it all; returns when every call and every command has ended."""
        count = 0
        until = time.monotonic() + 60 + self.calls * 2
        while (count < self.calls or self.live) and time.monotonic() < until:
            while count < self.calls and len(self.live) < self.at_once:
                self._call(count)
                count += 1
            if self.blows < self.kills:
                self._strike()
            time.sleep(self.random.uniform(0.0, 0.12))
            for who in [who for who, call in self.live.items() if call.poll() is not None]:
                self.codes[who] = self.live.pop(who).returncode
        assert not self.live, f"stuck: {sorted(self.live)}, {self.about}"

    def _call(self, who: int) -> None:
        need, greedy = self.random.choice([24, 32, 48]), self.random.random() < 0.25
        self.greedy |= {who} if greedy else set()
        stay = self.random.uniform(0.0, 0.4)
        if not greedy and self.random.random() < 0.2:
            self.live[who] = self.host.run(who, need, stay=stay, inner=True)
            return
        options = ["--mem-limit", f"{need}M", "--oom-retries", "0"]
        self.live[who] = self.host.run(who, need, *options, size=need - 14, stay=stay, greed=2 * need if greedy else 0)

    def _strike(self) -> None:
        who = self.random.choice(sorted(self.live))
        victim = self.random.choice(self.VICTIMS)
        runs = [p for p in promises.held(self.host.place, waiting=True, seen=False) if p.what == f"call {who}"]
        hit = False
        if "front" in victim:
            hit |= kill(self.live[who].pid)
        if "supervisor" in victim and runs:
            hit |= kill(runs[0].pid)
        if "watchdog" in victim and runs:
            watching = [p.pid for p in self.host.guardians() if any(runs[0].run in word for word in _words(p))]
            hit |= bool(watching) and kill(self.random.choice(watching))
        if victim == "command":
            begun = [mark.pid for mark in self.host.marks() if mark.who == who and mark.what == "S"]
            hit |= bool(begun) and kill(begun[-1])
        if hit:
            self.blows += 1
            self.struck.setdefault(who, []).append(victim)

    def wrong(self) -> list[str]:
        """What should not be, when all is over."""
        found = [f"call {m.who} had more than it may" for m in self.host.marks() if m.what == "ESCAPED"]
        for who, code in sorted(self.codes.items()):
            said = self.host.said(who)
            if "Traceback" in said or "bug" in said or code == 70:
                found.append(f"call {who}: {said}")
            if who not in self.struck and code != (137 if who in self.greedy else 0):
                found.append(f"call {who}, which nobody struck, ended with {code}: {said}")
        for project in self.host.projects:
            documents(project)
        return [f"{line} ({self.about}, struck {self.struck})" for line in found]


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; whether there was somebody."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def documents(project: Project) -> list[dict[str, Any]]:
    """The records of a repository's runs; each is whole."""
    return [json.loads(path.read_text()) for path in (project.ops / "runs").glob("*/run.json")]
