"""k1ctl's command line in children that are forked and not started anew, and killed at a step or at any moment.

A step is what changes something or begins a program, as Python's audit events tell it: nothing that the code under test
does or imports can hide from it. `Stage` is the tests' side; run as a program, this module is the stage itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

_STEPS = frozenset(
    (
        *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate"),
        *("subprocess.Popen", "fcntl.flock"),
    )
)
_WARM = ("k1ctl.cli", "k1ctl.config", "k1ctl.failure", "subprocess", "psutil")
_WHOLE = ("k1ctl.archive", "k1ctl_plugins.archive")  # packages with all their modules


class Played(NamedTuple):
    """A command's end: ``code`` as `subprocess` tells it, what it said, and the steps that it took."""

    code: int
    stdout: str
    stderr: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"exit {self.code} after {len(self.steps)} steps\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    def ok(self) -> Played:
        assert self.code == 0 and "Traceback" not in self.stderr, str(self)
        return self


class Stage:
    """A context manager; ``folder`` is for its own files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Stage:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True, cwd=self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()

    def play(self, *words: str | Path, cwd: Path, at: int = 0, after: float = -1, group: bool = True) -> Played:
        """Run ``k1ctl WORDS`` in ``cwd``; struck right before its step number ``at``, or ``after`` so many seconds,
        alone or with all that it started."""
        assert self.process.stdin and self.process.stdout
        out = [str(self.folder / name) for name in ("out", "err", "steps")]
        asked = {"words": [os.fsdecode(w) for w in words], "cwd": str(cwd), "env": dict(os.environ)}
        self.process.stdin.write(json.dumps({**asked, "at": at, "out": out}) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        timer = threading.Timer(after, _strike, (pid, group))
        if after >= 0:
            timer.start()
        status = int(self.process.stdout.readline())
        timer.cancel()
        told = [Path(name).read_bytes().decode(errors="replace") for name in out]
        return Played(os.waitstatus_to_exitcode(status), told[0], told[1], tuple(told[2].splitlines()))


def _strike(pid: int, group: bool) -> None:
    try:
        os.killpg(pid, signal.SIGKILL) if group else os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _serve() -> None:
    from importlib import import_module
    from pkgutil import walk_packages

    for name in _WHOLE:
        for module in walk_packages(import_module(name).__path__, f"{name}."):
            import_module(module.name)
    for name in _WARM:
        import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(asked)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


def _become(asked: dict[str, Any]) -> None:
    os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    out, err, steps = (os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) for name in asked["out"])
    for fd, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(fd, target)
    os.environ["PWD"] = asked["cwd"]
    sys.argv = ["k1ctl", *asked["words"]]
    count, pid = 0, os.getpid()

    def step(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        written = event == "open" and isinstance(args[0], str) and args[2] & (os.O_WRONLY | os.O_RDWR)
        written = written and args[0] != os.devnull
        if (event in _STEPS or written) and os.getpid() == pid:
            count += 1
            os.write(steps, f"{event} {args[0]!r}"[:300].replace("\n", " ").encode() + b"\n")
            if count == asked["at"]:
                os.kill(pid, signal.SIGKILL)

    sys.addaudithook(step)
    from k1ctl.__main__ import main

    code = main()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
