"""The transfer of a 1.2 MB image: k1ctl's client against a bare byte loop, `k1ctl upload` against both and esptool.

Over the network the bare loop speaks the invitation by hand, hands the whole image to one sendall and reads until the
final OK; both count from the first byte to that OK. k1ctl's side is its client alone, and the transfer phase of a whole
`k1ctl upload` as its run's record tells it. Over USB the bare side is the same esptool with the same two regions, app
and otadata, timed from its start to its end; k1ctl's is again the record's transfer phase; the wall of the whole call,
which asks the board who it is and reads its partition table before, stands beside it. Interleaved pairs, each in turn
first; the ratio is the median of the pairs'.
Paces: 100 kB a second over the network (10 to 20 s an upload are what its users report); 200 kB a second into the flash
over USB, as of an ESP32-S3's own USB in https://github.com/espressif/esptool-js/issues/255 (1343712 bytes in 6.6 s).
Bars: 1.25 times at full speed, 1.02 times for the client where the device is paced, 1.05 times for an upload's record.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

import kit
from report import Report, median, percentile

BARS = {"full speed": 1.25, "100 kB/s": 1.02}
BAR_RECORD = 1.05
SIZE = 1_200_000
USB_PACE = 200_000
CLIENT, RECORD, BARE = "k1ctl's client", "k1ctl upload", "bare byte loop"
CABLE, ESPTOOL = "k1ctl upload --via usb", "bare esptool"
APP_OFFSET, OTADATA_OFFSET, OTADATA_SIZE = 0x10000, 0xE000, 0x2000  # the simulated device's partition table


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


def image() -> bytes:
    """A valid application image that does not compress."""
    from k1ctl.platformio.host_platform.builder.image import write

    return write(b"", random.Random(1).randbytes(SIZE - 400), version="1", project="bench", digest=bytes(32))


class Uploads:
    """`k1ctl upload` of one image to the simulated device of a repository."""

    def __init__(self, repository: kit.Repository, simulator: Simulator, path: str) -> None:
        (repository.ops / "k1ctl.toml").write_text("[targets.fw]\n" + simulator.facts["toml"] + "\n")
        self.repository, self.path = repository, path
        self.walls: list[float] = []

    def __call__(self, via: str) -> float:
        """The transfer phase in seconds, from the run's record."""
        argv = [kit.K1CTL, "upload", "--via", via, "--artifact", self.path, "--json"]
        began = time.monotonic()
        where = {"cwd": self.repository.worktree, "env": self.repository.env}
        done = subprocess.run(argv, **where, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(argv)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        self.walls.append(time.monotonic() - began)
        run = json.loads(done.stdout)["run"]
        record = json.loads((self.repository.ops / "runs" / run / "run.json").read_text())
        return float(record["result"]["transfer_seconds"])


def bare_esptool(tool: str, port: str, files: dict[int, str], env: dict[str, str]) -> float:
    """Seconds of the esptool call that k1ctl makes for the write."""
    argv = [tool, "--chip", "esp32s3", "--port", port, "--baud", "921600"]
    argv += ["--before", "default-reset", "--after", "hard-reset", "write-flash"]
    for offset, path in files.items():
        argv += [hex(offset), path]
    began = time.monotonic()
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def alternate(sides: dict[str, Any], rounds: int, pause: float) -> dict[str, list[float]]:
    """The figures of interleaved rounds, each side in turn first."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides) if i % 2 else reversed(list(sides)):
            taken[name].append(sides[name]())
            time.sleep(pause)
    return taken


def put(
    report: Report, what: str, taken: dict[str, list[float]], bare: str, bars: dict[str, float], idle: float
) -> None:
    """A row for each side, and the bars of those that have one."""
    for name, seconds in taken.items():
        ratio = median([a / b for a, b in zip(seconds, taken[bare], strict=True)])
        milliseconds = [s * 1e3 for s in seconds]
        report.put(
            f"1.2 MB, {what}",
            tool=name,
            rounds=len(seconds),
            p50_ms=median(milliseconds),
            p95_ms=percentile(milliseconds, 0.95),
            kb_per_s=round(SIZE / (median(milliseconds) or 1.0)),
            over_bare=ratio,
            idle=idle,
        )
        if name in bars:
            report.bar(f"{what}: {name} over the {bare}", ratio, bars[name], "times")


def network(report: Report, path: str, data: bytes, speed: str, options: tuple[str, ...], rounds: int) -> None:
    """Over the network, at one speed."""
    with kit.Repository() as repository, Simulator(repository, *options) as simulator:
        host, port = simulator.facts["host"], simulator.facts["ota_port"]
        upload = Uploads(repository, simulator, path)
        sides = {CLIENT: lambda: own(host, port, data), BARE: lambda: bare(host, port, data)}
        bars = {CLIENT: BARS[speed]}
        if options:
            sides, bars = {**sides, RECORD: lambda: upload("ota")}, {**bars, RECORD: BAR_RECORD}
        for side in () if options else sides.values():
            side()
        idle = kit.quiet()
        put(report, speed, alternate(sides, rounds, 0.05), BARE, bars, idle)


def cable(report: Report, path: str, rounds: int) -> None:
    """Over USB, paced at the speed of a real one."""
    from k1ctl.device.partitions import selecting

    with kit.Repository() as repository:
        install = [kit.K1CTL, "tools", "install", "esptool", "--json"]
        done = subprocess.run(install, env=repository.env, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            print("bench: no esptool can be installed: USB is left out", file=sys.stderr)
            return
        from k1ctl.device.esptool_install import installed

        tools = installed(environ=repository.env)
        assert tools is not None
        chosen = os.path.join(repository.folder, "otadata.bin")
        with open(chosen, "wb") as f:
            f.write(selecting(0, OTADATA_SIZE))
        files = {APP_OFFSET: path, OTADATA_OFFSET: chosen}
        with Simulator(repository, "--usb", "--fault", f"usb-pace={USB_PACE}") as simulator:
            port = simulator.facts["usb_port"]
            upload = Uploads(repository, simulator, path)
            sides = {
                CABLE: lambda: upload("usb"),
                ESPTOOL: lambda: bare_esptool(tools["esptool"], port, files, repository.env),
            }
            idle = kit.quiet()
            taken = alternate(sides, rounds, 0.3)
        what = f"USB, {USB_PACE // 1000} kB/s"
        put(report, what, {**taken, "the whole call": upload.walls}, ESPTOOL, {CABLE: BAR_RECORD}, idle)


def main() -> int:
    if sys.executable != kit.PYTHON:  # the client that is measured is the installed one
        kit.prepare()
        os.execv(kit.PYTHON, [kit.PYTHON, *sys.argv])
    report = Report(__doc__ or "")
    data = image()
    with tempfile.TemporaryDirectory(prefix="k1bench-") as folder:
        path = os.path.join(folder, "firmware.bin")
        with open(path, "wb") as f:
            f.write(data)
        network(report, path, data, "full speed", (), report.rounds(40, 8))
        network(report, path, data, "100 kB/s", ("--pace", "100000"), report.rounds(5, 1))
        cable(report, path, report.rounds(7, 2))
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
