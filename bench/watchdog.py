"""How far past its limit a command gets, and what watching it costs: k1ctl's watchdog beside fixed polls.

A command fills 8 MiB at a time past 600 MB, as fast as it can or at 200 MB/s, begun at a random moment. The fixed polls
read the same /proc/*/stat of the same session. Overshoot is the largest process's own high-water mark (wait4) above the
limit; CPU is that of the watcher while it watches. A third row watches a tree of 50 idle processes for 10 s. Bars: 60
MB over at full speed in the median, 1.5 % CPU.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import kit
from report import Report

BAR_OVER, BAR_CPU = 60.0, 1.5
LIMIT = 600_000_000
FULL, SLOW = 0, 200  # MB/s
FIXED = (1.0, 0.25, 0.1, 0.02)
PAGE = os.sysconf("SC_PAGE_SIZE")
HOG = """
import mmap, sys, time
rate, lead = float(sys.argv[1]), float(sys.argv[2])
keep = []
time.sleep(lead)
began, filled = time.perf_counter(), 0
while filled < 3000:
    block = mmap.mmap(-1, 8 << 20)
    for at in range(0, 8 << 20, 4096): block[at] = 1
    keep.append(block)
    filled += 8.388608
    if rate and (early := began + filled / rate - time.perf_counter()) > 0: time.sleep(early)
"""
IDLE = "import os, time\nfor _ in range(49):\n  if not os.fork(): break\ntime.sleep(float(__import__('sys').argv[1]))"


def resident(session: int) -> int:
    """Resident bytes of a session: what a watchdog of twenty lines does."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb", 0) as f:
                    fields = f.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                total += int(fields[21]) * PAGE
    return total


def fixed(argv: list[str], poll: float) -> tuple[float, float]:
    """(MB over the limit, CPU in percent) of a poll each ``poll`` seconds."""
    child = subprocess.Popen(argv, start_new_session=True)
    cpu, began = time.process_time(), time.perf_counter()
    while child.poll() is None:
        if resident(child.pid) > LIMIT:
            os.killpg(child.pid, signal.SIGKILL)
            break
        time.sleep(poll)
    used, took = time.process_time() - cpu, time.perf_counter() - began
    peak = os.wait4(child.pid, 0)[2].ru_maxrss if child.returncode is None else 0
    child.returncode = 0
    return max(0.0, (peak * 1024 - LIMIT) / 1e6), 100 * used / took


OURS = """
import sys, time
from k1ctl.capacity import limited
log = open("/dev/null", "wb")
command = limited.start(sys.argv[2:], memory=int(sys.argv[1]), log_fd=log.fileno(), means="watchdog")
print(command.leash.guardian, flush=True)
ended = command.wait()
print(ended.largest_bytes, ended.oom is not None, flush=True)
"""


def cpu_of(pid: int) -> float:
    """Seconds on a CPU of a process so far."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return -1.0


def ours(argv: list[str], home: str) -> tuple[float, float]:
    """(MB over the limit, CPU in percent) of k1ctl's watchdog, its standby among it, from when it was up."""
    words = [kit.PYTHON, "-c", OURS, str(LIMIT), *argv]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=kit.environment(home)) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        first, began = cpu_of(pid), time.perf_counter()
        last, at = first, began
        while (now := cpu_of(pid)) >= 0:
            last, at = now, time.perf_counter()
            time.sleep(0.01)
        largest, ended = owner.stdout.readline().split()
    over = (int(largest) - LIMIT) / 1e6 if ended == "True" else 0.0
    return over, 100 * (last - first) / (at - began)


def put(report: Report, what: str, tool: str, rows: list[tuple[float, float]], idle: float) -> tuple[float, float]:
    over, cpu = [row[0] for row in rows], [row[1] for row in rows]
    figures = {"over_mb": round(median(over)), "over_mb_worst": round(max(over)), "cpu_percent": round(median(cpu), 2)}
    report.put(what, tool=tool, rounds=len(rows), **figures, idle=idle)
    return median(over), median(cpu)


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    rounds = report.rounds(7, 2)
    hog = [sys.executable, "-S", "-c", HOG]
    with tempfile.TemporaryDirectory(prefix="k1bench-") as home:
        for rate in (FULL, SLOW):
            what = f"fills at {rate} MB/s" if rate else "fills at full speed"
            watch = kit.Watch()
            kit.quiet()
            found = [ours([*hog, str(rate), str(random.uniform(0.3, 1.3))], home) for _ in range(rounds)]
            over, cpu = put(report, what, "k1ctl", found, watch.idle)
            report.bar(f"{what}: over the limit", round(over, 1), BAR_OVER, "MB")
            report.bar(f"{what}: CPU of the watchdog", round(cpu, 2), BAR_CPU, "%")
            for poll in FIXED[1:] if report.quick else FIXED:
                words = [[*hog, str(rate), str(random.uniform(0.3, 1.3))] for _ in range(rounds)]
                put(report, what, f"poll each {poll:g} s", [fixed(argv, poll) for argv in words], watch.idle)
        watch = kit.Watch()
        seconds = 4 if report.quick else 10
        idle = [sys.executable, "-S", "-c", IDLE, str(seconds)]
        found = [ours(idle, home) for _ in range(report.rounds(3))]
        _, cpu = put(report, "50 idle processes", "k1ctl", found, watch.idle)
        report.bar("50 idle processes: CPU of the watchdog", round(cpu, 2), BAR_CPU, "%")
        for poll in FIXED[1:3]:
            put(report, "50 idle processes", f"poll each {poll:g} s", [fixed(idle, poll)], watch.idle)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
