"""A thousand random kills of archive and restore: at any time the worktree or its archive is whole, never neither."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.proofs import rows
from tests.proofs.k1way import leftovers, newest
from tests.proofs.stage import Stage
from tests.proofs.worktreecell import Tree
from tests.proofs.worktreelook import Look, differences

KILLS = int(os.environ.get("STORM_KILLS", "1000"))
TREES = [
    ["ignored files", "three versions of a file", "links", "modes"],
    ["rebase in progress, with an autostash"],
    ["detached, with commits", "embedded repository in an ignored folder", "secrets"],
    ["merge with conflicts", "names that git takes for its own"],
]


def test_a_short_storm(tmp_path: Path) -> None:
    """A few kills in every run of the suite."""
    storm(tmp_path, 2, [["three versions of a file"]], seed=os.getpid())


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_long_storm(tmp_path: Path) -> None:
    """Over worktrees in different situations, with git's own cleaning in between."""
    storm(tmp_path, KILLS, TREES, seed=os.getpid())


def storm(folder: Path, kills: int, groups: list[list[str]], seed: int) -> None:
    """Archive and restore in turn, struck at random moments, until ``kills`` struck."""
    dice = random.Random(seed)
    there = rows.repository(folder, "common")
    table = {row.name: row for row in rows.ROWS}
    trees = [rows.build(there, f"t{n}", [table[name] for name in names]) for n, names in enumerate(groups)]
    before = {tree.path: tree.look() for tree in trees}
    with Stage(folder) as stage:
        for tree in trees:  # a first round tells how long it takes
            stage.play("archive", "run", "--", tree.path.name, cwd=there.root).ok()
            stage.play("archive", "restore", newest(tree), cwd=there.root).ok()
        struck = tried = 0
        while struck < kills:
            tried += 1
            assert tried < kills * 5 + 50, "hardly any blow lands"
            tree = dice.choice(trees)
            away = not tree.path.exists()
            words = ["restore", newest(tree)] if away else ["run", "--", tree.path.name]
            after, group = dice.uniform(0.02, 0.4), dice.random() < 0.5
            played = stage.play("archive", *words, cwd=there.root, after=after, group=group)
            assert played.code in (0, -9) and "Traceback" not in played.stderr, (seed, str(played))
            struck += played.code == -9
            _whole(stage, tree, before[tree.path], f"seed {seed}, blow {tried}, {words[0]} after {after:.3f} s")
            if tried % 100 == 0:
                for tree in [tree for tree in trees if tree.path.exists()]:
                    stage.play("archive", "run", "--", tree.path.name, cwd=there.root).ok()
                there.clean()
        for tree in trees:  # the next command takes away what the last blow left
            if tree.path.exists():
                stage.play("archive", "run", "--", tree.path.name, cwd=there.root).ok()
            stage.play("archive", "restore", newest(tree), cwd=there.root).ok()
            assert differences(before[tree.path], tree.look()) == [], f"seed {seed}"
        assert leftovers(there) == [], f"seed {seed}"
        assert there.broken() == [], f"seed {seed}"


def _whole(stage: Stage, tree: Tree, before: Look, when: str) -> None:
    """The worktree is there and whole (locked, perhaps, until the next command), or its archive is."""
    if tree.path.exists():
        found = [line for line in differences(before, tree.look()) if not line.startswith("own 'locked'")]
        assert not found, f"{when}: {found}"
        return
    identity = newest(tree)
    assert identity, f"{when}: neither the worktree nor an archive"
    verified = stage.play("archive", "verify", identity, cwd=tree.repository.root)
    assert verified.code == 0, f"{when}: {verified}"
