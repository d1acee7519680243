"""What tests share beside `k1ctl.testing`, whose names can be imported from here too."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from k1ctl.testing import TEST_ID, Outcome, Project, base_environment, finish, left_behind, wait_until

__all__ = [
    "REPOSITORY",
    "TEST_ID",
    "Outcome",
    "Project",
    "base_environment",
    "finish",
    "left_behind",
    "needs",
    "processes",
    "run_screen",
    "wait_until",
]

REPOSITORY = Path(__file__).resolve().parent.parent
_DEBIAN = {
    "tsp": "task-spooler",
    "nq": "nq",
    "sem": "parallel",
    "pio": "",
    "npm": "npm",
    "node": "nodejs",
    "promtool": "prometheus",
}


def needs(*tools: str) -> pytest.MarkDecorator:
    """Mark a test that is skipped, by name, where a program is missing: ``@needs("tsp")``."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    named = ", ".join(f"{t} (Debian: {_DEBIAN.get(t) or t})" for t in missing)
    return pytest.mark.skipif(bool(missing), reason=f"needs {named}")


def run_screen(play: Coroutine[Any, Any, Any]) -> Any:
    """What ``play`` returns, which runs a screen in this process: it hears of SIGTERM, as one that has the process."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return asyncio.run(play)
    finally:
        signal.signal(signal.SIGTERM, handler)


def processes(commands: Sequence[Sequence[str]], timeout: float = 60, **kwargs: Any) -> list[int]:
    """Start all the commands at once, wait for all, and return their exit codes."""
    started = [subprocess.Popen(list(argv), **kwargs) for argv in commands]
    return [finish(process, timeout) for process in started]


def killed_at(number: int, work: Callable[[], Any], moments: Sequence[tuple[Any, str]]) -> bool:
    """Do ``work`` in a process that kills itself before or behind its ``number``-th call of one of ``moments`` (where
    the function is, its name); False when it makes fewer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the runner's threads: the child uses no lock of theirs
        pid = os.fork()
    if pid == 0:
        count = 0

        def strike() -> None:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        def around(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                strike()
                result = function(*args, **kwargs)
                strike()
                return result

            return wrapped

        try:
            for place, name in moments:
                setattr(place, name, around(getattr(place, name)))
            work()
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)
