"""Which processes work in a folder: those whose current folder, program or open files lie below it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINUX = os.path.isdir("/proc/self/fd")
MOMENT = 0.25  # s between two looks; git looks at a large worktree in less
_SHOWN = 4  # processes that are named


class Process(NamedTuple):
    """A process that works in a folder: ``path`` is one that it has there, ``how`` is cwd, program or open."""

    pid: int
    name: str
    how: str
    path: str

    def __str__(self) -> str:
        what = {"cwd": "is in", "program": "runs", "open": "has open"}[self.how]
        return f"{self.name} (pid {self.pid}) {what} {self.path}"


class Processes:
    """All processes of one moment, looked at once, however many folders are asked about.

    What other users' processes do is told to nobody but the superuser (proc_pid_cwd(5)): those are passed over.
    """

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.found = list(_all())

    def lasting(self, folders: Iterable[str]) -> Processes:
        """Those that are still there a moment later, where any works in one of ``folders``: somebody's `git status`
        in passing is no reason to leave a worktree alone."""
        if not any(self.below(folder) for folder in folders):
            return self
        time.sleep(max(0.0, self.at + MOMENT - time.monotonic()))
        later = Processes()
        before = {pid for pid, _, _ in self.found}
        later.found = [row for row in later.found if row[0] in before]
        return later

    def below(self, folder: str) -> list[Process]:
        """Those that work in ``folder`` or below it, each once; the caller and its shell count too."""
        top = os.path.realpath(folder)
        there: dict[int, Process] = {}
        for pid, how, path in self.found:
            if pid not in there and (path == top or path.startswith(top + "/")):
                there[pid] = Process(pid, _name(pid), how, path)
        return [there[pid] for pid in sorted(there)]


def named(processes: list[Process]) -> str:
    """The processes as a person is told of them."""
    rest = len(processes) - _SHOWN
    return "; ".join([*map(str, processes[:_SHOWN]), *([f"and {rest} more"] if rest > 0 else [])])


def _all() -> Iterator[tuple[int, str, str]]:
    """(pid, how, path) of every process that we may look at."""
    if not _LINUX:
        yield from _by_psutil()
        return
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield from _by_proc(int(name))


def _by_proc(pid: int) -> Iterator[tuple[int, str, str]]:
    """proc_pid_cwd(5), proc_pid_exe(5), proc_pid_fd(5). The path of what was deleted keeps its folder."""
    for link, how in (("cwd", "cwd"), ("exe", "program")):
        try:
            yield pid, how, os.readlink(f"/proc/{pid}/{link}")
        except OSError:
            pass
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            path = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if path.startswith("/"):
            yield pid, "open", path


def _by_psutil() -> Iterator[tuple[int, str, str]]:
    import psutil

    for process in psutil.process_iter():
        try:
            yield process.pid, "cwd", process.cwd()
            yield process.pid, "program", process.exe()
        except (psutil.Error, OSError):
            pass
        try:
            for file in process.open_files():
                yield process.pid, "open", file.path
        except (psutil.Error, OSError):
            pass


def _name(pid: int) -> str:
    if _LINUX:
        try:
            with open(f"/proc/{pid}/comm", "rb") as f:
                return os.fsdecode(f.read()).strip()
        except OSError:
            return "?"
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "?"
