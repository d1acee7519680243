"""What every measurement needs: k1ctl installed as its users have it, the helper programs, a repository, a clean
environment, and a quiet machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent
PLACE = SOURCE / ".bench"
BIN = PLACE / "venv" / "bin"
K1CTL = str(BIN / "k1ctl")
PYTHON = str(BIN / "python")
HOLD = str(PLACE / "hold")
GATE = str(PLACE / "gate")
_PARTS = ("pyproject.toml", "README.md", "LICENSE", "k1ctl", "plugins", "completions", "hooks")


def prepare() -> None:
    """Install the wheel of this source tree into a virtual environment of its own and compile the helpers."""
    PLACE.mkdir(exist_ok=True)
    with open(PLACE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest, stamp = _digest(), PLACE / "installed"
        if not stamp.exists() or stamp.read_text() != digest:
            stamp.unlink(missing_ok=True)
            _install()
            stamp.write_text(digest)
        for name in ("hold", "gate"):
            source, program = HERE / f"{name}.c", PLACE / name
            if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
                subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)


def _digest() -> str:
    found = hashlib.sha256(sys.version.encode())
    for part in _PARTS:
        path = SOURCE / part
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                found.update(str(file.relative_to(SOURCE)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def _install() -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    quiet = ["-qq", "--disable-pip-version-check"]

    def pip(*words: str) -> None:
        subprocess.run([PYTHON, "-m", "pip", *words], check=True, env=env, stdout=sys.stderr)

    print("bench: installing the wheel into .bench/venv", file=sys.stderr)
    if not (BIN / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PLACE / "venv")], check=True, env=env)
        pip("install", *quiet, "--upgrade", "pip", "filelock")
    wheels = PLACE / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    pip("wheel", *quiet, "--no-deps", "--wheel-dir", str(wheels), str(SOURCE))
    (wheel,) = wheels.glob("k1ctl-*.whl")
    pip("install", *quiet, str(wheel))
    pip("install", *quiet, "--force-reinstall", "--no-deps", str(wheel))
    library = next((PLACE / "venv" / "lib").iterdir())
    subprocess.run([PYTHON, "-m", "compileall", "-q", str(library)], check=True, env=env)


def environment(home: str) -> dict[str, str]:
    """The environment of everything that is measured: none of Python's switches, no setting of k1ctl, HOME apart."""
    foreign = ("PYTHON", "K1CTL_", "CONDUCTOR_", "GIT_", "XDG_", "PLATFORMIO_", "RUN_TARGET", "K1_TARGET")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    cache = os.environ.get("K1CTL_CACHE_DIR", os.path.expanduser("~/.cache/k1ctl"))
    env.update(HOME=home, K1CTL_HOST_DIR=f"{home}/host", K1CTL_CACHE_DIR=cache, LC_ALL="C.UTF-8", TERM="dumb")
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"], env[f"GIT_{role}_EMAIL"] = "bench", "bench@example.org"
    return env


class Repository:
    """A repository with ``ops/`` and one worktree, ``agent``, in a temporary folder; a context manager."""

    def __init__(self, config: str = "") -> None:
        self.folder = tempfile.mkdtemp(prefix="k1bench-")
        self.env = environment(self.folder)
        self.root, self.worktree = Path(self.folder) / "repo", Path(self.folder) / "agent"
        self.ops = self.root / "ops"
        self.tickets = self.ops / "queue" / "tickets"
        self.root.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("commit", "-q", "--allow-empty", "-m", "first")
        self.git("worktree", "add", "-q", str(self.worktree))
        self.ops.mkdir()
        (self.ops / "k1ctl.toml").write_text(config)
        for _ in range(2):  # the second call finds the folders and leaves the parsed configuration behind
            subprocess.run(self.queue_run("warm", "true"), cwd=self.worktree, env=self.env, check=True)

    def git(self, *words: str, cwd: Path | None = None) -> None:
        """Run git; raises CalledProcessError."""
        subprocess.run(["git", *words], cwd=cwd or self.root, env=self.env, check=True, stdout=subprocess.DEVNULL)

    def queue_run(self, resource: str, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """The words of `k1ctl queue run RESOURCE OPTIONS -- COMMAND`."""
        return [K1CTL, "queue", "run", resource, *options, "--", *command]

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _ticks() -> tuple[int, int]:
    """(idle, all) time of all cores so far (Linux; elsewhere always idle)."""
    try:
        with open("/proc/stat") as f:
            values = [int(x) for x in f.readline().split()[1:9]]
    except FileNotFoundError:
        return time.monotonic_ns(), time.monotonic_ns()
    return values[3] + values[4], sum(values)


class Watch:
    """How idle the machine was since this was made: what a neighbour does falls on the figures."""

    def __init__(self) -> None:
        self._idle, self._all = _ticks()

    @property
    def idle(self) -> float:
        """The idle share of all cores, 0 to 1."""
        idle, every = _ticks()
        return round((idle - self._idle) / max(1, every - self._all), 2)


def quiet(seconds: float = 20.0, idle: float = 0.85) -> float:
    """Wait until the machine was idle for 0.6 s, ``seconds`` at most; returns the idle share last seen."""
    until = time.monotonic() + seconds
    while True:
        watch = Watch()
        time.sleep(0.6)
        share = watch.idle
        if share >= idle or time.monotonic() >= until:
            return share
