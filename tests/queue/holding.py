"""The command of the kill tests: a program that lets the kernel judge overlaps, and what it wrote down."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).with_name("hold.c")


@functools.cache
def program() -> str:
    """The compiled ``hold``; skips the test, by name, without gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tempfile.mkdtemp(prefix="k1ctl-hold-")
    atexit.register(shutil.rmtree, folder, True)
    path = str(Path(folder) / "hold")
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-o", path, str(SOURCE)], check=True)
    return path


class Mark(NamedTuple):
    """A line of the log: ``S`` start, ``E`` end or ``OVERLAP``, whose, by which process, when (monotonic seconds)."""

    what: str
    who: str
    pid: int
    at: float


class Detector:
    """A folder in which `hold` commands notice each other."""

    def __init__(self, folder: Path, slots: int = 1) -> None:
        self.folder, self.slots = folder, slots
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, who: object, milliseconds: int, *, without_lock: bool = False) -> list[str]:
        """A command that holds for this long; ``without_lock`` it closes the queue's descriptor first."""
        stay = ["stay"] if without_lock else []
        return [program(), str(self.folder), str(self.slots), str(who), str(milliseconds), *stay]

    def marks(self, what: str = "") -> list[Mark]:
        """What was written down so far, or the lines of one kind; a torn line is an error."""
        try:
            lines = (self.folder / "log").read_text().splitlines()
        except FileNotFoundError:
            return []
        parts = [line.split() for line in lines]
        marks = [Mark(w, who, int(pid), int(ns) / 1e9) for w, who, pid, ns in parts]
        return [m for m in marks if not what or m.what == what]

    def started(self, who: object) -> list[Mark]:
        """The starts of one."""
        return [m for m in self.marks("S") if m.who == str(who)]

    def ended(self, who: object) -> list[Mark]:
        """The regular ends of one."""
        return [m for m in self.marks("E") if m.who == str(who)]

    def overlaps(self) -> list[Mark]:
        """Everybody who ran as one too many."""
        return self.marks("OVERLAP")
