"""Owners of tickets as real processes that a test can order about, kill and stop."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.kit import REPOSITORY

TIMEOUT = 20.0  # s, a safety net


class Owners:
    """A crowd in front of one queue folder. Ids are small numbers; the reports of all come in one order.

    Without ``net`` an owner looks only when something wakes it, so a lost wake-up is a test that fails.
    """

    def __init__(
        self, folder: Path, slots: dict[str, int] | None = None, *, stall: float = 1000.0, net: bool = False
    ) -> None:
        self.folder, self.slots, self.stall, self.park, self.max_length = folder, slots or {}, stall, 900.0, 500
        self.ageing = 0.0
        self.pids: dict[int, int] = {}
        self.state: dict[int, str] = {}
        self.number: dict[int, int] = {}
        self.resumed: set[int] = set()
        self.needs: dict[int, dict[str, int]] = {}  # of who was let in, what he got
        self.asked: dict[int, dict[str, int]] = {}
        self.granted: list[int] = []
        self.over: list[str] = []  # every moment at which a resource had more users than slots
        self._rest = b""
        self._zygote = subprocess.Popen(
            [
                sys.executable,
                "-S",
                str(Path(__file__).with_name("zygote.py")),
                str(REPOSITORY),
                str(folder),
                "--quick-net" if net else "--no-net",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Owners:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for owner in list(self.pids):
            self.kill(owner)
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(TIMEOUT)
        self._zygote.stdout.close()

    # orders

    def enqueue(self, needs: dict[str, int], priority: int = 50, key: str = "", *, settle: bool = True) -> int:
        """A new owner; returns once it waits, holds or was refused."""
        owner = len(self.needs)
        self.needs[owner], self.asked[owner], self.state[owner] = needs, needs, ""
        request = {"needs": needs, "priority": priority, "key": key, "slots": self.slots, "stall": self.stall}
        limits = {"park": self.park, "max_length": self.max_length, "ageing": self.ageing}
        self._ask({"id": owner, **limits, **request})
        self.until(lambda: owner in self.pids and (self.state[owner] != "" or not settle), f"{owner} in line")
        return owner

    def end(self, owner: int) -> None:
        """Tell it to release, or to leave the line; returns once it is gone."""
        self._ask({"end": owner})
        self.until(lambda: self.state[owner] not in ("waiting", "granted", "ending"), f"{owner} gone")
        self._wait_for_death(owner)

    def kill(self, owner: int) -> None:
        """SIGKILL; returns once the kernel has taken everything from it."""
        self.read()
        self.state[owner] = "killed"
        self.signal(owner, signal.SIGKILL)
        self._wait_for_death(owner)

    def signal(self, owner: int, number: int) -> None:
        """Send a signal."""
        try:
            os.kill(self.pids[owner], number)
        except ProcessLookupError:
            pass

    def _wait_for_death(self, owner: int) -> None:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            try:
                os.kill(self.pids[owner], 0)
            except ProcessLookupError:
                del self.pids[owner]
                return
            self.read(0.001)
        raise AssertionError(f"owner {owner} does not die")

    # what is so

    def now(self, state: str) -> set[int]:
        """The owners in this state: waiting, granted, killed, left, released, or a refusal's code."""
        return {owner for owner, at in self.state.items() if at == state}

    def until(self, true: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
        """Read reports until ``true()`` holds."""
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}; {self.state}"
            self.read(0.02)

    def read(self, seconds: float = 0.0) -> None:
        """Take in the reports there are, waiting for the first one at most ``seconds``."""
        assert self._zygote.stdout is not None
        fd = self._zygote.stdout.fileno()
        while select.select([fd], [], [], seconds)[0]:
            seconds = 0.0
            *lines, self._rest = (self._rest + os.read(fd, 65536)).split(b"\n")
            for line in lines:
                self._hear(line.decode().split())

    def _hear(self, words: list[str]) -> None:
        owner, what, value = int(words[0]), words[1], words[2]
        if what == "pid":
            self.pids[owner] = int(value)
            return
        if self.state[owner] == "killed":  # it said so before it died
            return
        self.state[owner] = value if what == "gone" else what
        if what in ("waiting", "granted"):
            self.number[owner] = int(value)
            if words[3] == "1":
                self.resumed.add(owner)
        if what == "granted":
            self.granted.append(owner)
            if words[4] != "-":  # what it asked for left this open
                wants = self.needs[owner]
                self.needs[owner] = {words[4] if "~" in r else r: n for r, n in wants.items()}
            for resource in self.needs[owner]:
                used = {o: self.needs[o].get(resource, 0) for o in self.now("granted")}
                if sum(used.values()) > self.slots.get(resource, 1):
                    self.over.append(f"{resource}: {used}")

    def _ask(self, request: dict[str, object]) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.write((json.dumps(request) + "\n").encode())
        self._zygote.stdin.flush()


def files(folder: Path) -> list[str]:
    """The tickets that lie in the queue folder."""
    return sorted(os.listdir(folder / "tickets"))
