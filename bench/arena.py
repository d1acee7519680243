"""A place where one tool is put under load: its clients, what they logged, and which processes they are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import kit

LONG = 120.0  # s after which something hangs


class Tool:
    """How to run a command under a tool.

    ``argv(arena, command)``; ``slots``; ``arrived(arena)`` counts the clients in its line, or, where a tool does not
    tell, ``gap`` seconds are left between two arrivals; ``detached``: the call returns before the command runs.
    """

    def __init__(
        self,
        name: str,
        argv: Callable[[Arena, list[str]], list[str]],
        *,
        slots: int = 1,
        arrived: Callable[[Arena], int] | None = None,
        gap: float = 0.012,
        detached: bool = False,
    ) -> None:
        self.name, self.argv, self.slots, self.arrived = name, argv, slots, arrived
        self.gap, self.detached = gap, detached

    @property
    def there(self) -> bool:
        """Whether it is installed."""
        return self.name in ("k1ctl", "filelock") or shutil.which(self.name) is not None


def k1ctl(*options: str, slots: int = 1) -> Tool:
    """`k1ctl queue run`, as installed from the wheel."""
    return Tool(
        "k1ctl",
        lambda arena, command: arena.repository.queue_run("R", *command, options=options),
        slots=slots,
        arrived=lambda arena: sum(name[0] in "rw" for name in os.listdir(arena.repository.tickets)),
    )


def _flock_line(arena: Arena) -> int:
    try:
        inode = os.stat(f"{arena.folder}/lock").st_ino
    except FileNotFoundError:
        return 0
    with open("/proc/locks") as f:
        return sum(f":{inode} " in line for line in f)


def flock(*options: str) -> Tool:
    """flock(1) of util-linux."""
    seen = _flock_line if os.path.exists("/proc/locks") else None
    return Tool("flock", lambda arena, c: ["flock", *options, f"{arena.folder}/lock", *c], arrived=seen)


def tsp(*options: str, slots: int = 1) -> Tool:
    """task-spooler, in the foreground."""
    return Tool("tsp", lambda arena, command: ["tsp", *options, "-nf", *command], slots=slots)


def nq() -> Tool:
    """nq: one queue folder; the call returns at once."""
    return Tool("nq", lambda arena, command: ["nq", "-q", *command], detached=True)


def sem(*options: str, slots: int = 1) -> Tool:
    """GNU parallel's sem, in the foreground."""

    def argv(arena: Arena, command: list[str]) -> list[str]:
        return ["sem", "--fg", "--id", arena.mark, f"-j{slots}", *options, *command]

    return Tool("sem", argv, slots=slots, gap=0.3)


FILELOCK = (
    "import os,sys,filelock\n"
    "with filelock.FileLock(sys.argv[1]):\n"
    "    pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)\n"
    "    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
    "sys.exit(code)\n"
)


def filelock() -> Tool:
    """A small script on PyPI's filelock, with its defaults."""
    argv = [kit.PYTHON, "-c", FILELOCK]
    return Tool("filelock", lambda arena, command: [*argv, f"{arena.folder}/lock", *command], gap=0.15)


class Arena:
    """A repository, an environment that marks every process of this arena, and the log its commands write."""

    def __init__(self, tool: Tool, config: str = "") -> None:
        self.tool = tool
        self.repository = kit.Repository(f"[queue.slots]\nR = {tool.slots}\n{config}")
        self.folder = self.repository.folder
        self.mark = os.path.basename(self.folder)
        self.log = f"{self.folder}/log"
        self.env = dict(
            self.repository.env,
            BENCH_ARENA=self.mark,
            NQDIR=f"{self.folder}/nq",
            TS_SOCKET=f"{self.folder}/ts.sock",
            TS_SLOTS=str(tool.slots),
            TMPDIR=self.folder,
            PARALLEL_HOME=f"{self.folder}/.parallel",
        )
        os.makedirs(f"{self.folder}/.parallel")
        open(f"{self.folder}/.parallel/will-cite", "w").close()
        self.clients: list[subprocess.Popen[bytes]] = []
        if tool.name == "tsp":
            subprocess.run(["tsp", "-l"], env=self.env, stdout=subprocess.DEVNULL, check=True)

    def __enter__(self) -> Arena:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.tool.name == "tsp":
            subprocess.run(["tsp", "-K"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(50):
            left = self.processes()
            if not left:
                break
            for pid in left:
                self.kill(pid)
            time.sleep(0.02)
        for client in self.clients:
            client.wait()
        self.repository.__exit__(kind, exc, trace)

    def hold(self, job: str, ms: int = 20, gate: str = "") -> list[str]:
        """The command under test: it logs its start and its end."""
        return [kit.HOLD, self.log, job, str(ms), *([gate] if gate else [])]

    def start(
        self, job: str, ms: int = 20, *, gate: str = "", command: list[str] | None = None, **env: str
    ) -> subprocess.Popen[bytes]:
        """A client of the tool that runs `hold`, in a session of its own."""
        client = subprocess.Popen(
            self.tool.argv(self, command or self.hold(job, ms, gate)),
            cwd=self.repository.worktree,
            env={**self.env, "BENCH_JOB": job, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.clients.append(client)
        return client

    def gated(self, job: str, **env: Any) -> tuple[subprocess.Popen[bytes], int]:
        """A client whose command runs and ends when the descriptor that is returned is closed."""
        gate = f"{self.folder}/gate-{job}"
        os.mkfifo(gate)
        client = self.start(job, 0, gate=gate, **env)
        end = os.open(gate, os.O_WRONLY)
        self.until(lambda: job in self.events()[0])
        return client, end

    def line_up(self, count: int, ms: int = 20) -> None:
        """``count`` clients, one after the other, each in line before the next comes."""
        arrived = self.tool.arrived
        before = arrived(self) if arrived else 0
        for i in range(count):
            self.start(str(i), ms)
            if arrived:
                self.until(lambda want=before + i + 1: arrived(self) >= want)  # type: ignore[misc]
            else:
                time.sleep(self.tool.gap)
        time.sleep(0.5 if arrived else 0.5 + 5 * self.tool.gap)

    def events(self) -> tuple[dict[str, int], dict[str, int]]:
        """({job: start}, {job: end}), CLOCK_MONOTONIC in ns, of every command so far."""
        starts: dict[str, int] = {}
        ends: dict[str, int] = {}
        try:
            with open(self.log) as f:
                for line in f:
                    event, job, ns, _ = line.split()
                    (starts if event == "S" else ends)[job] = int(ns)
        except FileNotFoundError:
            pass
        return starts, ends

    def until(self, condition: Callable[[], object], seconds: float = LONG, *, every: float = 0.002) -> bool:
        """Wait for a condition, looking ``every`` so many seconds; whether it came."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(every)
        return True

    def ended(self, count: int, seconds: float = LONG) -> bool:
        """Wait until ``count`` commands ended, without disturbing them much."""
        return self.until(lambda: len(self.events()[1]) >= count, seconds, every=0.05)

    def processes(self, job: str = "") -> list[int]:
        """Every living process of this arena, or of one job (Linux)."""
        marks = [b"BENCH_ARENA=" + self.mark.encode(), *([b"BENCH_JOB=" + job.encode()] if job else [])]
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                with open(f"/proc/{name}/environ", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if all(mark in words for mark in marks):
                found.append(int(name))
        return found

    def commands(self, job: str) -> list[int]:
        """The processes of a job that are `hold` itself; the others are the tool's."""
        return [pid for pid in self.processes(job) if program(pid) == kit.HOLD]

    @staticmethod
    def kill(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def program(pid: int) -> str:
    """What a process was started as."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().split(b"\0")[0].decode()
    except OSError:
        return ""
