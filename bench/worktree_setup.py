"""What a worktree with its packages costs: `k1ctl worktree add` against `git worktree add` + `npm ci`.

A lock file of 325 packages (bench/data/web), npm's cache and k1ctl's seed warm, sides interleaved, each in turn first.
Each filesystem is one of its own in an image on a loop device, so that its used bytes, metadata included, are the
worktree's; where nothing may be mounted, the temporary folder is used and what the files have allocated is counted.
Bars: by clone or hard links at most 1/5 of the time and 1/10 of the bytes, by copy at most 1/3 of the time. The figure
is the ratio of the medians. Btrfs by its defaults writes metadata twice, which doubles what a clone takes: told,
without a bar.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kit
from report import Report, median, percentile
from start import timed

PACKAGES = kit.HERE / "data" / "web"
BARE = "git worktree add + npm ci"
SIZE = "1500M"  # of an image, which is sparse
FAST, LEAN, COPIED = 1 / 5, 1 / 10, 1 / 3
# kind: (words of mkfs, strategies, whether the bars hold for it)
FILESYSTEMS = {
    "ext4": (["mkfs.ext4", "-q"], ("store", "copy"), True),
    "xfs": (["mkfs.xfs", "-q", "-m", "reflink=1"], ("clone", "store"), True),
    "btrfs": (["mkfs.btrfs", "-q", "-m", "single"], ("clone", "store"), True),
    "btrfs, its defaults": (["mkfs.btrfs", "-q"], ("clone",), False),
}


@contextmanager
def mounted(mkfs: list[str]) -> Iterator[Path | None]:
    """A new filesystem in an image; None where that is not allowed or its tools are not there."""
    folder = Path(tempfile.mkdtemp(prefix="k1bench-fs-"))
    place, image = folder / "mounted", folder / "image"
    place.mkdir()
    try:
        if os.geteuid() or not shutil.which(mkfs[0]):
            yield None
            return
        subprocess.run(["truncate", "-s", SIZE, str(image)], check=True)
        subprocess.run([*mkfs, str(image)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if subprocess.run(["mount", "-o", "loop", str(image), str(place)], stderr=subprocess.DEVNULL).returncode:
            yield None
            return
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
    finally:
        shutil.rmtree(folder)


class Site:
    """A repository with the web project at ``place``, npm's cache in .bench, k1ctl's beside the repository."""

    def __init__(self, place: Path, alone: bool) -> None:
        self.place, self.alone = place, alone
        self.root = place / "repo"
        user = os.path.expanduser("~/.npmrc")
        home = str(place / "home")
        self.env = {**kit.environment(home), "K1CTL_CACHE_DIR": f"{home}/cache", "npm_config_cache": f"{kit.PLACE}/npm"}
        self.env |= {"npm_config_userconfig": user} if os.path.exists(user) else {}
        (self.root / "ops").mkdir(parents=True)
        os.mkdir(home)
        self.git("init", "-q", "-b", "main")
        shutil.copytree(PACKAGES, self.root / "web")
        (self.root / ".gitignore").write_text("node_modules\nops\n")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "web")

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.root, env=self.env, check=True, stdout=subprocess.DEVNULL)

    def used(self, tree: Path | None = None) -> int:
        """Bytes in use on the filesystem, or allocated to ``tree``, without what is linked from elsewhere."""
        os.sync()
        if self.alone:
            there = os.statvfs(self.place)
            return (there.f_blocks - there.f_bfree) * there.f_frsize
        found = [os.lstat(os.path.join(top, n)) for top, ds, fs in os.walk(tree or "") for n in (*ds, *fs)]
        return sum(s.st_blocks * 512 for s in found if s.st_nlink == 1 or stat.S_ISDIR(s.st_mode))

    def make(self, tool: str) -> tuple[float, float, int]:
        """(wall ms, CPU ms, bytes) of one worktree made by ``tool``, which is removed again."""
        name = "tree"
        tree = self.root.parent / "repo.worktrees" / name
        before = self.used()
        if tool == BARE:
            calls = [
                (["git", "worktree", "add", "-q", "-b", name, str(tree)], self.root),
                (["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"], tree / "web"),
            ]
        else:
            calls = [([kit.K1CTL, "worktree", "add", name, "--cache", tool], self.root)]
        figures = [timed(argv, str(cwd), self.env) for argv, cwd in calls]
        bytes_ = self.used(tree) - before
        count = sum(1 for _ in (tree / "web" / "node_modules").rglob("package.json"))
        assert count > 300, f"{tool} brought {count} packages"
        self.git("worktree", "remove", "--force", str(tree))
        self.git("branch", "-q", "-D", name)
        return sum(wall for wall, _ in figures), sum(cpu for _, cpu in figures), bytes_


def measure(report: Report, kind: str, site: Site, ways: tuple[str, ...], barred: bool) -> None:
    """Take the rounds on one filesystem, print them, and hold them against the bars."""
    tools = [BARE, *ways]
    for tool in tools:
        site.make(tool)  # npm's cache, the seed, the program
    taken: dict[str, list[tuple[float, float, int]]] = {tool: [] for tool in tools}
    idle = kit.quiet()
    for i in range(report.rounds(7, 2)):
        for tool in tools if i % 2 else reversed(tools):
            taken[tool].append(site.make(tool))
    walls = {tool: median([wall for wall, _, _ in rows]) or 0.0 for tool, rows in taken.items()}
    sizes = {tool: median([size for _, _, size in rows]) or 0.0 for tool, rows in taken.items()}
    for tool, rows in taken.items():
        report.put(
            f"a worktree with 325 packages on {kind}",
            tool=tool if tool == BARE else f"k1ctl worktree add --cache {tool}",
            rounds=len(rows),
            p50_ms=walls[tool],
            p95_ms=percentile([wall for wall, _, _ in rows], 0.95),
            cpu_ms=median([cpu for _, cpu, _ in rows]),
            own_mb=round(sizes[tool] / 1e6, 1),
            time_share=round(walls[tool] / walls[BARE], 3),
            bytes_share=round(sizes[tool] / sizes[BARE], 3),
            idle=idle,
        )
    for tool in ways if barred else ():
        share = round(walls[tool] / walls[BARE], 3)
        report.bar(f"{kind}, {tool}: time over npm ci", share, round(COPIED if tool == "copy" else FAST, 3), "times")
        if tool != "copy":
            report.bar(f"{kind}, {tool}: bytes over npm ci", round(sizes[tool] / sizes[BARE], 3), LEAN, "times")


def main() -> int:
    report = Report(__doc__ or "")
    kit.prepare()
    for kind, (mkfs, ways, barred) in FILESYSTEMS.items():
        with mounted(mkfs) as place:
            if place is not None:
                measure(report, kind, Site(place, True), ways, barred)
                continue
        report.put("skipped", filesystem=kind, why="it cannot be made or mounted here")
        if kind == "ext4":
            with tempfile.TemporaryDirectory(prefix="k1bench-") as folder:
                measure(report, "the temporary folder", Site(Path(folder), False), ways, barred)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
