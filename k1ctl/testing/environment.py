"""The environment of a test: its own HOME and host folder, nothing of an outer k1ctl, and no process left behind."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k1ctl.workspace import cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

TEST_ID = "TEST_OF_K1CTL"  # every process a test starts carries this variable; so a leaked one is found
_SHARED = ("tools", "platformio")  # folders of the user's cache: to install what is in them takes minutes
CALM_HOST = os.path.join(os.path.dirname(__file__), "calm_host.json")  # 16 cores and 64 GiB that nobody uses
_OF_PYTEST = "PYTEST_CURRENT_TEST"  # pytest changes it while a test is under way
_entered: list[str] = []  # the mark of the isolation that this process is in


def base_environment(home: str | Path) -> dict[str, str]:
    """The environment of a test: HOME, host folder, cache of its own; nothing of git, Conductor, PlatformIO and k1ctl.

    The settings of pip and npm stay the user's, and so do the tools in the cache (links that `isolated` makes), so that
    nothing is downloaded twice.
    """
    foreign = ("CONDUCTOR_", "K1CTL_", "GIT_", "PLATFORMIO_", "XDG_")
    env = {k: v for k, v in os.environ.items() if k == TEST_ID or not k.startswith(foreign)}
    for name in ("RUN_TARGET", "K1_TARGET", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        env.pop(name, None)
    user = Path(os.path.expanduser("~"))
    env.setdefault("npm_config_cache", str(user / ".npm"))
    env.setdefault("npm_config_userconfig", str(user / ".npmrc"))
    for config in (user / ".pip" / "pip.conf", user / ".config" / "pip" / "pip.conf"):
        if config.exists():
            env.setdefault("PIP_CONFIG_FILE", str(config))
    env["HOME"] = str(home)
    env["K1CTL_HOST_DIR"] = str(Path(home) / "host")
    env["K1CTL_CACHE_DIR"] = str(Path(home) / "cache")
    env["K1CTL_FACTS"] = CALM_HOST  # no test waits because this host is busy
    env["K1CTL_MDNS_INTERFACE"] = "127.0.0.1"  # nothing is sent into a real network
    env["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), env.get("PATH", os.defpath)])
    env["GIT_CONFIG_GLOBAL"] = env["GIT_CONFIG_SYSTEM"] = os.devnull
    env["GIT_TERMINAL_PROMPT"] = "0"
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"], env[f"GIT_{role}_EMAIL"] = "K1 Test", "test@example.org"
    env["TERM"] = "dumb"
    return env


@contextmanager
def isolated(home: str | Path, *, patience: float = 5) -> Iterator[dict[str, str]]:
    """``with isolated(folder) as env:`` makes `base_environment` the environment of this process and its children.

    Within another one it is that one. Raises AssertionError when a process that was started outlives the block by
    ``patience`` seconds; the process is killed.
    """
    if _entered:
        yield dict(os.environ)
        return
    from k1ctl.testing.project import wait_until

    mark, before = os.urandom(16).hex(), dict(os.environ)
    env = {**base_environment(home), TEST_ID: mark}
    _share_tools(cache_dir(), env["K1CTL_CACHE_DIR"])
    _become(env)
    _entered.append(mark)
    try:
        yield env
    finally:
        _entered.clear()
        _become(before)
    try:
        wait_until(lambda: not left_behind(mark), timeout=patience, interval=0.05)
    except AssertionError:
        left = left_behind(mark)
        named = [f"{process.pid}: {' '.join(process.cmdline())}" for process in left]
        for process in left:
            process.kill()
        if left:
            raise AssertionError("processes were left behind:\n" + "\n".join(named)) from None


def _share_tools(user: str, own: str) -> None:
    """Link the tools of the ``user``'s cache into the test's ``own``."""
    os.makedirs(own, exist_ok=True)
    for name in _SHARED:
        shared, link = os.path.join(user, name), os.path.join(own, name)
        os.makedirs(shared, exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(os.path.realpath(shared), link)


def _become(env: dict[str, str]) -> None:
    for name in {*os.environ, *env} - {_OF_PYTEST}:
        if name not in env:
            del os.environ[name]
        elif os.environ.get(name) != env[name]:
            os.environ[name] = env[name]


def left_behind(mark: str) -> list[Any]:
    """The processes that carry the test's mark in their environment, zombies and this process left out."""
    import psutil

    found = []
    for pid in psutil.pids():
        try:
            if pid == os.getpid() or _of_others(pid, mark):
                continue
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(TEST_ID) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _of_others(pid: int, mark: str) -> bool:
    """Whether /proc says at one look that a process does not carry the mark; psutil takes several, for each test."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{TEST_ID}={mark}".encode() not in file.read()
    except FileNotFoundError:  # gone, or a system without /proc
        return False
