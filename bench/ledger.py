"""The token ledger: reserve and settle by 100 processes at once, and one call from the command line.

1. Hot loop: 100 processes, each an agent, reserve and settle as fast as they can; an operation is one of both. Without
   fsync (`Ledger(durable=False)`: survives a kill) and with (`durable=True`: every settle survives a loss of power).
   Bars: 20,000 and 2,000 operations a second.
2. Offered load: the same 100 processes with pauses, 1,000 operations a second in all; the 95th percentile of one
   operation. Bar: 50 ms.
3. Cold: `k1ctl budget reserve` against `python -c 'import click, sqlite3'`, interleaved; the median of the pairs'
   ratios. Bar: 1.60.

Beside them: one JSON document that is rewritten under an flock, redis-server (Lua on a socket, no append-only file)
where there is one, and SQLite behind an flock with the least that can be written; all three keep only two counters and
the open holds, no record and no limits of agent, task and hour. Every worker has reserved and settled once before it is
timed: imports and connections are what 3 measures.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import kit
from report import Report, median, percentile
from start import compare

PROCESSES = 100
HOT, HOT_SYNCED, P95, COLD = 20_000, 2_000, 50.0, 1.60

WORKER = r"""
import fcntl, json, os, random, socket, sys, time
design, folder, number, seconds, pause, port = sys.argv[1:7]
number, seconds, pause = int(number), float(seconds), float(pause)

class Json:
    def __init__(self):
        self.path, self.lock = folder + "/ledger.json", os.open(folder + "/lock", os.O_RDWR | os.O_CREAT)
    def change(self, what):
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            try:
                with open(self.path) as f: books = json.load(f)
            except FileNotFoundError: books = {"spent": 0, "held": 0, "open": {}}
            found = what(books)
            with open(f"{self.path}.{number}", "w") as f: json.dump(books, f)
            os.rename(f"{self.path}.{number}", self.path)
            return found
        finally: fcntl.flock(self.lock, fcntl.LOCK_UN)
    def reserve(self, id, n):
        def what(b):
            assert b["spent"] + b["held"] + n <= 10**12
            b["held"] += n; b["open"][id] = n
        self.change(what); return id
    def settle(self, id, n):
        def what(b): b["held"] -= b["open"].pop(id); b["spent"] += n
        self.change(what)

class Bare:
    def __init__(self):
        import sqlite3
        self.lock = os.open(folder + "/lock", os.O_RDWR | os.O_CREAT)
        self.db = sqlite3.connect(folder + "/bare.db", isolation_level=None, timeout=60)
        with self:
            for word in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL",
                         "CREATE TABLE IF NOT EXISTS books(one INTEGER PRIMARY KEY, spent INTEGER, held INTEGER)",
                         "CREATE TABLE IF NOT EXISTS open(id TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID",
                         "INSERT OR IGNORE INTO books VALUES(1, 0, 0)"): self.db.execute(word)
    def __enter__(self): fcntl.flock(self.lock, fcntl.LOCK_EX)
    def __exit__(self, *exc): fcntl.flock(self.lock, fcntl.LOCK_UN)
    def reserve(self, id, n):
        with self:
            self.db.execute("BEGIN IMMEDIATE")
            most = "UPDATE books SET held = held + ?1 WHERE one = 1 AND spent + held + ?1 <= 1000000000000"
            assert self.db.execute(most, (n,)).rowcount
            self.db.execute("INSERT INTO open VALUES(?, ?)", (id, n)); self.db.execute("COMMIT")
        return id
    def settle(self, id, n):
        with self:
            self.db.execute("BEGIN IMMEDIATE")
            (held,) = self.db.execute("SELECT n FROM open WHERE id = ?", (id,)).fetchone()
            self.db.execute("DELETE FROM open WHERE id = ?", (id,))
            self.db.execute("UPDATE books SET held = held - ?, spent = spent + ? WHERE one = 1", (held, n))
            self.db.execute("COMMIT")

class Redis:
    RESERVE = ("local n=tonumber(ARGV[2]) if tonumber(redis.call('get','spent') or 0)"
               "+tonumber(redis.call('get','held') or 0)+n>1e12 then return 0 end "
               "redis.call('incrby','held',n) redis.call('hset','open',ARGV[1],n) return 1")
    SETTLE = ("redis.call('incrby','held',-tonumber(redis.call('hget','open',ARGV[1])))"
              "redis.call('hdel','open',ARGV[1]) redis.call('incrby','spent',ARGV[2]) return 1")
    def __init__(self):
        self.s = socket.create_connection(("127.0.0.1", int(port))); self.f = self.s.makefile("rb")
    def call(self, *words):
        parts = b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in map(str.encode, words))
        self.s.sendall(b"*%d\r\n" % len(words) + parts)
        assert self.f.readline() == b":1\r\n"
    def reserve(self, id, n): self.call("EVAL", self.RESERVE, "0", id, str(n)); return id
    def settle(self, id, n): self.call("EVAL", self.SETTLE, "0", id, str(n))

class K1ctl:
    def __init__(self):
        from k1ctl.budget.ledger import Ledger
        from k1ctl.config import load
        from k1ctl.workspace import Workspace
        place = Workspace(folder, folder, "bench")
        self.books = Ledger(place, load(place, {}), durable=design == "synced")
    def reserve(self, id, n): return self.books.reserve(n, agent=f"a{number}", task=f"t{number % 10}").id
    def settle(self, id, n): self.books.settle(id, n)

books = {"json": Json, "bare": Bare, "redis": Redis}.get(design, K1ctl)()
books.settle(books.reserve(f"{number}.0", 10), 5)
sys.stdout.write("ready\n"); sys.stdout.flush(); sys.stdin.readline()
draw, taken, count, end = random.Random(number), [], 0, time.perf_counter() + seconds
while time.perf_counter() < end:
    count += 1
    begun = time.perf_counter(); id = books.reserve(f"{number}.{count}", 10); between = time.perf_counter()
    books.settle(id, 5); done = time.perf_counter()
    taken += [between - begun, done - between]
    if pause: time.sleep(draw.expovariate(1 / pause))
print(json.dumps([len(taken), sorted(taken)[:: max(1, len(taken) // 400)]]))
"""


def load(design: str, seconds: float, pause: float, port: int = 0) -> tuple[float, list[float]]:
    """(operations a second, a sample of their milliseconds) of 100 processes at once."""
    folder = tempfile.mkdtemp(prefix="k1bench-", dir=kit.PLACE)
    try:
        os.mkdir(f"{folder}/ops")
        Path(folder, "ops", "k1ctl.toml").write_text('[budget]\nday = "100G"\nagent_day = "10G"\ntask = "100G"\n')
        words = [kit.PYTHON, "-c", WORKER, design, folder]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        rest = [str(seconds), str(pause), str(port)]
        workers = [
            subprocess.Popen([*words, str(n), *rest], env=kit.environment(folder), **pipes) for n in range(PROCESSES)
        ]
        for worker in workers:
            if worker.stdout.readline() != "ready\n":
                raise SystemExit(f"bench: a worker of {design} did not begin")
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [json.loads(worker.communicate()[0]) for worker in workers]
        return sum(count for count, _ in told) / seconds, [1000 * t for _, sample in told for t in sample]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A redis-server of our own on a free port, without persistence; ``port`` 0 where there is no such program."""

    def __init__(self) -> None:
        import socket

        self.process, self.port = None, 0
        program = shutil.which("redis-server")
        if program is None:
            return
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        words = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                self.port = port
                return
            except OSError:
                time.sleep(0.05)

    def flush(self) -> None:
        """Begin with empty books."""
        import socket

        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(b"FLUSHALL\r\n")
            s.recv(16)

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


def at_once(report: Report) -> None:
    server = Server()
    designs = [("k1ctl", "survive a kill"), ("synced", "settles synced"), ("json", "JSON + flock")]
    designs += [("bare", "bare SQLite + flock")]
    designs += [("redis", "redis-server")] if server.port else []
    if not server.port:
        report.put("missing", program="redis-server")
    seconds = report.rounds(5, 1)
    for design, about in designs:
        for what, pause in (("hot", 0.0), ("offered", 0.2)):
            if server.port:
                server.flush()
            idle = kit.quiet()
            rate, sample = load(design, seconds, pause, server.port)
            worst = round(max(sample), 1)
            facts = {"per_second": round(rate), "p50_ms": median(sample), "p95_ms": percentile(sample, 0.95)}
            report.put(f"ledger_{what}", tool=f"{design}: {about}", **facts, sample_max_ms=worst, idle=idle)
            if (what, design) == ("hot", "k1ctl"):
                report.bar("hot loop at 100 processes, without fsync", round(rate), HOT, "a second", least=True)
            if (what, design) == ("hot", "synced"):
                report.bar("hot loop at 100 processes, settles synced", round(rate), HOT_SYNCED, "a second", least=True)
            if (what, design) == ("offered", "synced"):
                report.bar("p95 at 1,000 offered a second, settles synced", facts["p95_ms"], P95, "ms")
    server.close()


def cold(report: Report) -> None:
    with kit.Repository('[budget]\nday = "100G"\nagent_day = "10G"\n') as repository:
        sides = {
            "k1ctl budget reserve": [kit.K1CTL, "budget", "reserve", "10", "--agent", "A", "--task", "T"],
            "python -c 'import click, sqlite3'": [kit.PYTHON, "-c", "import click, sqlite3"],
            "python -c pass": [kit.PYTHON, "-c", "pass"],
        }
        cwd, env = str(repository.worktree), repository.env
        compare(report, "ledger_cold", sides, cwd, env, over="import click, sqlite3", bar=COLD)


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    at_once(report)
    cold(report)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
