"""50 askers at once: `k1ctl device health` against `python -c 'import click'` of the same environment.

The device is simulated and has the firmware's rate limits (one answer a second on /api/device/info). All are started
as fast as one launcher can; the wall is from the first start to the last exit; sides take turns to go first, and the
figure is the median of the rounds' ratios. An asker that ends with another exit code than the device's state ends the
measurement. The device counts what it was asked: at most one request a window and route. The same is done with a
device that is gone, where probes are counted by their times, and with curl, where each asks for itself.
Bars: 1.3 times; 1 request per window.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import kit
from report import Report, median

BAR, BAR_REQUESTS = 1.3, 1.0
ASKERS = 50
WINDOW = 1.0  # seconds; [device] window and the firmware's window of /api/device/info
HEALTH = [kit.K1CTL, "device", "health", "--json"]
CLICK = [kit.PYTHON, "-c", "import click"]


def at_once(argv: list[str], repository: kit.Repository, exit_code: int) -> tuple[float, list[str]]:
    """(wall in seconds of `ASKERS` calls, what each printed)."""
    os.chdir(repository.worktree)
    with tempfile.TemporaryDirectory() as folder:
        pids = []
        began = time.monotonic()
        for number in range(ASKERS):
            out = (os.POSIX_SPAWN_OPEN, 1, f"{folder}/{number}", os.O_WRONLY | os.O_CREAT, 0o600)
            err = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
            pids.append(os.posix_spawnp(argv[0], argv, repository.env, file_actions=[out, err]))
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        wall = time.monotonic() - began
        said = [open(f"{folder}/{number}").read() for number in range(ASKERS)]
    if set(codes) != {exit_code}:
        raise SystemExit(f"bench: {argv} ended with {sorted(set(codes))} instead of {exit_code}")
    return wall, said


def sim(repository: kit.Repository, *words: str) -> dict[str, object]:
    """What `k1ctl sim WORDS --json` tells."""
    argv = [kit.K1CTL, "sim", *words, "--json"]
    done = subprocess.run(argv, cwd=repository.root, env=repository.env, stdout=subprocess.PIPE, check=True)
    told: dict[str, object] = json.loads(done.stdout)
    return told


def asked(repository: kit.Repository) -> int:
    """How often the device was asked on the route that was asked most."""
    counts = sim(repository, "status")["requests"]
    assert isinstance(counts, dict)
    return max((route["asked"] for route in counts.values()), default=0)


def rounds(report: Report, repository: kit.Repository, state: str, exit_code: int) -> None:
    """Rounds of both sides, and their figures."""
    ours, click, requests = [], [], []
    for number in range(report.rounds(15, 3)):
        kit.quiet(5.0)
        for side in (HEALTH, CLICK) if number % 2 else (CLICK, HEALTH):
            if side is CLICK:
                click.append(at_once(side, repository, 0)[0])
                continue
            time.sleep(WINDOW)  # so that the round begins with an answer that is too old
            before = asked(repository) if state == "online" else 0
            wall, said = at_once(side, repository, exit_code)
            told = [json.loads(text) for text in said]
            probes = asked(repository) - before if state == "online" else len({t["probed_at"] for t in told})
            if {t["state"] for t in told} != {state}:
                raise SystemExit(f"bench: the askers do not agree that the device is {state}")
            ours.append(wall)
            requests.append(probes / (int(wall / WINDOW) + 1))
    ratio = round(statistics.median(own / other for own, other in zip(ours, click, strict=True)), 3)
    for tool, walls in (("k1ctl device health", ours), ("python -c 'import click'", click)):
        figures = {
            "wall_ms": median([wall * 1e3 for wall in walls]),
            "each_ms": median([w * 1e3 / ASKERS for w in walls]),
        }
        report.put(f"{ASKERS} at once, device {state}", tool=tool, rounds=len(walls), **figures)
    report.bar(f"{ASKERS} askers over {ASKERS} import click, device {state}", ratio, BAR, "times")
    report.bar(f"requests per window, device {state}", round(max(requests), 2), BAR_REQUESTS)


def curl(report: Report, repository: kit.Repository, port: object) -> None:
    """What happens without an elected prober."""
    if shutil.which("curl") is None:
        return
    url = f"http://127.0.0.1:{port}/api/device/info"
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url]
    time.sleep(WINDOW)
    wall, said = at_once(argv, repository, 0)
    answered = sum(code == "200" for code in said)
    report.put(
        f"{ASKERS} x curl", tool="curl", wall_ms=round(wall * 1e3, 1), answered=answered, refused=ASKERS - answered
    )


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    with kit.Repository() as repository:
        started = sim(repository, "start")
        try:
            config = repository.ops / "k1ctl.toml"
            config.write_text(f'{started["toml"]}\n[device]\nwindow = "{WINDOW:g}s"\n')
            at_once(HEALTH, repository, 0)  # leaves the parsed configuration behind
            rounds(report, repository, "online", 0)
            curl(report, repository, started["http_port"])
        finally:
            sim(repository, "stop")
        rounds(report, repository, "offline", 69)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
