"""Where the demo plays: a repository of its own, its configuration, the simulated device."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from k1ctl import groups
from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.output import say
from k1ctl.workspace import cache_dir
from k1ctl_plugins.demo import cleanup

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PYTHON = (sys.executable, "-P", "-m")
_FOREIGN = ("CONDUCTOR_", "K1CTL_", "GIT_", "PLATFORMIO_")
_IDENTITY = {
    "GIT_AUTHOR_NAME": "k1ctl demo",
    "GIT_AUTHOR_EMAIL": "demo@localhost",
    "GIT_COMMITTER_NAME": "k1ctl demo",
    "GIT_COMMITTER_EMAIL": "demo@localhost",
}


class Stage:
    """A temporary repository with a firmware, ``ops/`` and a running simulated device; gone again at the end.

    ``folder`` holds all of it; ``root`` is the repository. Nothing outside is touched but the tool cache. ^C, TERM and
    HUP never cut a step of the set-up short: they end what the agents do (`stop`), and `go_on` leaves then.
    """

    def __init__(self, *, keep: bool, pace: str) -> None:
        self.keep, self.pace = keep, pace
        self.folder = self.root = Path()
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)} | _IDENTITY
        self.environ["K1CTL_CACHE_DIR"] = cache_dir()
        self.device: dict[str, Any] = {}
        self.children: set[subprocess.Popen[Any]] = set()
        self.stopped, self.told = False, 0

    def __enter__(self) -> Stage:
        self.handlers = [(number, signal.signal(number, self._on_signal)) for number in _NUMBERS]
        self.folder = Path(tempfile.mkdtemp(prefix="k1ctl-demo-"))
        self.root = self.folder / "repository"
        self.environ["K1CTL_HOST_DIR"] = str(self.folder / "host")
        self.environ["TMPDIR"] = str(self.folder / "temporary")  # a compiler that is stopped leaves files there
        (self.folder / "temporary").mkdir()
        try:
            self._check_tools()
            self._make_repository()
            self._make_device()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self.ops.is_dir():
            runs = cleanup.Runs(self.ops)
            runs.stop()
            self._run([*PYTHON, "k1ctl", "sim", "stop"])  # also a flash that has sent all ends with it
            runs.wait()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in self.handlers:
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.told = self.told or number
        self.stop()

    def stop(self) -> None:
        """End what the agents are doing, and let them begin nothing more."""
        self.stopped = True
        for child in list(self.children):
            groups.send(child.pid, signal.SIGTERM)

    def go_on(self) -> None:
        """Leave with 128+N when a signal told us to."""
        if self.told:
            raise SystemExit(128 + self.told)

    @property
    def ops(self) -> Path:
        return self.root / "ops"

    def k1ctl(self, args: list[str], *, cwd: Path | None = None) -> Any:
        """Run a k1ctl command as a user would and return its JSON. Raises K1ctlError with its last words."""
        child = self._start([*PYTHON, "k1ctl", *args], cwd)
        self.children.add(child)
        if self.stopped:
            groups.send(child.pid, signal.SIGTERM)
        try:
            return _answer(args, *self._finish(child))
        finally:
            self.children.discard(child)

    def _step(self, argv: list[str]) -> Any:
        """A step of the set-up, whose end must be known to undo it. Raises K1ctlError, SystemExit."""
        done = self._run(argv)
        self.go_on()
        return _answer(argv, *done)

    def _run(self, argv: list[str]) -> tuple[int, str, str]:
        return self._finish(self._start(argv, None))

    def _start(self, argv: list[str], cwd: Path | None) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True}
        return subprocess.Popen(argv, cwd=cwd or self.root, env=self.environ, process_group=0, **options)

    @staticmethod
    def _finish(child: subprocess.Popen[str]) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of a command once nobody of its group is left."""
        out, err = child.communicate()
        cleanup.until_empty(child.pid)
        return child.returncode, out, err

    def _check_tools(self) -> None:
        for tool, package in (("git", "git"), ("gcc", "gcc"), ("g++", "g++")):
            if shutil.which(tool) is None:
                raise NotFoundError(f"the demo needs {tool}", hint=f"install {package}")
        from k1ctl.platformio.locate import find_pio

        try:
            find_pio()
        except NotFoundError:
            say("installing PlatformIO, once")
            self._install_tools()

    def _install_tools(self) -> None:
        """Minutes, so it is seen, and ended when we are told to."""
        child = subprocess.Popen([*PYTHON, "k1ctl", "tools", "install"], env=self.environ, process_group=0)
        self.children.add(child)
        child.wait()
        self.children.discard(child)
        self.go_on()
        if child.returncode:
            raise K1ctlError("PlatformIO could not be installed", hint="k1ctl tools install says why")

    def _make_repository(self) -> None:
        from k1ctl.platformio import HOST_PLATFORM

        template = Path(__file__).parent / "firmware"
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(template, self.root / "firmware", ignore=ignore)
        shutil.copytree(HOST_PLATFORM, self.root / "firmware" / "platform", ignore=ignore)
        (self.root / ".gitignore").write_text(".pio/\n", encoding="utf-8")
        for args in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "A small firmware"]):
            self._step(["git", "-c", "commit.gpgsign=false", *args])
        self._step([*PYTHON, "k1ctl", "init", "--json"])

    def _make_device(self) -> None:
        self.device = self._step([*PYTHON, "k1ctl", "sim", "start", "--name", "k1", "--pace", self.pace, "--json"])
        lines = ["", "[devices.k1]"]
        for key in ("host", "mac", "identity", "ota_port", "http_port"):
            value = self.device[key]
            lines.append(f"{key} = {json.dumps(value)}")
        with (self.ops / "k1ctl.toml").open("a", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")


def _answer(args: list[str], code: int, out: str, err: str) -> Any:
    """The JSON that a command printed, {} when none. Raises K1ctlError with its last words when it failed."""
    if code:
        raise K1ctlError(f"{' '.join(args)} ended with {code}: {_last_words(err)}")
    try:
        return json.loads(out)
    except ValueError:
        return {}


def _last_words(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["no word why"])[-1]
