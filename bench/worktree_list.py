"""100 worktrees listed with what is changed in each: `k1ctl worktree list` against git.

The peers: `git worktree list` alone, which knows nothing of changes, and the plain loop of `git status` over its paths.
Trees of 300 and of 2,000 files; every fourth has changes. k1ctl's first call has no answer of an earlier one; the next
may keep those that are less than a minute old where looking takes longer than its budget; `--refresh` looks at all.
What it calls changed is compared with the loop's answer in every round. Bar: 300 ms for the first and the next call on
trees of 300 files, and for the next call on trees of 2,000, where the first costs what git's looks cost on these cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import kit
from report import Report, median

BAR_MS = 300.0
TREES = 100
LOOP = r"""git worktree list --porcelain | sed -n 's/^worktree //p' | while IFS= read -r path; do
  if [ -n "$(git -C "$path" status --porcelain)" ]; then echo "$path"; fi
done"""


def make(repository: kit.Repository, files: int) -> None:
    """`TREES` worktrees of ``files`` files, the indexes settled, every fourth with changes."""
    for number in range(files):
        path = repository.root / "src" / f"d{number % max(1, files // 12)}" / f"f{number}.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"int f{number};\n" * 40)
    (repository.root / ".gitignore").write_text("ops/\nnode_modules\n.pio\n")
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "files")
    folder = Path(repository.folder) / "trees"
    for number in range(TREES - 2):  # the root and `agent` are two
        repository.git("worktree", "add", "-q", "-b", f"b{number}", str(folder / f"w{number}"))
    time.sleep(1.1)  # git looks at files anew that are as young as the index
    for number in range(TREES - 2):
        tree = folder / f"w{number}"
        repository.git("status", cwd=tree)
        if number % 4 == 0:
            (tree / "src" / "d0" / "f0.c").write_text("int changed;\n")
            (tree / "new.c").write_text("int new;\n")


def timed(argv: list[str], repository: kit.Repository) -> tuple[float, str]:
    """(wall ms, stdout) of one call."""
    env = repository.env | {"GIT_OPTIONAL_LOCKS": "0"}
    began = time.perf_counter()
    done = subprocess.run(
        argv, cwd=repository.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    wall = (time.perf_counter() - began) * 1e3
    if done.returncode:
        raise SystemExit(f"bench: {argv} ended with {done.returncode}")
    return wall, done.stdout


def changed(said: str) -> set[str]:
    return {row["path"] for row in json.loads(said) if row["dirty"]}


def measure(report: Report, files: int) -> None:
    """The rounds on trees of ``files`` files."""
    listing = [kit.K1CTL, "worktree", "list", "--json"]
    walls: dict[str, list[float]] = {}
    looked: list[float] = []
    with kit.Repository() as repository:
        make(repository, files)
        kept = repository.ops / "cache" / "worktrees.json"
        for _ in range(report.rounds(9, 2)):
            kit.quiet()
            wall, said = timed(["sh", "-c", LOOP], repository)
            expected = {line for line in said.splitlines() if line}
            walls.setdefault("loop of git status", []).append(wall)
            walls.setdefault("git worktree list", []).append(timed(["git", "worktree", "list"], repository)[0])
            kept.unlink(missing_ok=True)
            for name, argv in (
                ("k1ctl worktree list, first", listing),
                ("k1ctl worktree list, next", listing),
                ("k1ctl worktree list --refresh", [*listing, "--refresh"]),
            ):
                wall, said = timed(argv, repository)
                walls.setdefault(name, []).append(wall)
                if changed(said) != expected:
                    raise SystemExit(f"bench: {name} calls {len(changed(said))} changed, git {len(expected)}")
                if name.endswith("next"):
                    looked.append(sum((row["dirty_age_seconds"] or 0) < 0.5 for row in json.loads(said)))
    what = f"{TREES} worktrees of {files} files"
    for name, values in walls.items():
        report.put(what, tool=name, rounds=len(values), ms=median(values), worst_ms=round(max(values), 1))
    report.put(f"looked at anew by the next call, {what}", worktrees=median(looked), cores=os.cpu_count())
    if files <= 300:
        report.bar(f"k1ctl worktree list, first, {what}", median(walls["k1ctl worktree list, first"]), BAR_MS, "ms")
    report.bar(f"k1ctl worktree list, next, {what}", median(walls["k1ctl worktree list, next"]), BAR_MS, "ms")


def main() -> int:
    report = Report(
        __doc__ or "", files={"type": int, "action": "append", "help": "files of a tree (default: 300 and 2000)"}
    )
    kit.prepare()
    for files in report.options.files or (300, 2000):
        measure(report, files)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
