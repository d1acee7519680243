"""What asking costs: `k1ctl capacity check --need mem=64M` against `python -c 'import click, psutil'`.

The host's own facts are read, the promises of three others (two runs, one reservation) are counted and what they use is
looked up. Pairs are interleaved, each in turn first; the figure is the median of the pairs' ratios. Bar: 1.60.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import kit
from report import Report
from start import compare

BAR = 1.60
CHECK = [kit.K1CTL, "capacity", "check", "--need", "mem=64M"]


def held(repository: kit.Repository) -> list[subprocess.Popen[bytes]]:
    """Two runs and a reservation that others hold; returns the runs once all of them are there."""
    where = {"cwd": repository.worktree, "env": repository.env}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    argv = [kit.K1CTL, "capacity", "run", "--need", "mem=32M", "--label", "holder", "--", "sleep", "600"]
    holders = [subprocess.Popen(argv, **where, **quiet) for _ in range(2)]
    subprocess.run([*CHECK, "--reserve", "--ttl", "1h"], check=True, **where, **quiet)
    tickets = Path(repository.env["K1CTL_HOST_DIR"]) / "capacity" / "tickets"
    until = time.monotonic() + 20
    while sum(p.name[0] == "r" for p in tickets.glob("r*")) < 2:
        if time.monotonic() > until or any(p.poll() is not None for p in holders):
            raise SystemExit("bench: the holders did not begin")
        time.sleep(0.02)
    return holders


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    with kit.Repository() as repository:
        holders = held(repository)
        sides = {
            "k1ctl capacity check": CHECK,
            "python -c 'import click, psutil'": [kit.PYTHON, "-c", "import click, psutil"],
            "python -c pass": [kit.PYTHON, "-c", "pass"],
        }
        cwd, env = str(repository.worktree), repository.env
        compare(report, "capacity_check", sides, cwd, env, over="import click, psutil", bar=BAR)
        for holder in holders:
            holder.terminate()
            holder.wait()
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
