"""What tests share: a real repository to work in, the real command line in a child process, waiting for conditions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent
TEST_ID = "TEST_OF_K1CTL"  # every process a test starts carries this variable; so a leaked one is found
_KEPT = ("K1CTL_CACHE_DIR", TEST_ID)
_DEBIAN = {"tsp": "task-spooler", "nq": "nq", "sem": "parallel", "pio": "", "npm": "npm", "node": "nodejs"}


class Outcome(NamedTuple):
    """What a finished command left behind."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str

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


def base_environment(home: str | Path) -> dict[str, str]:
    """The environment of a test: its own HOME and host folder, no variable of git, Conductor, PlatformIO or k1ctl.

    The tool cache and the settings of pip and npm stay the user's, so that nothing is downloaded twice.
    """
    foreign = ("CONDUCTOR_", "K1CTL_", "GIT_", "PLATFORMIO_", "XDG_")
    env = {k: v for k, v in os.environ.items() if k in _KEPT or not k.startswith(foreign)}
    for name in ("RUN_TARGET", "K1_TARGET", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        env.pop(name, None)
    user = Path(os.path.expanduser("~"))
    env.setdefault("K1CTL_CACHE_DIR", str(user / ".cache" / "k1ctl"))
    env.setdefault("npm_config_cache", str(user / ".npm"))
    env.setdefault("npm_config_userconfig", str(user / ".npmrc"))
    for config in (user / ".pip" / "pip.conf", user / ".config" / "pip" / "pip.conf"):
        if config.exists():
            env.setdefault("PIP_CONFIG_FILE", str(config))
    env["HOME"] = str(home)
    env["K1CTL_HOST_DIR"] = str(Path(home) / "host")
    env["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), env.get("PATH", os.defpath)])
    env["GIT_CONFIG_GLOBAL"] = env["GIT_CONFIG_SYSTEM"] = os.devnull
    env["GIT_TERMINAL_PROMPT"] = "0"
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"], env[f"GIT_{role}_EMAIL"] = "K1 Test", "test@example.org"
    env["TERM"] = "dumb"
    return env


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
        self.git("init", "-q", "-b", "main")
        self.write("README", "a repository for a test\n")
        for name, content in (files or {}).items():
            self.write(name, content)
        self.commit("first")
        (root / "ops").mkdir(exist_ok=True)
        for name in worktrees:
            self.add_worktree(name)

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
        return Outcome(("k1ctl", *map(str, args)), process.returncode, out, err)

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
        raise AssertionError(f"{process.args} did not end within {timeout} s") from None
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def left_behind(mark: str) -> list[Any]:
    """The processes that carry the test's mark in their environment, zombies and this process left out."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(TEST_ID) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def needs(*tools: str) -> pytest.MarkDecorator:
    """Mark a test that is skipped, by name, where a program is missing: ``@needs("tsp")``."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    named = ", ".join(f"{t} (Debian: {_DEBIAN.get(t) or t})" for t in missing)
    return pytest.mark.skipif(bool(missing), reason=f"needs {named}")


def processes(commands: Sequence[Sequence[str]], timeout: float = 60, **kwargs: Any) -> list[int]:
    """Start all the commands at once, wait for all, and return their exit codes."""
    started = [subprocess.Popen(list(argv), **kwargs) for argv in commands]
    return [finish(process, timeout) for process in started]
