"""What `k1ctl upload` says against what the device did: 200 uploads while each fault hits 10 % of all flashes.

24 worktrees upload images of their own through real `k1ctl upload` processes, and stand in line for ten simulated
devices: three over the network; one that tells its build, and whose bootloader goes back to the old one at times; two
whose REST API is faulty too; two over USB; two over either, some of whose images crash, so that only the cable leads
back. Each fault is drawn from a seed for each flash (for the REST API: each request), "reboot without install" and
"installed, but the OK is lost" among them. The truth is the simulator's own history: what ran behind the last flash of
an upload. An outcome is right when it says so, or `unknown`.
Bars: 0 said to be installed that were not, 0 said not to be that were, 0 without an outcome, 0 crashing images said to
be well, 0 overlapping flashes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from k1ctl.simulator.simulated import SimulatedDevice

SHARE = 0.1
NETWORK = ("drop=12", "cut=0.4", "stall=2s", "refuse", "eof", "lost-ok", "no-install")
REST = ("drip=20", "endless", "hang", "html", "http=500", "busy", "wrong-mac")
CABLE = ("usb-silent", "usb-cell", "usb-cut=1", "usb-erase=300ms", "usb-chip=5", "usb-mac")
CLAIMS = ("installed", "wrong-build", "refused", "interrupted", "unreachable", "wrong", "busy", "failed", "unknown")
RULES = """\
[targets.fw]
[ota]
attempts = 3
attempt_timeout = "20s"
retry_delay = "50ms"
idle_timeout = "1s"
invitations = 10
invitation_interval = "100ms"
connect_timeout = "1s"
[usb]
connect_timeout = "10s"
"""


class Desk(NamedTuple):
    """Devices of a kind, and how many there are: how uploads go to them, their faults, whether they have a cable, the
    share of their images that crash, and whether they tell which build they run."""

    kind: str
    via: str
    faults: tuple[str, ...]
    count: int
    cable: bool = False
    crashing: float = 0.0
    telling: bool = False

    @property
    def devices(self) -> list[str]:
        return [f"{self.kind}{number}" for number in range(1, self.count + 1)]


DESKS = (
    Desk("net", "ota", NETWORK, 3),
    Desk("told", "ota", (*NETWORK, "rolled-back"), 1, telling=True),
    Desk("rest", "ota", NETWORK + REST, 2),
    Desk("cable", "usb", CABLE, 2, cable=True),
    Desk("either", "auto", NETWORK + CABLE, 2, cable=True, crashing=0.1),
)
TREES = 24


class Upload(NamedTuple):
    """One upload: its image's digests and size, and what it came to."""

    desk: Desk
    device: str
    crashing: bool
    sha256: str
    md5: str
    size: int
    exit_code: int
    outcome: str
    said: dict[str, Any]
    seconds: float


class Row(NamedTuple):
    """An upload, and whether the device ran its image behind the last flash of it."""

    upload: Upload
    truth: bool

    @property
    def right(self) -> bool:
        """Whether what was said is so, or nothing was claimed. A device that took an image and told another build
        after it is said not to run it."""
        return self.upload.outcome == "unknown" or (self.claim == "installed") == self.truth

    @property
    def claim(self) -> str:
        """What was said in the end."""
        verified = self.upload.said.get("verification") or {}
        wrong = self.upload.outcome == "installed" and verified.get("state") == "wrong-build"
        return "wrong-build" if wrong else self.upload.outcome


def _places(desks: Sequence[Desk]) -> list[tuple[Desk, str]]:
    return [(desk, name) for desk in desks for name in desk.devices]


def image(number: int, random: Random, *, crashing: bool) -> bytes:
    """An application image that no other number gives; its size, too, is of this number alone."""
    from k1ctl.platformio.host_platform.builder.image import write
    from k1ctl.simulator.console import PANIC_MARK

    data = random.randbytes(24_000 + 64 * number) + (PANIC_MARK if crashing else bytes(len(PANIC_MARK)))
    return write(b"", data, version=str(number), project="outcomes", digest=bytes(32))


class Storm:
    """The uploads of ``trees`` by the words ``k1ctl`` in ``env``, and what became of them. A context manager."""

    def __init__(
        self,
        folder: Path,
        ops: Path,
        trees: Sequence[Path],
        k1ctl: Sequence[str],
        env: Mapping[str, str],
        *,
        seed: int,
        share: float = SHARE,
    ) -> None:
        self.folder, self.ops, self.trees, self.k1ctl, self.env = folder, ops, trees, list(k1ctl), dict(env)
        self.seed, self.share = seed, share
        folder.mkdir()
        self.devices: dict[str, SimulatedDevice] = {}
        self.uploads: list[Upload] = []

    def start(self, desks: Sequence[Desk], stack: contextlib.ExitStack, more: str = "") -> None:
        """Start the devices in this process and configure the repository for them."""
        from k1ctl.simulator.faults import Chance
        from k1ctl.testing import SimulatedDevice

        text = [RULES, more]
        for number, (desk, name) in enumerate(_places(desks)):
            mac = f"02:4B:31:00:05:{number:02x}"
            device = SimulatedDevice(self.folder / name, mac=mac, reboot_seconds=0.02, usb=desk.cable)
            always = ("build-id",) if desk.telling else ()
            device.device.faults = Chance(desk.faults, self.share, 100 * self.seed + number, always)
            self.devices[name] = stack.enter_context(device)
            text.append(device.toml(name) + 'probe_timeout = "2s"\nboot_timeout = "3s"')
            text += ['build_id = "/api/device/info:build.id"'] if desk.telling else []
        (self.ops / "k1ctl.toml").write_text("\n".join(text))

    def rage(self, desks: Sequence[Desk], count: int, told: Callable[[Upload], None] = lambda upload: None) -> None:
        """Make ``count`` uploads, to one device like another; each worktree one after the other."""
        random = Random(self.seed)
        places = _places(desks)
        todo: queue.SimpleQueue[tuple[int, Desk, str, bool, bytes]] = queue.SimpleQueue()
        for number in range(count):
            desk, name = places[number % len(places)]
            crashing = random.random() < desk.crashing
            todo.put((number, desk, name, crashing, image(number, random, crashing=crashing)))

        def work(tree: Path) -> None:
            with contextlib.suppress(queue.Empty):
                while True:
                    done = self._upload(tree, *todo.get_nowait())
                    self.uploads.append(done)
                    told(done)

        threads = [threading.Thread(target=work, args=(tree,)) for tree in self.trees]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _upload(self, tree: Path, number: int, desk: Desk, name: str, crashing: bool, data: bytes) -> Upload:
        from hashlib import md5, sha256

        path = self.folder / f"{number}.bin"
        path.write_bytes(data)
        argv = [*self.k1ctl, "upload", "--device", name, "--via", desk.via, "--artifact", str(path), "--json"]
        began = time.monotonic()
        done = subprocess.run(argv, cwd=tree, env=self.env, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        try:
            said = json.loads(done.stdout)
        except ValueError:
            said = {"error": {"message": (done.stdout + done.stderr)[-2000:]}}
        facts = {k: v for k, v in said.get("error", said).items() if k != "earlier"}
        outcome = str(facts.get("outcome") or "")
        digest = md5(data, usedforsecurity=False).hexdigest()
        sha = sha256(data).hexdigest()
        return Upload(desk, name, crashing, sha, digest, len(data), done.returncode, outcome, facts, round(seconds, 3))

    # the truth

    def rows(self) -> list[Row]:
        """Each upload beside what the simulator's history says of it."""
        ran = {name: self._ran(name) for name in self.devices}
        return [Row(u, ran[u.device].get(u.size) == u.sha256) for u in self.uploads]

    def _ran(self, name: str) -> dict[int, str]:
        """{size of an image: SHA-256 of what the device ran behind the last flash of that image}."""
        md5s = {upload.md5: upload.size for upload in self.uploads}
        found, running = {}, ""
        for flash in self.devices[name].flashes():
            if flash["outcome"] == "installed" or flash["transport"] == "usb":
                running = flash["sha256"]
            found[md5s[flash["md5"]] if flash["transport"] == "ota" else flash["size"]] = running
        return found

    def overlaps(self) -> int:
        """How many flashes began on a device, by its own clock, before the one before them had ended."""
        count = 0
        for device in self.devices.values():
            ordered = sorted(device.flashes(), key=lambda flash: flash["start"])
            for before, flash in pairwise(ordered):
                count += flash["start"] < before["end"]
        return count

    def last_images(self) -> bool:
        """Whether each device runs what its history says that it runs."""
        from hashlib import sha256

        for name, device in self.devices.items():
            last = list(self._ran(name).values())[-1:]
            if last not in ([], [""]) and sha256(device.image() or b"").hexdigest() != last[0]:
                return False
        return True


def put(report: Any, storm: Storm) -> None:
    """The table of outcome and truth, and the bars."""
    rows = storm.rows()
    for desk in dict.fromkeys(row.upload.desk for row in rows):
        mine = [row for row in rows if row.upload.desk is desk]
        flashes = [flash for name in desk.devices for flash in storm.devices[name].flashes()]
        faults = Counter(flash["why"] or "none" for flash in flashes)
        seconds = sorted(row.upload.seconds for row in mine)
        report.put(
            "uploads",
            tool=desk.kind,
            via=desk.via,
            devices=desk.count,
            uploads=len(mine),
            flashes=len(flashes),
            over_usb=sum(flash["transport"] == "usb" for flash in flashes),
            median_s=seconds[len(seconds) // 2],
            faults=" ".join(f"{why}:{count}" for why, count in faults.most_common()),
        )
    for claim in [*CLAIMS, ""]:
        said = [row for row in rows if row.claim == claim]
        if said:
            there = sum(row.truth for row in said)
            report.put("outcome x truth", tool=claim or "(none)", installed=there, not_installed=len(said) - there)
    for row in rows:
        broken = row.upload.crashing and not row.upload.exit_code
        if broken or not row.right or row.upload.outcome not in CLAIMS:
            report.put("wrong", truth=row.truth, outcome=row.upload.outcome, **row.upload.said)
    wrong = [row for row in rows if not row.right]
    report.bar("said installed, was not", sum(not row.truth for row in wrong), 0)
    report.bar("said not installed, was", sum(row.truth for row in wrong), 0)
    report.bar("without an outcome", sum(row.upload.outcome not in CLAIMS for row in rows), 0)
    report.bar("exit 0 without installed", sum(not u.exit_code and u.outcome != "installed" for u, _ in rows), 0)
    report.bar("a crashing image said to be well", sum(u.crashing and not u.exit_code for u, _ in rows), 0)
    report.bar("overlapping flashes", storm.overlaps(), 0)
    report.bar("devices run what their history says", int(storm.last_images()), 1, least=True)


@contextlib.contextmanager
def repository(trees: int) -> Iterator[tuple[Any, list[Path]]]:
    """A repository with that many worktrees."""
    import kit

    with kit.Repository() as made:
        paths = [Path(made.folder) / f"agent{number}" for number in range(trees)]
        for path in paths:
            made.git("worktree", "add", "-q", str(path))
        yield made, paths


def main() -> int:
    import kit
    from report import Report

    if sys.executable != kit.PYTHON:  # the simulator is that of the installed one
        kit.prepare()
        os.execv(kit.PYTHON, [kit.PYTHON, *sys.argv])
    seed = {"type": int, "default": 1, "help": "what the faults are drawn from"}
    share = {"type": float, "default": SHARE, "help": "of all flashes that each fault hits"}
    report = Report(__doc__ or "", seed=seed, share=share)
    count = report.rounds(200, 40)
    with repository(TREES) as (made, trees), contextlib.ExitStack() as stack:
        folder = Path(made.folder) / "devices"
        chance = {"seed": report.options.seed, "share": report.options.share}
        storm = Storm(folder, made.ops, trees, [kit.K1CTL], made.env, **chance)
        have = subprocess.run([kit.K1CTL, "tools", "install", "esptool"], env=made.env, check=False).returncode == 0
        desks = [desk for desk in DESKS if have or not desk.cable]
        storm.start(desks, stack)
        began = time.monotonic()
        storm.rage(desks, count, lambda u: print(f"{u.device}: {u.outcome} {u.seconds:.1f} s", file=sys.stderr))
        seconds = round(time.monotonic() - began, 1)
        report.put(
            "all",
            uploads=len(storm.uploads),
            crashing=sum(u.crashing for u in storm.uploads),
            seconds=seconds,
            seed=storm.seed,
        )
        put(report, storm)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
