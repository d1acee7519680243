"""Killed at every moment: a submitted run's supervisor, and the claim that hands a script its lease.

As test_kill_moments.py does it for `queue run`; of the calls into the kernel every twelfth is struck, others in each
run of the suite, or all with ``KILL_EVERY=1``.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from k1ctl.queue import view
from tests.kit import finish, needs, wait_until
from tests.proofs.test_kill_moments import AT_ONCE, Cell, library
from tests.queue.owners import Owners

__all__ = ["library"]  # the fixture
pytestmark = [
    needs("gcc"),
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc are Linux's"),
]
EVERY = int(os.environ.get("KILL_EVERY", "12"))
DEVICE = '[devices.k1]\nhost = "127.0.0.1"\nmac = "02:4B:31:00:00:01"\n'


def struck(trial: Callable[[int], int], calls: int, every: int = EVERY) -> int:
    """Run ``trial(n)`` for the chosen calls, some at once; how many of them struck."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(trial, range(1 + os.getpid() % every, calls + 1, every)))


class Calls(Cell):
    """A cell in which other commands than `queue run` are struck."""

    def env(self, *, crash: bool = False) -> dict[str, str]:
        own = {"K1CTL_ROOT": str(self.root), "K1CTL_HOST_DIR": str(self.root / "host")}
        return {**os.environ, **own, **(self.crash if crash else {})}

    def said(self, who: str) -> str:
        return super().said(who) if (self.root / f"err.{who}").exists() else ""

    def call(self, *words: str, crash: bool = False) -> tuple[int, str]:
        """(exit code, stdout) of a command; what it said is A's."""
        argv = [sys.executable, "-m", "k1ctl", "queue", *words]
        with (self.root / "err.A").open("ab") as err:
            done = subprocess.run(
                argv, cwd=self.root, env=self.env(crash=crash), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=err, text=True, timeout=60,
            )  # fmt: skip
        return done.returncode, done.stdout


def submitted(n: int, *, folder: Path, library: str, busy: bool) -> int:
    """One submitted run, at once let in or behind another holder; its supervisor is struck at the call n."""
    cell = Calls(folder / f"{busy}{n}", library, "supervisor", n)
    queue = cell.root / "ops" / "queue"
    with Owners(queue, net=True) as owners:
        holder = owners.enqueue({"r": 1}) if busy else None
        words = ("--key", "A", "--", *cell.detector.command("A", 3))
        code, run = cell.call("submit", "r", *words, crash=True)
        assert code == 0, (n, cell.said("A"))
        if holder is not None:
            owners.end(holder)
        code, told = cell.call("wait", run.strip(), "--json")
    assert code in (0, 76), (n, code, told, cell.said("A"))
    cell.check(code, keep=True)
    if code and json.loads(told)["error"]["code"] == "supervisor-lost":
        assert cell.detector.started("A") == [], f"{n}: it said that nothing was started"
    return cell.struck


def test_a_submitted_run_is_killed_at_every_call(tmp_path: Path, library: str) -> None:
    """`submit` gives an id of a run that stands in line; `wait` says 0, or 76: and that nothing was started only where
    nothing was. The command is never begun twice, completes when it was begun, and the next is served.
    """
    trial = functools.partial(submitted, folder=tmp_path, library=library)
    assert trial(0, busy=True) == 0
    calls = int((tmp_path / "True0" / "count").read_text())
    assert calls > 40
    assert struck(lambda n: trial(n, busy=bool(n // EVERY % 2) or EVERY == 1), calls) > calls / EVERY * 0.6
    if EVERY == 1:
        assert struck(functools.partial(trial, busy=False), calls) > calls * 0.6


def script(n: int, *, folder: Path, library: str, resource: str, who: str) -> int:
    """A script that waits for its lease, has it and gives it back, another behind it; call n of ``who`` is struck."""
    cell = Calls(folder / f"{who}{resource[0]}{n}", library, who, n)
    cell.resource = resource
    (cell.root / "ops" / "k1ctl.toml").write_text(DEVICE)
    queue = cell.root / "ops" / "queue"
    k1ctl = f"{sys.executable} -m k1ctl queue"
    crash = " ".join(f"{k}={v}" for k, v in cell.crash.items())
    text = (
        f'exec 9<>"$({k1ctl} ticket {resource})"; env {crash} {k1ctl} acquire --fd 9; code=$?; '
        f"[ $code -eq 137 ] && {{ {k1ctl} acquire --fd 9; code=$?; }}; "
        '[ $code -eq 0 ] && "$@"; exec 9>&-; exit $code'
    )
    with Owners(queue, net=True) as owners:
        holder = owners.enqueue({resource: 1})
        with (cell.root / "err.A").open("wb") as out:
            command = ["sh", "-c", text, "sh", *cell.detector.command("A", 3, without_lock=True)]
            first = subprocess.Popen(command, cwd=cell.root, env=cell.env(), stdout=out, stderr=out)
        wait_until(lambda: len(os.listdir(queue / "tickets")) > 1 or first.poll() is not None)
        second = cell.run("B")
        wait_until(lambda: any(".B" in f or f[0] in "wp" for f in os.listdir(queue / "tickets")))
        owners.end(holder)
        codes = finish(first), finish(second)
    assert codes[1] == 0, (n, cell.said("B"))
    assert codes[0] == 0, (n, codes, cell.said("A"))  # another claim took the place, or the lease was had already
    wait_until(lambda: all(row["state"] == "parked" for row in view.entries(str(queue))))
    cell.check(0 if codes[0] == 0 else 76)
    return cell.struck


def test_the_claim_of_a_script_is_killed_at_every_call(tmp_path: Path, library: str) -> None:
    """In line, let in, at the hand-over, behind it, while it keeps a device's guard: the script gets its lease all the
    same, once; nobody overlaps, and the next one is served.
    """
    trial = functools.partial(script, folder=tmp_path, library=library, who="supervisor")
    assert trial(0, resource="device:k1") == 0
    calls = int((tmp_path / "supervisord0" / "count").read_text())
    assert calls > 30
    named = {0: "device:k1", 1: "r"}
    assert struck(lambda n: trial(n, resource=named[n // EVERY % 2 * (EVERY > 1)]), calls) > calls / EVERY * 0.6
    if EVERY == 1:
        assert struck(functools.partial(trial, resource="r"), calls) > calls * 0.5


def test_the_call_of_a_script_is_killed_at_every_call(tmp_path: Path, library: str) -> None:
    """`acquire` itself is killed: the script is told by 137 and calls it again, and has its lease, once."""
    trial = functools.partial(script, folder=tmp_path, library=library, resource="device:k1", who="front")
    assert struck(trial, 12, every=min(EVERY, 4)) >= 1
