"""What it costs to archive a worktree of 2,000 files and to bring it back, beside what git itself takes for one.

Every round makes two worktrees of one commit (`git worktree add`, timed), brings the same work into each (20 changed
files, 10 untracked ones, 3 ignored ones of 1 MB, a secret, a built folder; at the end `git status`, more than a second
after git wrote the files, as whoever works there does sooner or later), and times whole commands: `k1ctl archive save`
of the one, `k1ctl archive run` and `k1ctl archive restore` of the other, and for the first what people do without
k1ctl: `git stash -u` and `git worktree remove --force`, which loses what is ignored. The commit's objects lie in a
pack, as in a clone. Medians over the rounds; the ratio is the median of each round's own. Bars: save and run 300 ms;
restore twice `git worktree add`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import kit
from report import Report, median, percentile
from start import timed

FILES, BAR_MS, BAR_RATIO = 2000, 300.0, 2.0
IGNORED = "*.bin\n.env\nbuild/\n"
GIT_AWAY = "git stash push -q -u && git worktree remove --force ."


def fill(repository: kit.Repository) -> None:
    """Commit 2,000 files of some 4 kB in 100 folders."""
    for number in range(FILES):
        path = repository.root / f"src/{number % 100}/{number}.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"// {number}\n" + f"int f{number}(int x) {{ return x + {number}; }}\n" * 90)
    (repository.root / ".gitignore").write_text(IGNORED)
    repository.git("add", "--", "src", ".gitignore")
    repository.git("commit", "-q", "-m", "files")
    repository.git("gc", "-q")


def work(tree: Path) -> None:
    """What an agent left in the worktree."""
    for number in range(0, 200, 10):
        with (tree / f"src/{number % 100}/{number}.c").open("a") as f:
            f.write("// changed\n")
    for number in range(10):
        (tree / f"new-{number}.c").write_text("int x;\n" * 100)
    for number in range(3):
        (tree / f"capture-{number}.bin").write_bytes(os.urandom(1 << 20))
    (tree / ".env").write_text("TOKEN=x\n")
    (tree / "build").mkdir()
    for number in range(200):
        (tree / "build" / f"{number}.o").write_bytes(bytes(10_000))


class Rounds:
    """One repository, in which each round makes and archives worktrees of its own."""

    def __init__(self, repository: kit.Repository) -> None:
        self.repository, self.number = repository, 0
        self.taken: dict[str, list[tuple[float, float]]] = {}
        self.idle: list[float] = []

    def time(self, name: str, argv: list[str], cwd: Path) -> None:
        self.taken.setdefault(name, []).append(timed(argv, str(cwd), self.repository.env))

    def take(self) -> None:
        """One round."""
        self.number += 1
        root, folder = self.repository.root, Path(self.repository.folder)
        watch = kit.Watch()
        trees = [folder / f"{name}{self.number}" for name in ("saved", "away")]
        for tree in trees:
            argv = ["git", "worktree", "add", "-q", "--no-track", "-b", tree.name, str(tree), "main"]
            self.time("git worktree add", argv, root)
            work(tree)
        time.sleep(1.1)  # until then git takes no file for unchanged by its times
        for tree in trees:
            subprocess.run(
                ["git", "status", "--short"], cwd=tree, env=self.repository.env, check=True, capture_output=True
            )
        saved, away = trees
        self.time("k1ctl archive save", [kit.K1CTL, "archive", "save", saved.name], root)
        self.time("k1ctl archive run", [kit.K1CTL, "archive", "run", away.name], root)
        if away.exists():
            raise SystemExit("bench: the worktree was not archived")
        self.time("k1ctl archive restore", [kit.K1CTL, "archive", "restore", away.name], root)
        if not (away / "capture-1.bin").exists() or not (away / "new-1.c").exists():
            raise SystemExit("bench: the worktree did not come back whole")
        self.time("git stash, worktree remove", ["sh", "-c", GIT_AWAY], saved)
        self.repository.git("worktree", "remove", "--force", str(away))
        self.idle.append(watch.idle)

    def ratio(self, name: str, other: str) -> float:
        """The median of the rounds' own ratios of wall times; the other side's is the mean of its calls in a round."""
        own, base = self.taken[name], self.taken[other]
        each = len(base) // len(own)
        pairs = [(wall, base[i * each : (i + 1) * each]) for i, (wall, _) in enumerate(own)]
        return round(median([wall / (sum(w for w, _ in calls) / each) for wall, calls in pairs]) or 0.0, 2)


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    with kit.Repository() as repository:
        fill(repository)
        warm = Rounds(repository)
        warm.take()
        rounds = Rounds(repository)
        rounds.number = 1
        kit.quiet()
        for _ in range(report.rounds(20, 4)):
            rounds.take()
        listed = subprocess.run(
            [kit.K1CTL, "archive", "list", "--json"], cwd=repository.root, env=repository.env, capture_output=True
        )
        sizes = [archive["bytes"] for archive in json.loads(listed.stdout)["archives"]]
    for name, pairs in rounds.taken.items():
        walls = [wall for wall, _ in pairs]
        report.put(
            "2,000 files",
            tool=name,
            calls=len(pairs),
            p50_ms=median(walls),
            p95_ms=percentile(walls, 0.95),
            cpu_ms=median([cpu for _, cpu in pairs]),
            over_add=rounds.ratio(name, "git worktree add"),
            idle=median(rounds.idle),
        )
    report.put("archive", bytes=median(sizes))
    for name in ("k1ctl archive save", "k1ctl archive run"):
        report.bar(name, median([wall for wall, _ in rounds.taken[name]]), BAR_MS, "ms")
    ratio = rounds.ratio("k1ctl archive restore", "git worktree add")
    report.bar("k1ctl archive restore over git worktree add", ratio, BAR_RATIO, "times")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
