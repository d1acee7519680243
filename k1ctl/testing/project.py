"""A repository to work in, the real command line in a child process, and waiting for conditions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
_first: list[dict[Path, bytes | None]] = []  # one: the files and folders (None) of a .git with a first commit


class Outcome(NamedTuple):
    """What a finished command left behind.

    ``changed``: the files that appeared, changed or went while it ran, git's own left out, relative to the root and
    in order; those of a worktree begin with ``..``.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    changed: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            raise AssertionError(f"stdout is not one JSON document\n{self}") from None

    @property
    def jsonl(self) -> list[Any]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def assert_ok(self) -> Outcome:
        """Exit code 0."""
        assert self.exit_code == 0, str(self)
        return self

    def assert_fails(self, exit_code: int, *texts: str) -> Outcome:
        """This exit code, each text on stderr or stdout, and no traceback."""
        assert self.exit_code == exit_code, str(self)
        said = self.stderr + self.stdout
        assert "Traceback" not in said, str(self)
        for text in texts:
            assert text in said, f"{text!r} was not said\n{self}"
        return self

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\nexit {self.exit_code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Project:
    """A git repository in a folder of its own, with its worktrees and its ``ops/``.

    ``root`` is the main checkout. Everything is run in the isolated environment of the test (``os.environ`` as the
    ``workspace`` fixture left it), changed by ``env``; a value of None takes the variable away.
    """

    def __init__(
        self, root: Path, files: Mapping[str, str | bytes] | None = None, worktrees: Iterable[str] = ()
    ) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.write("README", "a repository for a test\n")
        for name, content in (files or {}).items():
            self.write(name, content)
        if files:
            self._begin()
        else:
            self._begin_alike()
        (root / "ops").mkdir(exist_ok=True)
        for name in worktrees:
            self.add_worktree(name)

    def _begin(self) -> None:
        self.git("init", "-q", "-b", "main")
        self.commit("first")

    def _begin_alike(self) -> None:
        """Where there is nothing but README, git works once in a process; later repositories get what it wrote."""
        folder = self.root / ".git"
        if not _first:
            self._begin()
            paths = [path for path in folder.rglob("*") if path.suffix != ".sample"]
            _first.append({p.relative_to(folder): None if p.is_dir() else p.read_bytes() for p in paths})
            return
        folder.mkdir()
        for name, content in _first[0].items():  # a folder comes before what is in it
            if content is None:
                (folder / name).mkdir()
            else:
                (folder / name).write_bytes(content)
        self.git("update-index", "-q", "--refresh")  # the index knows the README of the first one by its inode

    @property
    def ops(self) -> Path:
        return self.root / "ops"

    @property
    def config_file(self) -> Path:
        return self.ops / "k1ctl.toml"

    def write(self, name: str, content: str | bytes, *, within: Path | None = None) -> Path:
        """Write a file below the root (or below ``within``), making folders."""
        path = (within or self.root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def configure(self, toml: str) -> Path:
        """Write ``ops/k1ctl.toml``."""
        return self.write("ops/k1ctl.toml", toml)

    def git(self, *args: str, cwd: Path | None = None) -> str:
        """Run git and return its stdout, stripped."""
        done = subprocess.run(["git", *args], cwd=cwd or self.root, capture_output=True, text=True)
        assert done.returncode == 0, f"git {' '.join(args)}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, message: str = "change", *, cwd: Path | None = None) -> str:
        """Commit everything that is not ignored, ``ops/`` left out; returns the commit id."""
        self.git("add", "-A", "--", ".", ":!ops", cwd=cwd)
        self.git("commit", "-q", "--allow-empty", "-m", message, cwd=cwd)
        return self.git("rev-parse", "HEAD", cwd=cwd)

    def worktree(self, name: str) -> Path:
        """Where `add_worktree` puts a worktree."""
        return self.root.parent / f"{self.root.name}.worktrees" / name

    def add_worktree(self, name: str, branch: str = "") -> Path:
        """A new linked worktree on a branch of its own (default: its name)."""
        path = self.worktree(name)
        self.git("worktree", "add", "-q", "--no-track", "-b", branch or name, str(path), "HEAD")
        return path

    def facts(self, cwd: Path | None = None) -> Any:
        """The `k1ctl.workspace.Workspace` that a command called in ``cwd`` (default: the root) works for."""
        from k1ctl.workspace import resolve

        return resolve(cwd=str(cwd or self.root))

    def environment(self, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The environment of a child: this test's, changed by ``env`` (None takes a variable away)."""
        merged: dict[str, str | None] = {**os.environ, **(env or {})}
        return {k: v for k, v in merged.items() if v is not None}

    def run(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: str = "",
        timeout: float = 60,
    ) -> Outcome:
        """Run ``k1ctl ARGS`` in a child process to its end; ``timeout`` in seconds is a safety net, not a test."""
        argv = [sys.executable, "-m", "k1ctl", *map(str, args)]
        before = self._files()
        process = subprocess.Popen(
            argv,
            cwd=cwd or self.root,
            env=self.environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"still running after {timeout} s: {Outcome(tuple(argv), -1, out, err)}") from None
        changed = (os.path.relpath(path, self.root) for path, _ in before ^ self._files())
        return Outcome(("k1ctl", *map(str, args)), process.returncode, out, err, tuple(sorted(set(changed))))

    def _files(self) -> set[tuple[str, tuple[int, ...]]]:
        """Every file of the repository and its worktrees with what tells two states of it apart."""
        found: set[tuple[str, tuple[int, ...]]] = set()
        folders = [str(self.root), str(self.worktree("x").parent)]
        while folders:
            try:
                entries = list(os.scandir(folders.pop()))
            except OSError:
                continue
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        folders += [] if entry.name == ".git" else [entry.path]
                        continue
                    stat = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                found.add((entry.path, (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_mode)))
        return found

    def popen(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        **kwargs: Any,
    ) -> subprocess.Popen[str]:
        """Start ``k1ctl ARGS`` in the background, stdout and stderr as pipes unless told; the test ends it."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **kwargs,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "k1ctl", *map(str, args)], cwd=cwd or self.root, env=self.environment(env), **options
        )

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """The events recorded so far, or those of one name."""
        from k1ctl.events import read

        return [e for e in read(str(self.ops / "events")) if not event or e["event"] == event]


def wait_until(predicate: Callable[[], T], timeout: float = 20, interval: float = 0.01) -> T:
    """Call ``predicate`` until it returns something true, and return that; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, (
            f"not true within {timeout} s: {getattr(predicate, '__doc__', '') or predicate}"
        )
        time.sleep(interval)


def finish(process: subprocess.Popen[Any], timeout: float = 30) -> int:
    """Wait for a process a test started, killing it if it does not end in time; closes its pipes."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"{process.args!r} did not end within {timeout} s") from None
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
