"""The transfer phase of an OTA update of 1.2 MB: k1ctl's client against a bare byte loop, to the same simulated device.

The bare loop speaks the invitation by hand, hands the whole image to one sendall and reads until the final OK; both
count from the first byte to that OK. Interleaved pairs, each in turn first; the ratio is the median of the pairs'.
Bars: 1.25 times at full speed, 1.02 times where the device takes 100 kB a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from typing import Any

import kit
from report import Report, median, percentile

BARS = {"full speed": 1.25, "100 kB/s": 1.02}
SIZE = 1_200_000


def bare(host: str, port: int, image: bytes) -> float:
    """Seconds from the first byte to the final OK, the plainest way."""
    digest = hashlib.md5(image, usedforsecurity=False).hexdigest()
    with socket.create_server((host, 0)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((host, port))
        udp.settimeout(1.0)
        invitation = b"0 %d %d %s\n" % (server.getsockname()[1], len(image), digest.encode())
        for _ in range(10):
            udp.send(invitation)
            try:
                if udp.recv(64) == b"OK":
                    break
            except OSError:
                continue  # it restarts after the last update
        server.settimeout(5.0)
        link, _ = server.accept()
        with link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began, said = time.monotonic(), b""
            link.sendall(image)
            while not said.endswith(b"OK"):
                piece = link.recv(65536)
                if not piece:
                    raise SystemExit("bench: the simulated device did not say OK")
                said = (said + piece)[-64:]
            return time.monotonic() - began


def own(host: str, port: int, image: bytes) -> float:
    """The same, as `k1ctl upload` does it, with both callbacks for progress."""
    from k1ctl.device import ota

    done = ota.send(host, port, image, progress=lambda sent, total: None, taken=lambda taken, total: None)
    if done.outcome != "installed":
        raise SystemExit(f"bench: {done}")
    return done.transfer_seconds


class Simulator:
    """`k1ctl sim`, in a process of its own."""

    def __init__(self, repository: kit.Repository, *options: str) -> None:
        self.repository, self.options = repository, options

    def _call(self, *words: str) -> Any:
        argv = [kit.K1CTL, "sim", *words, "--json"]
        done = subprocess.run(
            argv, cwd=self.repository.root, env=self.repository.env, check=True, stdout=subprocess.PIPE
        )
        return json.loads(done.stdout)

    def __enter__(self) -> Simulator:
        self.facts = self._call("start", "--reboot", "20ms", *self.options)
        return self

    def __exit__(self, *exc: object) -> None:
        self._call("stop")


def main() -> int:
    if sys.executable != kit.PYTHON:  # the client that is measured is the installed one
        kit.prepare()
        os.execv(kit.PYTHON, [kit.PYTHON, *sys.argv])
    report = Report(__doc__ or "")
    image = b"\xe9" + random.Random(1).randbytes(SIZE - 1)
    plan = (("full speed", (), report.rounds(40, 8)), ("100 kB/s", ("--pace", "100000"), report.rounds(5, 1)))
    for speed, options, rounds in plan:
        sides = {"k1ctl": own, "bare byte loop": bare}
        taken: dict[str, list[float]] = {name: [] for name in sides}
        with kit.Repository() as repository, Simulator(repository, *options) as simulator:
            host, port = simulator.facts["host"], simulator.facts["ota_port"]
            for send in sides.values() if not options else ():
                send(host, port, image)
            idle = kit.quiet()
            for i in range(rounds):
                for name in list(sides) if i % 2 else reversed(list(sides)):
                    taken[name].append(sides[name](host, port, image))
                    time.sleep(0.05)
        pairs = list(zip(taken["k1ctl"], taken["bare byte loop"], strict=True))
        for name, seconds in taken.items():
            ratio = median([a / b for a, b in pairs]) if name == "k1ctl" else 1.0
            report.put(
                f"1.2 MB, {speed}",
                tool=name,
                rounds=rounds,
                p50_ms=median([s * 1e3 for s in seconds]),
                p95_ms=percentile([s * 1e3 for s in seconds], 0.95),
                kb_per_s=round(SIZE / (median([s * 1e3 for s in seconds]) or 1.0)),
                over_bare=ratio,
                idle=idle,
            )
            if name == "k1ctl":
                report.bar(f"{speed}: k1ctl over the bare loop", ratio, BARS[speed], "times")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
