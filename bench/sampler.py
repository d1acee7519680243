"""What watching a tree of 50 processes costs: `k1ctl capacity baseline --pid` at 1 s, beside what psutil takes for it.

The tree is one process with 200 MB and 49 children of it that share them and have 4 MB each of their own. All
watchers look at the same tree at the same time; CPU is read from /proc over 60 s, begun when the finer looks of the
first 30 s are over (Linux only). The peak that k1ctl tells is held against the memory that the tree really has.
Bars: 0.5 % of a core; the peak at most 5 % off, and within its own bound.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time

import kit
from report import Report

BAR, BAR_PEAK = 0.5, 5.0
PROCESSES, SHARED, OWN = 50, 200, 4  # MB (2^20 bytes)
FINE = 31.0  # s until the finer looks are over
_PEER = """
import sys, time, psutil
root, read = psutil.Process(int(sys.argv[1])), sys.argv[2]
known = {}
while True:
    for process in [root, *root.children(recursive=True)]:
        process = known.setdefault(process.pid, process)
        process.memory_full_info().pss if read == "pss" else process.memory_info().rss
        process.cpu_times()
    time.sleep(1)
"""


def touched(size: int) -> mmap.mmap:
    """So many MB of memory, each page written to."""
    room = mmap.mmap(-1, size << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, len(room), mmap.PAGESIZE):
        room[offset] = 1
    return room


def tree() -> int:
    """The pid of the root, once all of the tree is there; it leads a session."""
    ready, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        held = [touched(SHARED)]
        for _ in range(PROCESSES - 1):
            if os.fork() == 0:
                held.append(touched(OWN))
                break
        os.write(into, b".")
        while True:
            signal.pause()
    os.close(into)
    count = 0
    while count < PROCESSES:
        count += len(os.read(ready, PROCESSES))
    os.close(ready)
    return pid


def pss(session: int) -> int:
    """Bytes that the tree has, by the kernel's own account: shared pages once."""
    total = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.getsid(int(name)) == session:
                with open(f"/proc/{name}/smaps_rollup") as f:
                    total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) << 10
        except OSError:
            continue
    return total


def used(pid: int) -> float:
    """CPU seconds of a process so far, all threads, and of its children."""
    with open(f"/proc/{pid}/task/{pid}/schedstat") as f:
        own = int(f.read().split()[0]) / 1e9
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return own + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    seconds = 5.0 if report.quick else 60.0
    root = tree()
    watchers: dict[str, subprocess.Popen[bytes]] = {}
    with kit.Repository() as repository:
        try:
            truth = pss(root)
            ours = [kit.K1CTL, "capacity", "baseline", "--json", "--pid", str(root)]
            sides = {"k1ctl": ours, **{f"psutil {w}": [kit.PYTHON, "-c", _PEER, str(root), w] for w in ("rss", "pss")}}
            for name, argv in sides.items():
                watchers[name] = subprocess.Popen(
                    argv, cwd=repository.worktree, env=repository.env, stdout=subprocess.PIPE, stderr=sys.stderr
                )
            time.sleep(FINE)
            before = {name: (used(process.pid), time.monotonic()) for name, process in watchers.items()}
            time.sleep(seconds)
            shares = {}
            for name, process in watchers.items():
                spent, took = used(process.pid) - before[name][0], time.monotonic() - before[name][1]
                shares[name] = round(100 * spent / took, 3)
                report.put(f"{PROCESSES} processes at 1 s", tool=name, cpu_percent=shares[name], seconds=round(took, 1))
            watchers["k1ctl"].send_signal(signal.SIGINT)
            told = json.loads(watchers["k1ctl"].communicate(timeout=30)[0])
        finally:
            for process in watchers.values():
                process.kill()
                process.wait()
            os.killpg(root, signal.SIGKILL)
            os.waitpid(root, 0)
    memory = told["memory"]
    off = 100 * abs(memory["peak_bytes"] - truth) / truth
    report.put("peak", truth_mb=round(truth / 2**20, 1), **memory)
    report.bar(f"{PROCESSES} processes at 1 s: share of a core", shares["k1ctl"], BAR, "%")
    if memory["peak_metric"] != "pss" or memory["at_most_bytes"] < memory["peak_bytes"]:
        raise SystemExit(f"bench: the peak is told as {memory}")
    report.bar("peak beside what the kernel accounts", round(off, 2), BAR_PEAK, "%")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
