"""What happens around an archive: somebody writes meanwhile, the disk is full, whoever restores has another umask."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kit import wait_until
from tests.proofs import rows
from tests.proofs.k1way import K1, leftovers, newest
from tests.proofs.stage import Played, Stage
from tests.proofs.worktreecell import ROWS, Repository, Tree, play
from tests.proofs.worktreelook import differences

# Writes numbers into a worktree by its path, each time in another way, and tells each that was written. It is never
# in the folder, and holds nothing open: nobody sees it but by what it writes.
WRITER = """
import os, random, sys, time
tree, told = sys.argv[1:]
number = 0
while os.path.isdir(os.path.dirname(told)):
    number += 1
    name = random.choice(["a.txt", "untracked/%d" % number, "captures/%d.log" % number, "captures/one.log"])
    try:
        if name.startswith("untracked"):
            os.makedirs(os.path.join(tree, "untracked"), exist_ok=True) if os.path.isdir(tree) else None
        path = os.path.join(tree, name)
        with open(path + "~", "w") as f:
            f.write("%d\\n" % number)
        os.rename(path + "~", path)
    except OSError:
        time.sleep(0.05)
        continue
    with open(told, "a") as f:
        f.write("%s %d\\n" % (name, number))
    time.sleep(random.choice([0.02, 0.1, 0.4]))
"""

# Situations with a git folder inside that is named by its absolute path: they move no better than by `mv`.
ABSOLUTE = (
    "embedded repository with a worktree of its own",
    "embedded repository whose git folder is beside it",
    "embedded repository with a password",
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


def _written(told: Path) -> dict[str, str]:
    """{name: the last number that was written there}."""
    text = told.read_text() if told.exists() else ""
    return dict(line.split() for line in text.splitlines())


def write_and_archive(folder: Path, stage: Stage, rounds: int) -> int:
    """Archive and restore while somebody writes; how often it was archived. Whatever was written is there afterwards,
    or the worktree was refused."""
    there = rows.repository(folder, "common")
    tree = there.tree("busy")
    tree.write("captures/first.log")
    told = folder / "told" / "numbers"
    told.parent.mkdir()
    archived = 0
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tree.path), str(told)])
    try:
        for _ in range(rounds):
            before = _written(told)
            wait_until(lambda: _written(told) != before, interval=0.005)  # noqa: B023 - called at once
            stage.play("archive", "run", "--", "busy", cwd=there.root)
            if tree.path.exists():
                continue
            archived += 1
            wanted = _written(told)
            stage.play("archive", "restore", newest(tree), cwd=there.root).ok()
            for name, number in wanted.items():
                found = int((tree.path / name).read_text())
                assert found >= int(number), f"{name} is {found}, and {number} was written"
    finally:
        writer.kill()
        writer.wait()
    return archived


def test_what_is_written_meanwhile_is_not_lost(tmp_path: Path, stage: Stage) -> None:
    """Nothing that was written before the worktree went is missing when it comes back."""
    write_and_archive(tmp_path, stage, 4)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_what_is_written_meanwhile_is_not_lost_in_the_long_run(tmp_path: Path, stage: Stage) -> None:
    """As above, hundreds of times; a good part of them meets a pause that is long enough."""
    assert write_and_archive(tmp_path, stage, 300) > 10


def _limited(limit: int, umask: int = 0o022) -> K1:
    """k1ctl, for which no file can become larger than ``limit`` bytes, as on a disk that is full."""

    def become() -> None:
        os.umask(umask)
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def run(*words: str | Path, cwd: Path) -> Played:
        argv = [sys.executable, "-m", "k1ctl", *map(str, words)]
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, errors="replace", preexec_fn=become)
        return Played(done.returncode, done.stdout, done.stderr, ())

    return K1(run)


def _stocked(there: Repository) -> Tree:
    tree = there.tree("full")
    tree.write("captures/flash.bin", os.urandom(300_000))
    tree.write("untracked.bin.txt", os.urandom(200_000))
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    return tree


def full_disk(folder: Path, stage: Stage, limits: list[int]) -> None:
    """Archive and restore with no room at several sizes: told in a line, worktree or archive whole, nothing left."""
    there = rows.repository(folder, "common")
    tree = _stocked(there)
    before = tree.look()
    for limit in limits:
        done = _limited(limit).run("archive", "run", "full", cwd=there.root)
        assert done.code and "Traceback" not in done.stderr, f"{limit}: {done}"
        assert not differences(before, tree.look()), limit
        assert not newest(tree), f"{limit}: an archive that cannot be whole"
        stage.play("archive", "list", cwd=there.root).ok()
        assert leftovers(there) == [], limit
    stage.play("archive", "run", "full", cwd=there.root).ok()
    for limit in limits:
        done = _limited(limit).run("archive", "restore", "full", cwd=there.root)
        assert done.code and "Traceback" not in done.stderr, f"{limit}: {done}"
        assert not tree.path.exists() and leftovers(there) == [], limit
    stage.play("archive", "restore", "full", cwd=there.root).ok()
    assert not differences(before, tree.look())


def test_the_disk_is_full(tmp_path: Path, stage: Stage) -> None:
    """In the middle of the largest file, and before anything could be written."""
    full_disk(tmp_path, stage, [250_000])


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_disk_is_full_at_every_size(tmp_path: Path, stage: Stage) -> None:
    """From hardly any room to nearly enough."""
    full_disk(tmp_path, stage, [8_000, 20_000, 50_000, 100_000, 150_000, 199_000, 201_000, 250_000, 299_000])


def test_two_at_once(tmp_path: Path, stage: Stage) -> None:
    """Two archive the same worktree, two restore the same archive, one adds a worktree of that name: nobody fails with
    more than a line, one of each has done it, and the worktree is whole in the end."""
    there = rows.repository(tmp_path, "common")
    tree = _stocked(there)
    before = tree.look()
    with Stage(tmp_path) as second, ThreadPoolExecutor(2) as pool:
        for words in (["archive", "run", "full"], ["archive", "restore", "full"]):
            played = list(pool.map(lambda s: s.play(*words, cwd=there.root), (stage, second)))  # noqa: B023
            assert all("Traceback" not in p.stderr and p.code != 70 for p in played), played
            assert any(p.code == 0 for p in played), played
            assert tree.path.exists() == (words[1] == "restore")
        assert not differences(before, tree.look())
        stage.play("archive", "run", "full", cwd=there.root).ok()
        add, restore = ["worktree", "add", "full", "--path", str(tree.path)], ["archive", "restore", "full"]
        calls = [(stage, add), (second, restore)]
        played = list(pool.map(lambda call: call[0].play(*call[1], cwd=there.root), calls))
        assert all("Traceback" not in p.stderr and p.code != 70 for p in played), played
        assert [p.code == 0 for p in played].count(True) == 1, played
    assert leftovers(there) == []


@pytest.mark.soak
def test_restored_elsewhere(tmp_path: Path, stage: Stage) -> None:
    """At another path everything but what names the place is as it was."""

    class Elsewhere(K1):
        def restore(self, tree: Tree, token: object) -> None:
            words = ["archive", "restore", str(token), "--to", f"{tree.path}.there"]
            self.run(*words, cwd=tree.repository.root).ok()
            tree.path = Path(f"{tree.path}.there")

    there = rows.repository(tmp_path, "common")
    table = [row for row in ROWS if row.repository == "common" and not row.refused and not row.heavy]
    table = [row for row in table if row.name not in ABSOLUTE]
    for number, group in enumerate(rows.together(table)):
        tree = rows.build(there, f"t{number}", group)
        before = tree.look()
        way = Elsewhere(stage.play)
        way.restore(tree, way.archive([tree])[tree.path])
        found = differences(before, tree.look())
        named = ("files '.git'", "own 'gitdir'")
        assert not [line for line in found if not line.startswith(named)], (group[0].name, found)


def test_another_umask(tmp_path: Path) -> None:
    """Saved by somebody with one umask, restored by cron with another: every mode is as it was."""
    there = rows.repository(tmp_path, "common")
    tree = rows.build(there, "modes", [row for row in ROWS if row.name == "modes"])
    one, other = _limited(0, 0o027), _limited(0, 0o077)
    vars(one)["restore"] = other.restore
    amiss = play(there, [tree], one)
    assert not any(amiss.values()), amiss
