"""The commands that keys of `k1ctl top` stand for, each as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from k1ctl.workspace import Workspace

_TIMEOUT = 30.0  # s for one
_LAST = 3.0  # s that one which changes something has to end in, once the screen is gone
_ONLY_LOOKS = ("why",)


class Calls:
    """Runs ``k1ctl WORDS`` for the root of ``workspace``: checks, refusals and events are the command's own."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._running: dict[subprocess.Popen[str], bool] = {}  # {process: whether it only looks}
        self._over = False

    def run(self, words: tuple[str, ...]) -> tuple[str, SeverityLevel]:
        """(what it said, how severe that is)."""
        command = [sys.executable, "-m", "k1ctl", "--root", self.workspace.root, *words]
        environment = {**os.environ, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
        pipe = subprocess.PIPE
        try:
            with self._lock:
                if self._over:
                    return "", "information"
                process = subprocess.Popen(
                    command,
                    cwd=self.workspace.path if os.path.isdir(self.workspace.path) else self.workspace.root,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=pipe,
                    stderr=pipe,
                    encoding="utf-8",
                    errors="replace",
                )
                self._running[process] = words[0] in _ONLY_LOOKS
        except OSError as exc:
            return f"k1ctl {words[0]} cannot be started: {exc}", "error"
        try:
            said = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"k1ctl {words[0]} did not end within {_TIMEOUT:g} s, and was stopped", "error"
        finally:
            self._running.pop(process, None)
        text = "\n".join(each.strip() for each in said if each.strip())
        return text, "error" if process.returncode else "information"

    def end(self) -> None:
        """Leave no process behind: what only looks is ended, what changes something may end what it began."""
        with self._lock:
            self._over = True
        until = time.monotonic() + _LAST
        for process, looks in list(self._running.items()):
            if not looks:
                try:
                    process.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    pass
            if process.poll() is None:
                process.kill()
                process.wait()
