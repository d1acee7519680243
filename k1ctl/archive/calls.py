"""git processes that run side by side for one archive, in one place and with one set of rules."""

from __future__ import annotations

import os

from k1ctl.git import GitError, apart, environment, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

_RULES = (
    *("-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "core.quotePath=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
    *("-c", "protocol.allow=never"),  # nothing is fetched that a partial clone lacks: ssh may wait for a word
    *("-c", "diff.autoRefreshIndex=false"),  # git diff would write the index, whatever GIT_OPTIONAL_LOCKS says
)
# What git writes for an archive survives a power cut: git-config(1) core.fsync (2.36), core.fsyncObjectFiles before.
_DURABLE = (
    *("-c", "core.fsync=loose-object,pack,pack-metadata,reference", "-c", "core.fsyncMethod=batch"),
    *("-c", "core.fsyncObjectFiles=true"),
)


class Running:
    """A git that was started. ``text()`` and ``data()`` wait for its end and return its stdout."""

    def __init__(self, process: Any, word: str, stderr: str) -> None:
        self.process, self.word, self.stderr = process, word, stderr

    def data(self, *, accept: Collection[int] = (0,)) -> bytes:
        """Raises GitError when it failed: its exit code is none of ``accept``."""
        out = bytes(self.process.stdout.read())
        self.process.stdout.close()
        if self.process.wait() not in accept:
            raise GitError(f"git {self.word}: {self._told()}", returncode=self.process.returncode)
        return out

    def text(self, *, accept: Collection[int] = (0,)) -> str:
        """stdout as `os.fsdecode` reads it. Raises GitError as `data` does."""
        return os.fsdecode(self.data(accept=accept))

    def line(self, *, accept: Collection[int] = (0,)) -> str:
        """stdout's one line. Raises GitError as `data` does."""
        return self.text(accept=accept).rstrip("\n")

    def told(self) -> str:
        """stderr, without the warning that git 2.36 and later give for `_DURABLE`."""
        with open(self.stderr, "rb") as f:
            lines = os.fsdecode(f.read()).splitlines()
        return "\n".join(line for line in lines if "core.fsyncObjectFiles" not in line)

    def _told(self) -> str:
        lines = [line for line in self.told().splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("fatal: ", "error: "))] or lines
        return told[-1].partition(": ")[2] or told[-1] if told else f"exit {self.process.returncode}"


class Calls:
    """``with Calls(cwd, scratch, keep=(lock,)) as calls``: ``cwd`` is where git works, ``scratch`` a folder for what it
    is told and says, ``keep`` descriptors that live as long as each git. At the end none is left running."""

    def __init__(self, cwd: str, scratch: str, *, keep: Sequence[int] = ()) -> None:
        self.cwd, self.scratch, self.keep = cwd, scratch, tuple(keep)
        # An archive holds the objects themselves, whatever git-replace(1) shows in their place.
        self.git, self.env = program(), environment({"GIT_NO_REPLACE_OBJECTS": "1"})
        self._running: list[Any] = []

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()

    def start(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Running:
        """Start ``git ARGS`` with ``stdin``; ``env``: variables on top of what every git gets."""
        import subprocess

        number = len(self._running)
        stderr = os.path.join(self.scratch, f"{number}.err")
        source: Any = subprocess.DEVNULL
        if stdin is not None:
            path = os.path.join(self.scratch, f"{number}.in")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as f:
                f.write(stdin)
            source = open(path, "rb")
        try:
            with open(stderr, "wb") as errors:
                process = subprocess.Popen(
                    [self.git, *_RULES, *_DURABLE, *args],
                    cwd=self.cwd,
                    env=self.env | dict(env or {}),
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    pass_fds=self.keep,
                    start_new_session=apart(args),
                )
        finally:
            if stdin is not None:
                source.close()
        self._running.append(process)
        return Running(process, next(word for word in args if word[:1] != "-" and "=" not in word), stderr)
