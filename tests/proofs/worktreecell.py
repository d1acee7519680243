"""A repository whose worktrees are brought into a situation, archived, exposed to git's own cleaning, and restored.

The way of archiving is a `Way`: k1ctl's, or one of the ways that people have without it, which lose something.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.proofs.worktreelook import Look, differences, look, own_git_dir

IGNORED = ["*.log", "ignored/", ".env", ".env.*", "node_modules/", "build/", ".pio/", "captures/", "*.local", "*.bin"]
LINES = [f"line {number}\n" for number in range(20)]
FILES: dict[str, str] = {
    ".gitignore": "".join(f"{line}\n" for line in IGNORED),
    "README": "a repository\n",
    "a.txt": "".join(LINES),
    "b.txt": "b\n",
    "dir/one.txt": "one\n",
    "dir/two.txt": "two\n",
    "dir/deep/three.txt": "three\n",
    "gone/x.txt": "x\n",
    "gone/y.txt": "y\n",
    "swap": "a file\n",
    "script.sh": "#!/bin/sh\n",
}
Then = Callable[["Tree"], None]
_first: list[bytes] = []  # one: the first repository of this process, packed


class Row(NamedTuple):
    """A situation: ``build`` makes it in a worktree, and may return what must work there after a restore.

    Rows of one ``group`` can share a worktree, those of one ``repository`` a repository (`REPOSITORIES`). ``refused``:
    part of the reason for which the worktree must be left alone. ``stash``: whether `Stash` would do. ``heavy``:
    too long for every run of the suite. ``folder``: the name of the worktree's folder. ``apart``: a part of a look that
    may differ afterwards.
    """

    name: str
    build: Callable[[Tree], Then | None]
    group: str = ""
    repository: str = "common"
    refused: str = ""
    stash: bool = False
    heavy: bool = False
    folder: str = ""
    apart: str = ""


ROWS: list[Row] = []


def row(name: str, **facts: Any) -> Callable[[Callable[[Tree], Then | None]], Callable[[Tree], Then | None]]:
    """Put the decorated builder into the table."""

    def enter(build: Callable[[Tree], Then | None]) -> Callable[[Tree], Then | None]:
        assert name not in {known.name for known in ROWS}
        ROWS.append(Row(name, build, **facts))
        return build

    return enter


class Tree:
    """One worktree. ``dropped``: what can be made again, as relative paths; ``secrets``: contents that no object and no
    file that may leave the host may hold; ``outside``: folders that nobody may touch; ``started``: ended afterwards."""

    def __init__(self, repository: Repository, path: Path) -> None:
        self.repository, self.path = repository, path
        self.dropped: set[bytes] = set()
        self.secrets: list[bytes] = []
        self.outside: list[Path] = []
        self.started: list[subprocess.Popen[bytes]] = []
        self.then: list[Then] = []
        self.apart: set[str] = set()

    @property
    def own(self) -> Path:
        return Path(os.fsdecode(own_git_dir(os.fsencode(self.path))))

    def git(self, *args: str | bytes | Path, cwd: str | Path = "", stdin: bytes = b"", fails: bool = False) -> bytes:
        """The stdout of git in the worktree (or in ``cwd`` below), which succeeds, or has to fail."""
        return run_git(self.path / cwd, *args, stdin=stdin, fails=fails)

    def write(self, name: str | bytes, content: str | bytes = "", mode: int = 0) -> Path:
        """Write a file, making folders; its content is its name when none is given."""
        path = self.path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data or os.fsencode(path.name) + b"\n")
        if mode:
            path.chmod(mode)
        return path

    def commit(self, message: str, cwd: str | Path = "") -> str:
        """Commit everything that is not ignored; returns the commit's id."""
        self.git("add", "-A", cwd=cwd)
        self.git("commit", "-q", "--no-verify", "-m", message, cwd=cwd)
        return self.git("rev-parse", "HEAD", cwd=cwd).decode().strip()

    def reflog_entry(self) -> None:
        """Go somewhere and come back, so that the reflog has more to tell."""
        self.git("checkout", "-q", "--detach")
        self.git("checkout", "-q", "-")

    def embedded(self, name: str, *init: str) -> Path:
        """Another repository below, with two commits; ``init``: options of `git init`."""
        path = self.path / name
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", *init, cwd=name)
        for number in (1, 2):
            (path / "file.txt").write_text(f"{name} {number}\n")
            self.git("add", "file.txt", cwd=name)
            self.git("commit", "-q", "-m", f"{number}", cwd=name)
        return path

    def look(self) -> Look:
        return look(self.path, frozenset(self.dropped))


def run_git(cwd: Path, *args: str | bytes | Path, stdin: bytes = b"", fails: bool = False) -> bytes:
    """The stdout of git, which succeeds, or has to fail."""
    done = subprocess.run(["git", "-c", "protocol.file.allow=always", *args], cwd=cwd, input=stdin, capture_output=True)
    assert (done.returncode != 0) == fails, f"git {args} in {cwd}: {done.stdout!r} {done.stderr!r}"
    return done.stdout


def _first_line(text: str) -> str:
    return f"{text}\n" + "".join(LINES[1:])


def _packed(folder: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(folder, ".", filter=lambda info: None if info.name.endswith(".sample") else info)
    return data.getvalue()


class Repository:
    """A main checkout in ``folder``/repo with a history to work on, and a branch ``side`` that conflicts with main.

    ``trees``: where its worktrees are; ``environment``: variables that whoever archives there has (None: has not).
    """

    def __init__(self, folder: Path, *init: str, config: Mapping[str, str] | None = None) -> None:
        self.folder, self.root = folder, folder / "repo"
        self.trees, self.environment = folder / "trees", dict[str, str | None]()
        self.root.mkdir(parents=True)
        if init:
            self._begin(init)
        else:
            if not _first:
                self._begin(())
                _first.append(_packed(self.root))
            else:
                with tarfile.open(fileobj=io.BytesIO(_first[0])) as tar:
                    tar.extractall(self.root, filter="fully_trusted")
                self.git("update-index", "-q", "--refresh")
        for name, value in (config or {}).items():
            self.git("config", name, value)

    @classmethod
    def cloned(cls, folder: Path, *words: str) -> Repository:
        """A clone instead, made by ``git clone WORDS``."""
        made = cls.__new__(cls)
        made.folder, made.root, made.trees, made.environment = folder, folder / "repo", folder / "trees", {}
        run_git(folder, "clone", "-q", *words, made.root)
        made.git("config", "gc.auto", "0")
        return made

    def _begin(self, init: Sequence[str]) -> None:
        self.git("init", "-q", "-b", "main", *init)
        self.git("config", "gc.auto", "0")
        self._change("base", "base", FILES)
        (self.root / "script.sh").chmod(0o755)
        (self.root / "link").symlink_to("README")
        self._change("base", "", {})
        self._change("side", "base", {"a.txt": _first_line("side"), "both.txt": "side\n", "dir/one.txt": "side\n"})
        self._change("main", "base", {"a.txt": _first_line("main"), "both.txt": "main\n"}, "dir/one.txt")
        self._change("main", "", {"b.txt": "b of main\n"})
        (self.root / "ops").mkdir()

    def _change(self, branch: str, start: str, files: Mapping[str, str], *gone: str) -> None:
        if branch == start:
            self.git("checkout", "-q", "--orphan", branch)
        elif start:
            self.git("checkout", "-q", "-B", branch, start)
        for name in gone:
            (self.root / name).unlink()
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"on {branch}")

    def git(self, *args: str | bytes | Path, fails: bool = False) -> bytes:
        return run_git(self.root, *args, fails=fails)

    def tree(self, name: str, folder: str = "") -> Tree:
        """A new worktree on a branch of its own."""
        path = self.trees / (folder or name)
        self.git("worktree", "add", "-q", "--no-track", "-b", name, path, "main")
        return Tree(self, path)

    def clean(self) -> None:
        """What people and git itself do to a repository: all that nothing pins is gone."""
        self.git("worktree", "prune", "--expire=now")
        branches = self.git("for-each-ref", "--format=%(refname)", "refs/heads").split()
        self.git("reflog", "expire", "--expire-unreachable=now", *branches)
        self.git("gc", "-q", "--prune=now")
        self.git("clean", "-q", "-f", "-d", "-x")

    def broken(self) -> list[str]:
        """What git finds missing or damaged."""
        argv = ["git", "fsck", "--no-dangling", "--no-progress"]
        done = subprocess.run(argv, cwd=self.root, capture_output=True, text=True)
        return [f"fsck: {line}" for line in (done.stdout + done.stderr).splitlines() if not line.startswith("notice")]


class Refused(Exception):
    """The worktree was left where it is; the text is the reason."""


class Way(Protocol):
    """How a worktree is archived and brought back. ``cleans``: whether git cleans the repository in between."""

    cleans: bool

    def archive(self, trees: Sequence[Tree]) -> Mapping[Path, Any]:
        """Take the worktrees away; for each what `restore` needs, or a `Refused`."""

    def restore(self, tree: Tree, token: Any) -> None:
        """Bring it back to where it was."""

    def leaks(self, tree: Tree, token: Any) -> list[str]:
        """Where a secret was found that has no business there."""


def play(repository: Repository, trees: Sequence[Tree], way: Way) -> dict[Path, list[str]]:
    """Archive all the worktrees, clean, restore them, and say what is amiss with each; [] when it came back whole."""
    amiss: dict[Path, list[str]] = {tree.path: [] for tree in trees}
    before = _looks(trees)
    outside = {path: _outside(path) for tree in trees for path in tree.outside}
    with _environment(repository.environment):
        tokens = way.archive(trees)
    for tree in trees:
        if isinstance(tokens[tree.path], Refused):
            amiss[tree.path].append(f"refused: {tokens[tree.path]}")
        elif os.path.lexists(tree.path):
            amiss[tree.path].append("still there after it was archived")
    if way.cleans:
        repository.clean()
    back = [tree for tree in trees if not amiss[tree.path]]
    for tree in list(back):
        try:
            with _environment(repository.environment):
                way.restore(tree, tokens[tree.path])
            amiss[tree.path] += way.leaks(tree, tokens[tree.path])
        except (AssertionError, OSError) as exc:
            amiss[tree.path].append(f"{type(exc).__name__}: {exc}")
            back.remove(tree)
    for path, after in _looks(back).items():
        apart = next(tree.apart for tree in trees if tree.path == path)
        amiss[path] += [d for d in differences(before[path], after) if d.partition(" ")[0] not in apart]
    for tree in back:
        amiss[tree.path] += [f"{path} was touched" for path in tree.outside if _outside(path) != outside[path]]
    if not any(amiss.values()):  # a tree that is amiss says more of what is broken
        amiss[trees[0].path] += repository.broken()
    for tree in back:
        try:
            for then in [] if amiss[tree.path] else tree.then:
                then(tree)
        except AssertionError as exc:
            amiss[tree.path].append(f"it does not go on: {exc}")
    return amiss


@contextlib.contextmanager
def _environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    before = dict(os.environ)
    for name, value in changes.items():
        os.environ.pop(name, None)
        os.environ.update({} if value is None else {name: value})
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})


def _looks(trees: Sequence[Tree]) -> dict[Path, Look]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip([tree.path for tree in trees], pool.map(Tree.look, trees), strict=True))


def refusals(trees: Sequence[Tree], way: Way) -> dict[Path, tuple[str, list[str]]]:
    """Try to archive worktrees that must be left alone: the reason that each got ("" when it was archived), and what
    is not as it was."""
    before = _looks(trees)
    reasons = {path: str(token) if isinstance(token, Refused) else "" for path, token in way.archive(trees).items()}
    return {path: (reasons[path], differences(before[path], now)) for path, now in _looks(trees).items()}


def _outside(path: Path) -> list[tuple[str, bytes]]:
    files = [found for found in sorted(path.rglob("*")) if found.is_file() and not found.is_symlink()]
    return [(str(found.relative_to(path)), found.read_bytes()) for found in files]


class Stash:
    """By `git stash -u` and `git worktree remove --force`: what careful people do."""

    cleans = True

    def archive(self, trees: Sequence[Tree]) -> dict[Path, Any]:
        return {tree.path: self._away(tree) for tree in trees}

    def _away(self, tree: Tree) -> Any:
        git = tree.git
        branch = subprocess.run(["git", "symbolic-ref", "-q", "HEAD"], cwd=tree.path, capture_output=True).stdout
        stashes, commit = git("for-each-ref", "refs/stash"), ""
        if git("status", "--porcelain"):
            done = subprocess.run(["git", "stash", "push", "-q", "-u"], cwd=tree.path, capture_output=True, text=True)
            if done.returncode:
                return Refused(done.stderr)
            if git("for-each-ref", "refs/stash") != stashes:
                commit = git("rev-parse", "refs/stash").decode().strip()
        done = subprocess.run(["git", "worktree", "remove", "--force", tree.path], cwd=tree.repository.root)
        if done.returncode:
            return Refused("git worktree remove")
        return os.fsdecode(branch.strip()).removeprefix("refs/heads/"), commit

    def restore(self, tree: Tree, token: Any) -> None:
        branch, commit = token
        tree.repository.git("worktree", "add", "-q", tree.path, branch or "HEAD")
        if commit:
            tree.git("stash", "apply", "-q", "--index", commit)
            tree.git("stash", "drop", "-q")

    def leaks(self, tree: Tree, token: Any) -> list[str]:
        return []


class Aside:
    """By renaming the worktree and nothing else: nothing is lost, so a look must find nothing."""

    cleans = False  # gc takes what only another worktree's AUTO_MERGE, autostash or refs/worktree name (git 2.39)

    def archive(self, trees: Sequence[Tree]) -> dict[Path, Path]:
        for tree in trees:
            os.rename(tree.path, f"{tree.path}.aside")
        return {tree.path: Path(f"{tree.path}.aside") for tree in trees}

    def restore(self, tree: Tree, token: Any) -> None:
        os.rename(token, tree.path)

    def leaks(self, tree: Tree, token: Any) -> list[str]:
        return []
