"""k1ctl's own way to archive and restore: by its commands, and what must be true of an archive on the disk."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.proofs.stage import Played
from tests.proofs.worktreecell import Refused, Repository, Tree
from tests.proofs.worktreelook import differences

Run = Callable[..., Played]


class K1:
    """``run(*words, cwd=...)`` runs a command of k1ctl. ``saves``: look whether saving alone changes the worktree."""

    cleans = True

    def __init__(self, run: Run, *, saves: bool = False) -> None:
        self.run, self.saves = run, saves

    def archive(self, trees: Sequence[Tree]) -> dict[Path, Any]:
        root = trees[0].repository.root
        if self.saves:
            self._save(trees, root)
        names = [tree.path.name for tree in trees]
        done = self.run("archive", "run", "--json", "--", *names, cwd=root)
        assert "Traceback" not in done.stderr and done.code in (0, 1), str(done)
        left = {os.path.realpath(row["path"]): row for row in done.json if row["result"] != "archived"}
        reasons = {tree.path: _reason(left[os.path.realpath(tree.path)]) for tree in trees if tree.path.exists()}
        tokens = {tree.path: reasons.get(tree.path) or newest(tree) for tree in trees}
        assert done.code == (1 if left else 0) and len(done.json) == len(trees), str(done)
        for identity in filter(lambda token: isinstance(token, str), tokens.values()):
            shutil.rmtree(trees[0].repository.root / ".git" / "k1ctl" / "archive" / identity / "trash")
        return tokens

    def _save(self, trees: Sequence[Tree], root: Path) -> None:
        before = {tree.path: tree.look() for tree in trees}
        for tree in trees:
            self.run("archive", "save", "--json", "--", tree.path.name, cwd=root)
        changed = {tree.path: differences(before[tree.path], tree.look()) for tree in trees}
        assert not any(changed.values()), f"changed by saving: {changed}"

    def restore(self, tree: Tree, token: Any) -> None:
        done = self.run("archive", "restore", "--json", token, cwd=tree.repository.root)
        assert done.code == 0 and "Traceback" not in done.stderr, str(done)

    def leaks(self, tree: Tree, token: Any) -> list[str]:
        return leaks(tree, token)


def _reason(told: dict[str, Any]) -> Refused:
    """Why a worktree was left where it is, by the document of `archive run`."""
    messages = [finding["message"] for finding in told["findings"] if finding["level"] == "refuse"]
    return Refused("; ".join(messages) or str(told["error"]))


def newest(tree: Tree) -> str:
    """The id of the newest archive of a worktree; "" when there is none."""
    from k1ctl.archive.folder import list_archives
    from k1ctl.workspace import resolve

    found = list_archives(resolve(cwd=str(tree.repository.root)))
    path = os.path.realpath(tree.path)
    return next((archive.id for archive in found if os.path.realpath(archive.manifest["path"]) == path), "")


def leaks(tree: Tree, identity: str) -> list[str]:
    """Where a secret of the worktree is that no object, no file which may leave the host and no reader may have."""
    if not tree.secrets:
        return []
    found: list[str] = []
    root = tree.repository.root
    base = root / ".git" / "k1ctl" / "archive" / identity
    if stat.S_IMODE(base.stat().st_mode) != 0o700:
        found.append(f"{base} is {base.stat().st_mode:o}")
    for path in sorted(base.iterdir()):
        if path.is_file() and path.name == "secrets.tar":
            kept = path.read_bytes()
            found += [f"{secret!r} is not in it" for secret in tree.secrets if secret not in kept]
            found += [f"secrets.tar is {path.stat().st_mode:o}"] if stat.S_IMODE(path.stat().st_mode) != 0o600 else []
        elif path.is_file():
            found += [f"a secret in {path.name}" for secret in tree.secrets if secret in path.read_bytes()]
    for path in (root / "ops").rglob("*"):
        if path.is_file():
            found += [f"a secret in ops/{path.name}" for secret in tree.secrets if secret in path.read_bytes()]
    argv = ["git", "cat-file", "--batch", "--batch-all-objects"]
    objects = subprocess.run(argv, cwd=root, capture_output=True, check=True).stdout
    found += ["a secret in an object" for secret in tree.secrets if secret in objects]
    return found


def leftovers(repository: Repository) -> list[str]:
    """What no command may leave behind, however the one before it ended."""
    base = repository.root / ".git" / "k1ctl" / "archive"
    found = [f"archive/{path.name}" for path in base.iterdir() if path.name.startswith(".")] if base.exists() else []
    whole = {path.parent.name for path in base.glob("*/manifest.json")}
    found += [f"archive/{path.name}" for path in base.iterdir() if path.name not in whole] if base.exists() else []
    refs = repository.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/k1ctl/archive").decode().split()
    found += [f"ref {name}" for name in refs if name.split("/")[0] not in whole]
    found += [f"no ref for {name}" for name in whole if name not in {ref.split("/")[0] for ref in refs}]
    git = repository.root / ".git"
    found += [f"k1ctl/restore/{path.name}" for path in (git / "k1ctl" / "restore").glob("*")]
    entries = git / "worktrees"
    listed = repository.git("worktree", "list", "--porcelain", "-z")
    found += ["a worktree that is gone"] if b"\0prunable" in listed else []
    found += [f"worktrees/{path.name}" for path in entries.glob("*") if not (path / "gitdir").exists()]
    found += [f"lock {path.relative_to(git)}" for path in git.rglob("*.lock") if "k1ctl" not in path.parts]
    known = {line.removeprefix(b"worktree ") for line in listed.split(b"\0")}
    found += [
        f"beside the worktrees: {path.name}"
        for path in repository.trees.resolve().iterdir()
        if os.fsencode(path) not in known
    ]
    return found
