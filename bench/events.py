"""The record of events: appending one, following them, and the tally of a million.

Appending is `k1ctl.events.emit` in a process of its own, against `logging` with a FileHandler (an open file, no other
writer foreseen) and `flock(1)` with echo, which is what a shell script does; medians and p95 of single calls. Followers
are three processes of `k1ctl events tail -f --jsonl` beside 100 writers with 1,000 events a second in all; lag is from
the time in the event to the line in the reader's hands. The tally is counted over a record of a million events of 30
days, first from nothing, then as every later look finds it.
Bars: an append 60 us; lag p95 200 ms; the next look 15 ms; a second of an idle follower 5 ms of CPU.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import history
import kit
from report import Report, median

BAR_APPEND, BAR_LAG, BAR_LOOK, BAR_IDLE = 60.0, 200.0, 15.0, 5.0
WRITERS, RATE, FOLLOWERS = 100, 1000, 3
EMIT = """
import sys, time
from k1ctl.events import emit
from k1ctl.workspace import Workspace
place, times = Workspace(sys.argv[1], sys.argv[1], "oslo"), []
facts = {"run": "20260101-101112.123-abcd", "ticket": 7, "resources": {"build:fw": 1}, "wait_seconds": 1.234567}
for number in range(int(sys.argv[2])):
    began = time.perf_counter()
    emit(place, "queue.granted", **facts, number=number)
    times.append(time.perf_counter() - began)
print(*times)
"""
LOGGING = """
import json, logging, sys, time
handler = logging.FileHandler(sys.argv[1] + "/peer.jsonl")
handler.setFormatter(logging.Formatter("%(message)s"))
log, times = logging.getLogger("x"), []
log.addHandler(handler)
log.setLevel(logging.INFO)
facts = {"run": "20260101-101112.123-abcd", "ticket": 7, "resources": {"build:fw": 1}, "wait_seconds": 1.234567}
for number in range(int(sys.argv[2])):
    began = time.perf_counter()
    log.info(json.dumps({"at": time.time(), "event": "queue.granted", "workspace": "oslo", **facts, "number": number}))
    times.append(time.perf_counter() - began)
print(*times)
"""
WRITE = """
import sys, time
from k1ctl.events import emit
from k1ctl.workspace import Workspace
root, name, count, pause, begin = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
place = Workspace(root, root, name)
for number in range(count):
    time.sleep(max(0.0, begin + number * pause - time.monotonic()))
    emit(place, "bench.written", number=number, sent=time.time())
"""
LOOK = """
import sys, time
from k1ctl.workspace import Workspace
from k1ctl.tally import current
place, times = Workspace(sys.argv[1], sys.argv[1], "oslo"), []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    tally = current(place)
    tally.window("build", 86400).histogram.quantile(0.9)
    times.append(time.perf_counter() - began)
print(tally.events, *times)
"""


def said(code: str, *words: str, env: dict[str, str]) -> list[float]:
    """The numbers that a program of ours printed."""
    argv = [kit.PYTHON, "-c", code, *words]
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def appending(report: Report, repository: kit.Repository) -> None:
    """Single calls of both sides, in turns."""
    root, count = str(repository.root), str(report.rounds(4000, 1000))
    sides: dict[str, list[float]] = {"k1ctl.events.emit": [], "logging.FileHandler": []}
    for number in range(report.rounds(8, 2)):
        kit.quiet(5.0)
        order = list(zip(sides, (EMIT, LOGGING), strict=True))
        for name, code in order if number % 2 else order[::-1]:
            sides[name] += said(code, root, count, env=repository.env)
    shell = []
    for _ in range(report.rounds(50, 10)):
        began = time.perf_counter()
        subprocess.run(["flock", f"{root}/peer.lock", "sh", "-c", f"echo '{{}}' >> {root}/peer.jsonl"], check=True)
        shell.append(time.perf_counter() - began)
    for name, times in [*sides.items(), ("flock sh -c echo", shell)]:
        report.put("append", tool=name, median_us=median([t * 1e6 for t in times]), p95_us=round(p95(times) * 1e6, 1))
    report.bar("an append", round(statistics.median(sides["k1ctl.events.emit"]) * 1e6, 1), BAR_APPEND, "us")


def following(report: Report, repository: kit.Repository) -> None:
    """100 writers, three followers, and what an idle follower costs."""
    root, seconds = str(repository.root), report.rounds(20, 4)
    count, pause = RATE * seconds // WRITERS, WRITERS / RATE
    argv = [kit.K1CTL, "events", "tail", "-f", "-n", "0", "--event", "bench.written", "--jsonl"]
    followers = [
        subprocess.Popen(argv, cwd=repository.worktree, env=repository.env, stdout=subprocess.PIPE)
        for _ in range(FOLLOWERS)
    ]
    time.sleep(1.0)
    words, begin = [kit.PYTHON, "-c", WRITE, root], time.monotonic() + 10.0
    writers = [
        subprocess.Popen([*words, f"w{n}", str(count), f"{pause:g}", f"{begin:f}"], env=repository.env)
        for n in range(WRITERS)
    ]
    lags, orders = received(followers, WRITERS * count)
    codes = {writer.wait() for writer in writers}
    idle = idle_cost(followers[0].pid, report.rounds(10, 3))
    for follower in followers:
        follower.send_signal(signal.SIGINT)
        follower.wait()
    every = sorted((f"w{n}", i) for n in range(WRITERS) for i in range(count))
    whole = [sorted(order) == every for order in orders]
    kept = [all(order_of(order, f"w{n}") == list(range(count)) for n in range(WRITERS)) for order in orders]
    if codes != {0}:
        raise SystemExit(f"bench: writers ended with {codes}")
    facts = {"events": WRITERS * count, "lag_median_ms": median([lag * 1e3 for lag in lags])}
    report.put(f"{WRITERS} writers, {FOLLOWERS} followers", tool="k1ctl events tail -f", **facts, idle_cpu_ms=idle)
    report.bar("lag of a follower, p95", round(p95(lags) * 1e3, 1), BAR_LAG, "ms")
    report.bar("followers to whom an event was lost or told twice", float(whole.count(False)), 0.0)
    report.bar("followers who had a writer's events in another order", float(kept.count(False)), 0.0)
    report.bar("CPU of an idle follower, each second", idle, BAR_IDLE, "ms")


def received(followers: list[subprocess.Popen[bytes]], count: int) -> tuple[list[float], list[list[tuple[str, int]]]]:
    """(lags in seconds, what each follower told) until each has told ``count`` events, or for a minute."""
    import selectors

    selector, rests = selectors.DefaultSelector(), [b""] * len(followers)
    lags: list[float] = []
    orders: list[list[tuple[str, int]]] = [[] for _ in followers]
    for number, follower in enumerate(followers):
        assert follower.stdout is not None
        selector.register(follower.stdout, selectors.EVENT_READ, number)
    end = time.monotonic() + 60.0 + count / RATE
    while any(len(order) < count for order in orders) and time.monotonic() < end:
        for key, _ in selector.select(1.0):
            *lines, rests[key.data] = (rests[key.data] + os.read(key.fd, 1 << 16)).split(b"\n")
            now = time.time()
            for line in lines:
                event = json.loads(line)
                lags.append(now - event["sent"])
                orders[key.data].append((event["workspace"], event["number"]))
    return lags, orders


def order_of(order: list[tuple[str, int]], name: str) -> list[int]:
    return [number for writer, number in order if writer == name]


def idle_cost(pid: int, seconds: int) -> float:
    """CPU in ms that a process spends in each of the next seconds (Linux; 0 elsewhere)."""
    stat, tick = Path(f"/proc/{pid}/stat"), os.sysconf("SC_CLK_TCK")
    if not stat.exists():
        return 0.0
    time.sleep(2.0)

    def spent() -> int:
        words = stat.read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])

    before = spent()
    time.sleep(seconds)
    return round((spent() - before) / tick * 1e3 / seconds, 2)


def tally(report: Report, repository: kit.Repository) -> None:
    """A million events, looked at first and again."""
    events = report.rounds(1_000_000, 100_000)
    folder = repository.ops / "events"
    written = history.write(folder, events, end=time.time())
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    found, first = said(LOOK, str(repository.root), "1", env=repository.env)
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    nexts = [said(LOOK, str(repository.root), "1", env=repository.env)[1] for _ in range(report.rounds(15, 5))]
    if found < written:
        raise SystemExit(f"bench: {found:g} of {written} events were counted")
    size = (repository.ops / "metrics" / "tally.json").stat().st_size
    report.put(
        f"a first look at {events:,} events", tool="k1ctl.tally", seconds=round(first, 2), cpu_seconds=round(cpu, 2)
    )
    report.put("the next look", tool="k1ctl.tally", median_ms=median([t * 1e3 for t in nexts]), file_bytes=size)
    report.bar("the next look", round(statistics.median(nexts) * 1e3, 2), BAR_LOOK, "ms")


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    with kit.Repository() as repository:
        appending(report, repository)
        following(report, repository)
    with kit.Repository() as repository:
        tally(report, repository)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
