"""What `k1ctl build fw` adds to `pio run`, with nothing to do and with one changed file.

The demo's firmware on the host platform, in two worktrees of one repository; pio runs with the folders that
`k1ctl build --dry-run` tells, without k1ctl's script and its shared objects. Interleaved, each in turn first; the
figure is the difference of the medians.
Bar: 120 ms.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import kit
from report import Report, median, percentile
from start import timed

BAR_MS = 120.0
CONFIG = '[targets.fw]\npath = "firmware"\nchip = "none"\n'


def firmware(repository: kit.Repository) -> None:
    """Commit the demo's firmware with the host platform beside it, and take it into the worktree."""
    ignore = shutil.ignore_patterns("__pycache__")
    project = repository.root / "firmware"
    shutil.copytree(kit.SOURCE / "plugins/k1ctl_plugins/demo/firmware", project, ignore=ignore)
    shutil.copytree(kit.SOURCE / "k1ctl/platformio/host_platform", project / "platform", ignore=ignore)
    (repository.root / ".gitignore").write_text(".pio/\n")
    repository.git("add", ".gitignore", "firmware")
    repository.git("commit", "-q", "-m", "firmware")
    repository.git("merge", "-q", "main", cwd=repository.worktree)
    repository.git("worktree", "add", "-q", str(Path(repository.folder) / "alone"))


def alone(repository: kit.Repository) -> tuple[list[str], str, dict[str, str]]:
    """(words, folder, environment) of the bare `pio run` in the second worktree."""
    argv = [kit.K1CTL, "build", "fw", "--dry-run", "--json"]
    folder = Path(repository.folder) / "alone"
    done = subprocess.run(argv, cwd=folder, env=repository.env, check=True, stdout=subprocess.PIPE)
    told = json.loads(done.stdout)
    folders = {name: value for name, value in told["environment_set"].items() if name.startswith("PLATFORMIO_")}
    folders.pop("PLATFORMIO_EXTRA_SCRIPTS", None)
    return told["argv"], told["cwd"], {**repository.env, **folders}


def change(worktree: Path, number: int) -> None:
    """Give one source file another content."""
    source = worktree / "firmware/src/pattern.c"
    text = source.read_text().partition("\n/* change ")[0]
    source.write_text(f"{text}\n/* change {number} */\nconst int change = {number};\n")


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    subprocess.run([kit.K1CTL, "tools", "install"], check=True, env=kit.environment(str(kit.PLACE)))
    with kit.Repository(CONFIG) as repository:
        firmware(repository)
        calls = {
            "k1ctl build fw": ([kit.K1CTL, "build", "fw"], str(repository.worktree), repository.env),
            "pio run": alone(repository),
        }
        trees = {"k1ctl build fw": repository.worktree, "pio run": Path(repository.folder) / "alone"}
        for argv, cwd, env in calls.values():
            timed(argv, cwd, env)
            timed(argv, cwd, env)
        for what in ("nothing to do", "one file changed"):
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
            idle = kit.quiet()
            for i in range(report.rounds(20, 4)):
                for name in list(calls) if i % 2 else reversed(list(calls)):
                    if what == "one file changed":
                        change(trees[name], i)
                    taken[name].append(timed(*calls[name]))
            medians = {name: median([wall for wall, _ in pairs]) or 0.0 for name, pairs in taken.items()}
            over = round(medians["k1ctl build fw"] - medians["pio run"], 1)
            for name, pairs in taken.items():
                report.put(
                    what,
                    tool=name,
                    rounds=len(pairs),
                    p50_ms=medians[name],
                    p95_ms=percentile([wall for wall, _ in pairs], 0.95),
                    over_pio_ms=over if name != "pio run" else 0.0,
                    idle=idle,
                )
            report.bar(f"{what}: k1ctl build over pio run", over, BAR_MS, "ms")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
