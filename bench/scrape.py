"""A scrape of `k1ctl metrics serve` in a repository of 100 worktrees with the tally of 200,000 events, over HTTP.

The worktrees are real, a line of tickets stands before one device, and each scrape finds a new event. The peer is a
server of prometheus_client, with as many series as k1ctl told, set once and only written down: what the text and HTTP
cost without looking at anything. `k1ctl metrics write`, a process each time, is shown beside them.
Bar: 50 ms a scrape, at the median, after start-up.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

import history
import kit
from report import Report, median

BAR_MS = 50.0
TREES, EVENTS, WAITERS = 100, 200_000, 12
CONFIG = """[devices.k1]
host = "127.0.0.1"
http_port = 9
[targets.fw]
[targets.web]
kind = "npm"
[budget]
day = "100M"
"""
PEER = """
import sys, time
from prometheus_client import CollectorRegistry, Gauge, start_http_server
registry, left = CollectorRegistry(), int(sys.argv[1])
for family in range(100):
    gauge = Gauge(f"peer_{family}", "One of a hundred.", ["of"], registry=registry)
    for number in range(left // 100 + (family < left % 100)):
        gauge.labels(of=str(number)).set(number * 1.5)
server = start_http_server(0, "127.0.0.1", registry=registry)
print((server[0] if isinstance(server, tuple) else server).server_port, flush=True)
time.sleep(9999)
"""


def scrape(port: int) -> tuple[float, str]:
    """(wall ms, the text) of one scrape, on a connection of its own as Prometheus makes them at first."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    text = answer.read().decode()
    wall = (time.perf_counter() - began) * 1e3
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"bench: {answer.status} {text}")
    return wall, text


def series(text: str) -> int:
    return sum(not line.startswith("#") for line in text.splitlines())


def prepare(repository: kit.Repository, trees: int, events: int) -> None:
    """Worktrees, events, books, and a line for the device."""
    for number in range(trees - 1):  # `agent` is one
        repository.git("worktree", "add", "-q", "-b", f"b{number}", f"{repository.folder}/trees/agent-{number}")
    history.write(repository.ops / "events", events, end=time.time() - 3600, workspaces=trees)
    call(repository, "budget", "reserve", "50k", "--agent", "agent-1", "--ttl", "1h")
    for number in range(WAITERS):
        cwd = Path(repository.folder) / "trees" / f"agent-{number}"
        call(repository, "queue", "submit", "device:k1", "--", "sleep", "900", cwd=cwd)


def call(repository: kit.Repository, *words: str, cwd: Path | None = None) -> str:
    argv = [kit.K1CTL, *words]
    done = subprocess.run(argv, cwd=cwd or repository.root, env=repository.env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"bench: {argv} ended with {done.returncode}")
    return done.stdout


def clear(repository: kit.Repository) -> None:
    """End whoever stands in line: those that wait first."""
    rows = json.loads(call(repository, "queue", "list", "--json"))
    rows = rows if isinstance(rows, list) else rows["tickets"]
    for row in reversed(rows):
        call(repository, "queue", "cancel", str(row["ticket"]))


def check(text: str, events: int) -> None:
    """What it tells has to be what is there."""
    told = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    turns = events // history.EVENTS_A_TURN
    builds = sum(float(value) for name, value in told.items() if name.startswith("k1_builds_total"))
    waiting = float(told['k1_queue_waiting{resource="device:k1"}'])
    failed = [name for name, value in told.items() if name.startswith("k1_collector_up") and value != "1"]
    if builds != turns or waiting != WAITERS - 1 or failed:
        raise SystemExit(f"bench: {builds} builds of {turns}, {waiting} wait, failed: {failed}")


def measure(report: Report, trees: int, events: int) -> None:
    walls: dict[str, list[float]] = {}
    with kit.Repository(CONFIG) as repository:
        servers: list[subprocess.Popen[str]] = []
        try:
            prepare(repository, trees, events)
            argv = [kit.K1CTL, "metrics", "serve", "--port", "0", "--json"]
            began = time.perf_counter()
            options = {"cwd": repository.root, "env": repository.env, "stdout": subprocess.PIPE, "text": True}
            servers.append(subprocess.Popen(argv, **options))
            port = json.loads(servers[0].stdout.readline())["port"]
            start = (time.perf_counter() - began) * 1e3
            text = scrape(port)[1]
            check(text, events)
            count = series(text)
            servers.append(
                subprocess.Popen([sys.executable, "-c", PEER, str(count)], stdout=subprocess.PIPE, text=True)
            )
            peer = servers[1].stdout.readline().strip()
            peers = {"k1ctl metrics serve": port, **({"prometheus_client": int(peer)} if peer else {})}
            for number in range(report.rounds(101, 7)):
                kit.quiet(5.0) if not number % 10 else None
                call(repository, "queue", "run", "warm", "--", "true")  # two new events
                for name, at in sorted(peers.items(), reverse=bool(number % 2)):
                    walls.setdefault(name, []).append(scrape(at)[0])
                if number % 5 == 0:
                    began = time.perf_counter()
                    call(repository, "metrics", "write")
                    walls.setdefault("k1ctl metrics write", []).append((time.perf_counter() - began) * 1e3)
        finally:
            for server in servers:
                server.terminate()
                server.wait()
            clear(repository)
    what = f"{count} series, {trees} worktrees, {events} events, {WAITERS - 1} in line"
    report.put(what, tool="k1ctl metrics serve, start with the first look ever", rounds=1, ms=round(start, 1))
    for name, values in walls.items():
        worst = sorted(values)[int(len(values) * 0.95)]
        report.put(what, tool=name, rounds=len(values), ms=median(values), p95_ms=round(worst, 1))
    report.bar(f"a scrape, {what}", median(walls["k1ctl metrics serve"]), BAR_MS, "ms")


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    measure(report, 20 if report.quick else TREES, EVENTS // 10 if report.quick else EVENTS)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
