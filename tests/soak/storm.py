"""A kill storm: clients of the real command line come without end while their processes are killed at random."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from k1ctl.events import parse
from k1ctl.queue import view
from tests.queue.holding import Detector, Mark

CROWD = 12
PARK = 0.2  # s
SCRIPT = """path=$(%(k1ctl)s ticket %(resource)s) || exit $?; exec 9<>"$path"
one=$(%(k1ctl)s acquire --fd 9) || exit $?
K1CTL_DEVICE=$one; export K1CTL_DEVICE; "$@" """
SUBMIT = """run=$(%(k1ctl)s submit %(resource)s --key "$0" -- "$@") && exec %(k1ctl)s wait "$run" --quiet"""
# Each device has its detector: that of the one that was got, else of the one that was named.
THERE = """program=$0; folder=$1; shift; exec "$program" "$folder/${K1CTL_DEVICE:-$NAMED}" "$@" """
VICTIMS = ("front", "supervisor", "command", "supervisor and command", "all")


class Report(NamedTuple):
    """What a storm came to. ``wrong`` must be empty; ``gap`` is the longest time in which nobody began or ended."""

    slots: int
    seed: int
    clients: int
    kills: int
    struck_waiting: int
    served: int
    gap: float
    seconds: float
    wrong: list[str]

    def __str__(self) -> str:
        return (
            f"{self.slots} slot(s), seed {self.seed}: {self.clients} clients, {self.kills} kills "
            f"({self.struck_waiting} in line), {self.served} commands ran to their end, longest gap "
            f"{self.gap * 1000:.0f} ms, {self.seconds:.0f} s, wrong: {self.wrong or 'nothing'}"
        )


class Client:
    """One call and what was done to it."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], keep: bool) -> None:
        self.number, self.process, self.keep = number, process, keep
        self.struck: list[str] = []


class Storm:
    """``clients`` calls in all, ``kills`` SIGKILLs among them, in ``root`` (any folder).

    They share one resource with ``slots``; or, with ``devices``, so many devices: some name one, others take any.
    """

    def __init__(self, root: Path, slots: int, clients: int, kills: int, seed: int, *, devices: int = 0) -> None:
        self.root, self.slots, self.clients, self.kills, self.seed = root, slots, clients, kills, seed
        self.random = random.Random(seed)
        self.devices = [f"d{number}" for number in range(devices)]
        self.detectors = [Detector(root / "detector" / name, slots) for name in self.devices or [""]]
        self.detector = Detector(root / "detector", slots)
        (root / "ops").mkdir()
        (root / "ops" / "k1ctl.toml").write_text(
            f'[queue]\npark = {PARK}\n[queue.slots]\nr = {slots}\n[process]\ngrace = "1s"\n'
            + "".join(f"[devices.{name}]\n" for name in self.devices)
        )
        self.live: list[Client] = []
        self.done: list[Client] = []
        self.struck = self.struck_waiting = 0
        self.wrong: list[str] = []

    def run(self) -> Report:
        """Let it rage, then look at what is left."""
        began = time.monotonic()
        try:
            while len(self.done) < self.clients:
                while len(self.live) < CROWD and len(self.live) + len(self.done) < self.clients:
                    self.live.append(self._call(len(self.live) + len(self.done)))
                self._collect()
                self._maybe_strike()
                time.sleep(self.random.uniform(0, 0.004))
        finally:
            for client in self.live:
                client.process.kill()
                client.process.wait()
        seconds = time.monotonic() - began
        self._check()
        marks = self._marks()
        times = sorted(m.at for m in marks)
        gap = max((b - a for a, b in itertools.pairwise(times)), default=0.0)
        ended = len({m.who for m in marks if m.what == "E"})
        return Report(
            self.slots, self.seed, self.clients, self.struck, self.struck_waiting, ended, gap, seconds, self.wrong
        )

    def _call(self, number: int) -> Client:
        kind, keep = self.random.random(), self.random.random() < 0.3
        resource = f"device:{self.random.choice([*self.devices, 'any', 'any'])}" if self.devices else "r"
        command = self._command(number, without_lock=self.random.random() < 0.1)
        options = ["--key", str(number), "--on-caller-exit", "keep" if keep else "stop"]
        argv = [sys.executable, "-m", "k1ctl", "queue", "run", resource, *options, "--", *command]
        if kind < 0.24:  # a script with a lease of its own, or one that submits
            keep = kind < 0.12
            if not keep:  # nobody but the descriptor guards a script's lease
                command = self._command(number)
            text = (SUBMIT if keep else SCRIPT) % {"k1ctl": f"{sys.executable} -m k1ctl queue", "resource": resource}
            argv = ["sh", "-c", text, str(number), *command]
        with (self.root / "said").open("ab") as out:
            env = {**os.environ, "K1CTL_ROOT": str(self.root), "NAMED": resource.partition(":")[2]}
            process = subprocess.Popen(argv, cwd=self.root, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        return Client(number, process, keep)

    def _command(self, number: int, *, without_lock: bool = False) -> list[str]:
        command = self.detector.command(number, self.random.randint(2, 25), without_lock=without_lock)
        return ["sh", "-c", THERE, *command] if self.devices else command

    def _marks(self, what: str = "") -> list[Mark]:
        return [mark for detector in self.detectors for mark in detector.marks(what)]

    def _collect(self) -> None:
        for client in [c for c in self.live if c.process.poll() is not None]:
            self.live.remove(client)
            self.done.append(client)
            code = client.process.returncode
            if not client.struck and code != 0:
                self.wrong.append(f"client {client.number} was not struck and exited {code}")
            if client.struck and code not in (0, 76, 137, -9):
                self.wrong.append(f"client {client.number}, struck {client.struck}, exited {code}")

    def _maybe_strike(self) -> None:
        rate = self.kills / self.clients / 6  # about so many looks a client lives
        if self.struck >= self.kills or not self.live or self.random.random() > max(rate, 0.02) * len(self.live):
            return
        families = [(c, *family(c.process.pid)) for c in self.live]
        working = [f for f in families if f[2]]
        client, supervisor, command = self.random.choice(
            working if working and self.random.random() < 0.6 else families
        )
        victim = self.random.choice(VICTIMS)
        pids = {
            "front": [client.process.pid],
            "supervisor": [supervisor],
            "command": [command],
            "supervisor and command": [supervisor, command],
            "all": [client.process.pid, supervisor, command],
        }[victim]
        if 0 in pids and (victim != "all" or not supervisor):
            return
        client.struck.append(victim)
        self.struck_waiting += not command
        for pid in filter(None, pids):
            self.struck += 1
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _check(self) -> None:
        self.wrong += [f"overlap: {mark}" for mark in self._marks("OVERLAP")]
        everything = [f"device:{name}" for name in self.devices] or [f"r={self.slots}"]
        for _ in range(2):  # the second one meets places that were parked by the first and have expired since
            fresh = subprocess.run(
                [sys.executable, "-m", "k1ctl", "queue", "run", *everything, "--", "true"],
                cwd=self.root,
                env={**os.environ, "K1CTL_ROOT": str(self.root)},
                timeout=60,
            )
            if fresh.returncode:
                self.wrong.append(f"a fresh client exited {fresh.returncode}")
            time.sleep(PARK + 0.1)
        queue = str(self.root / "ops" / "queue")
        subprocess.run(
            [sys.executable, "-m", "k1ctl", "queue", "run", "other", "--", "true"],
            cwd=self.root,
            env={**os.environ, "K1CTL_ROOT": str(self.root)},
            check=True,
        )
        self.wrong += [f"left over: {row}" for row in view.entries(queue)]
        started = [m.who for m in self._marks("S")]
        ended = {m.who for m in self._marks("E")}
        self.wrong += [f"client {who} ran {started.count(who)} times" for who in set(started) if started.count(who) > 1]
        unserved = {str(c.number) for c in self.done if not c.struck} - ended
        self.wrong += [f"client {who} was never served" for who in unserved]
        for client in self.done:
            who = str(client.number)
            if client.keep and client.struck == ["front"] and who in started and who not in ended:
                self.wrong.append(f"client {who} was to be kept and did not end")
        self._check_records()
        said = (self.root / "said").read_text()
        if "Traceback" in said or "bug" in said:
            self.wrong.append(said[said.index("Traceback" if "Traceback" in said else "bug") :][:2000])

    def _check_records(self) -> None:
        calm = {c.number for c in self.done if not c.struck}
        granted: dict[str, list[tuple[float, int]]] = {}
        for path in (self.root / "ops" / "runs").glob("*/run.json"):
            record = json.loads(path.read_text())
            words = record["argv"][3 if self.devices else 0 :]
            if len(words) > 4 and int(words[3]) in calm and "granted" in record.get("monotonic", {}):
                place = (record["monotonic"]["granted"], record["ticket"])
                granted.setdefault(" ".join(record["resources"]), []).append(place)
        for resource, places in granted.items():
            order = [ticket for _, ticket in sorted(places)]
            if self.slots == 1 and order != sorted(order):
                at = next(i for i, (a, b) in enumerate(itertools.pairwise(order)) if a > b)
                self.wrong.append(f"{resource} not in the order of the tickets: {order[max(0, at - 2) : at + 3]}")
        if self.clients >= 100:  # a few may all have named the other ones
            self.wrong += [f"never used: {d}" for d in self.devices if f"device:{d}" not in granted]
        for path in (self.root / "ops" / "events").glob("*.jsonl"):
            torn = [line for line in path.read_text().splitlines() if parse(line) is None]
            self.wrong += [f"torn event: {line!r}" for line in torn]


def children(pid: int) -> list[int]:
    """The children of a process, as the kernel lists them."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def family(front: int) -> tuple[int, int]:
    """(supervisor, command) of a front end; 0 where there is none (yet)."""
    supervisor = next(iter(children(front)), 0)
    return supervisor, next(iter(children(supervisor)), 0) if supervisor else 0
