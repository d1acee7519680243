"""A worktree with something of everything, put back for each trial, while archive or restore is killed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.proofs import rows
from tests.proofs.k1way import leftovers, newest
from tests.proofs.stage import Played, Stage
from tests.proofs.worktreecell import ROWS, Repository
from tests.proofs.worktreelook import differences

NAME = "victim"
SITUATIONS = ("commits that only the reflog knows", "three versions of a file")
ARCHIVE = ("archive", "run", "--json", "--", NAME)


class Stand:
    """The repository and its one worktree in ``folder``; `archived` and `fresh` put them into a state again."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self.stage, self.place, self.kept = stage, folder / "stand", folder / "kept"
        self.repository = Repository(self.place)
        self.tree = rows.build(
            self.repository, NAME, sorted((row for row in ROWS if row.name in SITUATIONS), key=lambda row: row.name)
        )
        self.tree.write("untracked.txt")
        self.tree.write("captures/flash.log", "precious\n")
        self.tree.write(".env", "TOKEN=hush\n", 0o600)
        self.tree.write("build/out.o", "made\n")
        (self.tree.path / "link-out").symlink_to("/nowhere")
        (self.tree.path / "ignored" / "empty").mkdir(parents=True)
        self.tree.embedded("ignored/lib")
        self.tree.dropped.add(b"build")
        self.before = self.tree.look()
        self.kept.mkdir()
        self._keep("fresh")
        self.archive_steps = self.run(*ARCHIVE).ok().steps
        self.identity = newest(self.tree)
        self._keep("archived")
        self.restore_steps = self.run("archive", "restore", self.identity).ok().steps

    def run(self, *words: str, at: int = 0, after: float = -1, group: bool = True) -> Played:
        return self.stage.play(*words, cwd=self.repository.root, at=at, after=after, group=group)

    def _keep(self, state: str) -> None:
        subprocess.run(["cp", "-a", str(self.place), str(self.kept / state)], check=True)

    def put(self, state: str) -> None:
        """Make it as it was: ``fresh`` or ``archived``."""
        shutil.rmtree(self.place)
        subprocess.run(["cp", "-a", str(self.kept / state), str(self.place)], check=True)

    def there(self, *, settled: bool = True) -> bool:
        """Whether the worktree stands where it belongs; then it must be whole, and unlocked once it is ``settled``."""
        if not self.tree.path.exists():
            return False
        found = differences(self.before, self.tree.look())
        found = [line for line in found if settled or not line.startswith("own 'locked'")]
        assert not found, f"the worktree is not whole: {found}"
        return True

    def check(self, struck: Played, *, look: bool) -> None:
        """Whatever was struck: the worktree or the archive is whole, the next command takes over, nothing is left.
        ``look``: whether somebody looks first, else the next command is the one that changes something."""
        try:
            self._check(look)
        except AssertionError as exc:
            last = struck.steps[-1] if struck.steps else "nothing"
            raise AssertionError(f"struck at step {len(struck.steps)}, {last}: {exc}") from exc

    def _check(self, look: bool) -> None:
        if look:
            self.run("archive", "list", "--json").ok()
        if self.there(settled=look):
            self.run(*ARCHIVE).ok()
            assert not self.tree.path.exists()
        identity = newest(self.tree)
        assert identity, "neither the worktree nor an archive"
        self.run("archive", "restore", "--json", identity).ok()
        assert self.there()
        assert leftovers(self.repository) == []

    def archive(self, at: int) -> None:
        """Kill an archiving right before a step."""
        self.put("fresh")
        struck = self.run(*ARCHIVE, at=at)
        assert "Traceback" not in struck.stderr and struck.code in (-9, 0), str(struck)
        self.check(struck, look=at % 2 == 0)

    def restore(self, at: int) -> None:
        """Kill a restore right before a step."""
        self.put("archived")
        struck = self.run("archive", "restore", self.identity, at=at)
        assert "Traceback" not in struck.stderr and struck.code in (-9, 0), str(struck)
        self.run("archive", "verify", self.identity).ok()
        self.check(struck, look=at % 2 == 0)


def decisive(steps: Sequence[str], most: int) -> list[int]:
    """The numbers of ``most`` steps: renames and what follows them, those nearest to that of the worktree's folder."""
    renames = [number for number, step in enumerate(steps, 1) if step.startswith("os.rename")]
    whole = next(number for number in renames if "/trees/" in steps[number - 1])
    around = {number for rename in renames for number in (rename, rename + 1)}
    return sorted(sorted(around, key=lambda number: abs(number - whole))[:most])
