"""`k1ctl top` on a pty of 160x50: what it costs while nothing happens, and how soon it shows what does.

The scene is that of `bench/status.py`: 100 worktrees, 12 in line for a device, a long past of events. Idle: its CPU
time over 20 s. News: real calls of `queue run` in one of the worktrees, one after the other; from the event's own time
(its `at`) to the moment at which the queue on the pty has the ticket. The Python that runs this needs textual (the
extra `top`). Bars: 5 % of a core, 500 ms (95th percentile).
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from datetime import datetime
from pathlib import Path

import kit
import psutil
import status
from report import Report, median, percentile

IDLE, NEWS_MS = 5.0, 500.0
SIZE = (50, 160)  # lines, columns


class Screen:
    """`k1ctl top` on a pty, and when it wrote what."""

    def __init__(self, repository: kit.Repository) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        argv = [sys.executable, "-m", "k1ctl", "top"]
        env = repository.env | {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(argv, cwd=repository.root, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._said: list[tuple[float, bytes]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 1 << 16):
                self._said.append((time.time(), data))
        except OSError:  # it has ended
            pass

    def shown(self, text: bytes, seconds: float = 30.0) -> float:
        """When it had written ``text`` (seconds since 1970)."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            before = b""
            for at, data in list(self._said):
                if text in before + data:
                    return at
                before = data[-200:]
            time.sleep(0.005)
        raise SystemExit(f"bench: top never showed {text!r}")

    def close(self) -> None:
        os.write(self._ours, b"q")
        code = self.process.wait(20)
        self._reader.join()
        os.close(self._ours)
        if code:
            raise SystemExit(f"bench: top ended with {code}")


def granted(repository: kit.Repository, resource: str) -> float:
    """The time of the event that ``resource`` was granted (seconds since 1970)."""
    for path in sorted((repository.ops / "events").iterdir(), reverse=True):
        for line in reversed(path.read_bytes().splitlines()[-50:]):
            if b"queue.granted" in line and resource.encode() in line:
                return datetime.fromisoformat(line.split(b'"')[3].decode()).timestamp()
    raise SystemExit(f"bench: no event of {resource}")


def measure(report: Report, events: int) -> None:
    """One look at rest, then the news."""
    lags = []
    with kit.Repository(status.CONFIG) as repository:
        status.prepare(repository, events)
        tree = Path(repository.folder) / "trees" / "w50"
        try:
            screen = Screen(repository)
            screen.shown(b"w97")
            time.sleep(2.0)
            idle, process, begun = kit.quiet(), psutil.Process(screen.process.pid), time.perf_counter()
            before = sum(process.cpu_times()[:2])
            time.sleep(report.rounds(20, 10))
            share = 100.0 * (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begun)
            for number in range(report.rounds(40, 10)):
                resource = f"lamp{number:03d}"
                run = subprocess.Popen(repository.queue_run(resource, "sleep", "1.5"), cwd=tree, env=repository.env)
                seen = screen.shown(f" {resource} ".encode())  # the events have it in quotes, and at once
                lags.append(1000.0 * (seen - granted(repository, resource)))
                run.wait()
            screen.close()
        finally:
            status.clear(repository)
    what = f"top, {status.TREES} worktrees, {events} events before"
    report.put(what, tool="k1ctl top, idle", percent_of_a_core=round(share, 2), idle=idle)
    worst = round(max(lags), 1)
    report.put(what, tool="k1ctl top, news", p50_ms=median(lags), p95_ms=percentile(lags, 0.95), worst_ms=worst)
    report.bar("k1ctl top, idle", round(share, 2), IDLE, "% of a core")
    report.bar("k1ctl top, from an event to its ticket, p95", percentile(lags, 0.95), NEWS_MS, "ms")


def main() -> int:
    report = Report(__doc__ or "", events={"type": int, "default": 100_000, "help": "how many (default: 100000)"})
    kit.prepare()
    measure(report, report.options.events)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
