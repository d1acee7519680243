"""What `k1ctl hook run fw:build` costs over `k1ctl build fw`, and the same through the script that Conductor calls.

With nothing to build, and with --dry-run, where no pio runs: there the difference is not hidden by pio's own spread.
The demo's firmware on the host platform, in one worktree; interleaved, each in turn first; the figure is the difference
of the medians. Bar: 15 ms.
"""

from __future__ import annotations

import subprocess

import kit
from build_overhead import CONFIG, firmware
from report import Report, median, percentile
from start import timed

BAR_MS = 15.0
BUILD, HOOK, SCRIPT = "k1ctl build fw", "k1ctl hook run fw:build", "conductor-run fw:build"


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    subprocess.run([kit.K1CTL, "tools", "install"], check=True, env=kit.environment(str(kit.PLACE)))
    with kit.Repository(CONFIG) as repository:
        firmware(repository)
        env = {**repository.env, "K1CTL": kit.K1CTL}
        calls = {
            BUILD: [kit.K1CTL, "build", "fw"],
            HOOK: [kit.K1CTL, "hook", "run", "fw:build"],
            SCRIPT: [str(kit.SOURCE / "hooks" / "conductor-run"), "fw:build"],
        }
        for argv in calls.values():
            timed(argv, str(repository.worktree), env)
            timed(argv, str(repository.worktree), env)
        for what, more, rounds in (
            ("nothing to do", [], report.rounds(30, 5)),
            ("--dry-run", ["--dry-run"], report.rounds(60, 20)),
        ):
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
            idle = kit.quiet()
            for i in range(rounds):
                for name in list(calls) if i % 2 else reversed(list(calls)):
                    taken[name].append(timed([*calls[name], *more], str(repository.worktree), env))
            tell(report, what, taken, idle)
    return report.finish()


def tell(report: Report, what: str, taken: dict[str, list[tuple[float, float]]], idle: float) -> None:
    """Print the figures of one measurement and hold it against the bar."""
    medians = {name: median([wall for wall, _ in pairs]) or 0.0 for name, pairs in taken.items()}
    for name, pairs in taken.items():
        report.put(
            what,
            tool=name,
            rounds=len(pairs),
            p50_ms=medians[name],
            p95_ms=percentile([wall for wall, _ in pairs], 0.95),
            cpu_ms=median([cpu for _, cpu in pairs]),
            over_build_ms=round(medians[name] - medians[BUILD], 1),
            idle=idle,
        )
    report.bar(f"{what}: hook run fw:build over build fw", round(medians[HOOK] - medians[BUILD], 1), BAR_MS, "ms")


if __name__ == "__main__":
    raise SystemExit(main())
