"""`k1ctl status` in a repository of 100 worktrees with 1,000,000 events, as a process of its own each time.

The worktrees are real, a dozen of them stand in line for one device, the books have spend, and the events are those of
30 days of builds and uploads in the writer's own format, their last day still growing: a call is made after each new
event. The first call reads all of them and is told by itself; each further one what is new. The peers are `k1ctl
--version`, which shows what starting costs, and what a shell would do for the counts alone: `grep -c` over the events.
Bar: 250 ms for a call that finds a summary of everything before it.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import kit
from report import Report, median

BAR_MS = 250.0
TREES, EVENTS, DAYS, WAITERS = 100, 1_000_000, 30, 12
CONFIG = """[devices.k1]
host = "127.0.0.1"
http_port = 9
[devices.k2]
host = "127.0.0.1"
http_port = 9
[targets.fw]
[targets.web]
kind = "npm"
[budget]
day = "100M"
"""


def write_events(folder: Path, count: int) -> int:
    """``count`` events of turns (a build in line, then an upload), in files by day, the newest an hour old; their
    bytes."""
    folder.mkdir(exist_ok=True)
    turn, now = 9, time.time() - 3600
    turns = count // turn
    step = DAYS * 86400 / turns
    files: dict[str, list[str]] = {}
    for number in range(turns):
        begin = now - (turns - number) * step
        name, run = f"w{number % (TREES - 2)}", f"{number:020d}"
        failed = number % 17 == 0
        build = {"run": f"b{run}", "target": "fw", "exit_code": int(failed), "code": "failed" if failed else "done"}
        upload = {"run": f"u{run}", "target": "fw", "outcome": "installed", "exit_code": 0, "code": "installed"}
        said = [
            ("queue.enqueued", {"run": f"b{run}", "ticket": number, "resources": {"build:fw": 1}, "resumed": False}),
            ("queue.granted", {"run": f"b{run}", "ticket": number, "resources": {"build:fw": 1}, "wait_seconds": 0.4}),
            ("build.finished", {**build, "seconds": 31.5, "message": "src/main.cpp:30: error" if failed else ""}),
            ("run.ended", {**build, "kind": "build", "by": "command", "message": "", "wait_seconds": 0.4}),
            ("queue.enqueued", {"run": f"u{run}", "ticket": number, "resources": {"device:k1": 1}, "resumed": False}),
            ("queue.granted", {"run": f"u{run}", "ticket": number, "resources": {"device:k1": 1}, "wait_seconds": 2.5}),
            ("upload.finished", {**upload, "device": {"name": "k1"}, "message": "OK", "transfer_seconds": 3.1}),
            ("device.restarted", {"device": "k1", "uptime_ms": 900, "explained_by": name}),
            ("run.ended", {**upload, "kind": "upload", "by": "command", "message": "", "wait_seconds": 2.5}),
        ]
        for place, (event, fields) in enumerate(said):
            at = stamp(begin + place * min(5.0, step / turn))
            line = json.dumps({"at": at, "event": event, "workspace": name, **fields}, separators=(",", ":"))
            files.setdefault(at[:10], []).append(line)
    for day, lines in files.items():
        (folder / f"{day}.jsonl").write_text("\n".join(lines) + "\n")
    return sum(path.stat().st_size for path in folder.iterdir())


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def timed(argv: list[str], repository: kit.Repository) -> tuple[float, str]:
    """(wall ms, stdout) of one call."""
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=repository.root, env=repository.env, stdout=subprocess.PIPE, text=True)
    wall = (time.perf_counter() - began) * 1e3
    if done.returncode:
        raise SystemExit(f"bench: {argv} ended with {done.returncode}")
    return wall, done.stdout


def prepare(repository: kit.Repository, events: int) -> int:
    """Worktrees, events, books, and a line for the device; the bytes of the events."""
    trees = Path(repository.folder) / "trees"
    for number in range(TREES - 2):  # the root and `agent` are two
        repository.git("worktree", "add", "-q", "-b", f"b{number}", str(trees / f"w{number}"))
    size = write_events(repository.ops / "events", events)
    timed([kit.K1CTL, "budget", "reserve", "50k", "--agent", "w1", "--ttl", "1h"], repository)
    for number in range(WAITERS):
        submit = [kit.K1CTL, "queue", "submit", "device:k1", "--", "sleep", "900"]
        subprocess.run(
            submit, cwd=trees / f"w{number}", env=repository.env, check=True, stdout=subprocess.DEVNULL, timeout=60
        )
    return size


def clear(repository: kit.Repository) -> None:
    """End whoever stands in line: those that wait first."""
    rows = json.loads(timed([kit.K1CTL, "queue", "list", "--json"], repository)[1])
    rows = rows if isinstance(rows, list) else rows["tickets"]
    for row in reversed(rows):
        timed([kit.K1CTL, "queue", "cancel", str(row["ticket"])], repository)


def check(said: str, events: int) -> None:
    """What it tells has to be what is there."""
    found = json.loads(said)
    rows, waiting = found["workspaces"]["rows"], found["waiting"]["rows"]
    if len(rows) != TREES or len(waiting) != WAITERS - 1 or found["errors"]:
        raise SystemExit(f"bench: {len(rows)} worktrees, {len(waiting)} wait, errors {found['errors']}")
    counts = found["builds"]["facts"]
    expected = events // 9 // DAYS
    if abs(counts["good"] + counts["bad"] - expected) > expected * 0.1:
        raise SystemExit(f"bench: {counts} builds in a day, {expected} were written")


def measure(report: Report, events: int) -> None:
    """The rounds with so many events."""
    walls: dict[str, list[float]] = {}
    screen, document = [kit.K1CTL, "status"], [kit.K1CTL, "status", "--json"]
    with kit.Repository(CONFIG) as repository:
        size = prepare(repository, events)
        try:
            first, said = timed(document, repository)
            check(said, events)
            files = sorted(str(path) for path in (repository.ops / "events").iterdir())
            peers = {
                "k1ctl --version": [kit.K1CTL, "--version"],
                "grep -c over the events": ["grep", "-c", "build.finished", *files],
                "k1ctl status": screen,
                "k1ctl status --json": document,
            }
            for _ in range(report.rounds(21, 3)):
                kit.quiet()
                for name, argv in peers.items():
                    timed([kit.K1CTL, "queue", "run", "warm", "--", "true"], repository)  # two new events
                    wall, said = timed(argv, repository)
                    walls.setdefault(name, []).append(wall)
            check(said, events)
        finally:
            clear(repository)
    what = f"{TREES} worktrees, {events} events ({size >> 20} MiB), {WAITERS - 1} in line"
    report.put(what, tool="k1ctl status --json, first call ever", rounds=1, ms=round(first, 1))
    for name, values in walls.items():
        report.put(what, tool=name, rounds=len(values), ms=median(values), worst_ms=round(max(values), 1))
    report.bar(f"k1ctl status, {what}", median(walls["k1ctl status"]), BAR_MS, "ms")
    report.bar(f"k1ctl status --json, {what}", median(walls["k1ctl status --json"]), BAR_MS, "ms")


def main() -> int:
    report = Report(__doc__ or "", events={"type": int, "default": EVENTS, "help": "how many (default: 1000000)"})
    kit.prepare()
    measure(report, report.options.events)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
