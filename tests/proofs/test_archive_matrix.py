"""Every situation that a worktree can be in ends in one of two ways: it was refused and nobody touched it, or it was
archived, survived what git and people do to a repository, and came back byte for byte with the same index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.proofs import rows
from tests.proofs.k1way import K1, leftovers
from tests.proofs.stage import Played, Stage
from tests.proofs.worktreecell import Aside, Repository, Row, Stash, Tree, play, refusals

LIGHT = [row for row in rows.ROWS if not row.heavy and not row.refused]
REFUSED = [row for row in rows.ROWS if row.refused]
TELLING = ("changed, staged, untracked", "ignored files", "detached, with commits", "links")
# What `Stash` leaves behind itself, which is no loss.
TRACES = ("own 'logs/HEAD'", "own 'AUTO_MERGE'", "own 'ORIG_HEAD'")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


def _trees(there: Repository, table: Sequence[Row]) -> list[Tree]:
    return [rows.build(there, f"t{number}", group) for number, group in enumerate(rows.together(table))]


def _told(amiss: dict[Path, list[str]], names: dict[Path, str]) -> str:
    return "\n".join(f"{names[path]}: {line}" for path, lines in amiss.items() for line in lines)


@pytest.mark.parametrize("kind", dict.fromkeys(row.repository for row in LIGHT))
def test_a_worktree_comes_back_as_it_was(tmp_path: Path, stage: Stage, kind: str) -> None:
    """Each situation, those that go together in one worktree: bytes, modes, links, index, HEAD, reflog, private refs,
    operations under way, repositories inside; saving alone changes nothing; what was under way goes on."""
    there = rows.repository(tmp_path, kind)
    table = [row for row in LIGHT if row.repository == kind]
    trees = _trees(there, table)
    names = {tree.path: g[0].group or g[0].name for tree, g in zip(trees, rows.together(table), strict=True)}
    amiss = play(there, trees, K1(stage.play))
    assert not any(amiss.values()), _told(amiss, names)
    assert leftovers(there) == []


@pytest.mark.parametrize("kind", dict.fromkeys(row.repository for row in REFUSED))
def test_a_worktree_that_somebody_needs_is_left_alone(tmp_path: Path, stage: Stage, kind: str) -> None:
    """Refused by name of what stands against it, or of what cannot be told; nothing of the worktree changed."""
    there = rows.repository(tmp_path, kind)
    table = [row for row in REFUSED if row.repository == kind]
    trees = [rows.build(there, f"t{number}", [row]) for number, row in enumerate(table)]
    try:
        told = refusals(trees, K1(stage.play))
    finally:
        for process in [process for tree in trees for process in tree.started]:
            process.kill()
            process.wait()
    for tree, row in zip(trees, table, strict=True):
        reason, changed = told[tree.path]
        assert row.refused in reason and not changed, (row.name, reason, changed)


def test_the_callers_own_worktree_and_the_main_checkout_are_left_alone(tmp_path: Path, stage: Stage) -> None:
    """Nobody removes the folder he stands in, nor the repository itself."""
    there = rows.repository(tmp_path, "common")
    tree = there.tree("mine")
    tree.write("a.txt", "changed\n")
    before = tree.look()
    done = stage.play("archive", "run", "mine", cwd=tree.path / "dir")
    assert done.code != 0 and "mine" in done.stderr + done.stdout, str(done)
    assert tree.look() == before
    done = stage.play("archive", "run", "repo", cwd=tree.path)
    assert done.code != 0 and "main checkout" in done.stderr + done.stdout, str(done)
    assert (there.root / "a.txt").exists() and tree.look() == before


def test_another_filesystem(tmp_path: Path, stage: Stage) -> None:
    """A worktree that no rename brings into the repository's folder."""
    far = another_filesystem(tmp_path)
    there = rows.repository(tmp_path, "common")
    try:
        there.git("worktree", "add", "-q", "-b", "far", far / "far", "main")
        tree = Tree(there, far / "far")
        for row in LIGHT:
            if row.name in ("ignored files", "three versions of a file", "embedded repository in an ignored folder"):
                row.build(tree)
        amiss = play(there, [tree], K1(stage.play))
        assert not any(amiss.values()), _told(amiss, {tree.path: "far"})
    finally:
        shutil.rmtree(far)


def another_filesystem(path: Path) -> Path:
    """A new folder on a filesystem other than that of ``path``; skips the test where there is none."""
    for place in ("/dev/shm", "/tmp", "/var/tmp", os.path.expanduser("~")):
        if os.path.isdir(place) and os.access(place, os.W_OK) and os.stat(place).st_dev != path.stat().st_dev:
            return Path(tempfile.mkdtemp(prefix="k1ctl-far-", dir=place))
    pytest.skip("needs a second filesystem to write to")


def test_the_look_finds_what_is_lost(tmp_path: Path) -> None:
    """The proof's own eye: of what `git stash -u` and `git worktree remove` lose, it misses nothing; where they do, or
    where nothing was done at all, it finds nothing."""
    check_the_eye(tmp_path, [row for row in LIGHT if row.name in TELLING])


def check_the_eye(folder: Path, table: Sequence[Row]) -> None:
    """Play the rows, each in a repository of its own, by `Aside` and by `Stash`."""
    wrong: list[str] = []
    for number, row in enumerate(table):
        there = rows.repository(folder / f"{number}", row.repository)
        there.environment.clear()  # it is k1ctl's affair
        tree = rows.build(there, "t", [row])
        wrong += [f"{row.name}: {line}" for line in play(there, [tree], Aside())[tree.path]]
        lost = [line for line in play(there, [tree], Stash())[tree.path] if not _trace(line)]
        if bool(lost) == row.stash:
            wrong.append(f"{row.name}: {lost or 'the stash lost nothing'}")
    assert not wrong, "\n".join(wrong)


def _trace(line: str) -> bool:
    return line.startswith(TRACES) or (line.startswith("objects") and not line.endswith("None"))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_look_finds_every_loss(tmp_path: Path) -> None:
    """All rows by the ways that lose and that lose nothing."""
    check_the_eye(tmp_path, [row for row in rows.ROWS if not row.refused])


@pytest.mark.soak
@pytest.mark.parametrize("row", [row for row in rows.ROWS if not row.refused], ids=lambda row: row.name)
def test_each_situation_alone(tmp_path: Path, row: Row) -> None:
    """Every row in a repository of its own, by the command as it is started by people."""

    def run(*words: str | Path, cwd: Path) -> Played:
        argv = [sys.executable, "-m", "k1ctl", *map(str, words)]
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, errors="replace")
        return Played(done.returncode, done.stdout, done.stderr, ())

    there = rows.repository(tmp_path, row.repository)
    tree = rows.build(there, "t", [row])
    amiss = play(there, [tree], K1(run, saves=True))
    assert not any(amiss.values()), _told(amiss, {tree.path: row.name})
    assert leftovers(there) == []
