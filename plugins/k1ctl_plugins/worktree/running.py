"""The command of a configured step while it runs: its process group, its limit, and a note for whoever comes next.

When the call that started it is killed, nobody is left to hold it to its limit. So the note says which group it is and
how long it may take; a later set-up that waits for its lock ends it once that has passed.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from k1ctl import groups
from k1ctl.errors import NotExecutableError
from k1ctl.files import read_json, write_json
from k1ctl.signals import signals
from k1ctl.units import format_duration, rfc3339
from k1ctl_plugins.worktree import place

if TYPE_CHECKING:
    import subprocess

    from k1ctl.workspace import Workspace

_LOOK = 0.02  # s between two looks at a group that was told to end
_SLACK = 2.0  # s past limit and grace period after which a command's own caller cannot be about to end it


class Running:
    """The command of step ``step`` in ``workspace``; ``limit`` and ``grace`` in seconds (limit 0: none)."""

    def __init__(self, workspace: Workspace, step: str, limit: float, grace: float) -> None:
        self.step, self.limit, self.grace = step, limit, grace
        self.note = _note(workspace)

    def run(self, argv: list[str], folder: str, env: dict[str, str], log: str, lock: int) -> int | None:
        """Run it to its end with its output in ``log``; ``lock``: a descriptor that it holds (-1: none).

        Returns its exit code (minus the signal that killed it), None when it ran past its limit and was ended. Raises
        NotExecutableError.
        """
        import subprocess

        os.makedirs(os.path.dirname(log), exist_ok=True)
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as out, Told() as told:
            try:
                process = subprocess.Popen(
                    argv,
                    cwd=folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    pass_fds=(lock,) if lock >= 0 else (),
                )
            except OSError as exc:
                raise NotExecutableError(f"{argv[0]} cannot be executed: {exc.strerror}") from exc
            try:
                told.listen()
                facts = {"step": self.step, "group": process.pid, "limit_seconds": self.limit, "at": rfc3339()}
                write_json(self.note, {**facts, **groups.stamp()})
                return process.wait(self.limit or None)
            except subprocess.TimeoutExpired:
                end(process, self.grace)
                return None
            except BaseException:
                end(process, self.grace)
                raise
            finally:
                with suppress(FileNotFoundError):  # the disk was full
                    os.unlink(self.note)


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End the whole group that ``process`` leads, by KILL after ``grace`` seconds; at a second ^C at once."""
    try:
        _end_group(process.pid, grace, process.poll)
    except BaseException:
        groups.send(process.pid, signals.SIGKILL)
        raise
    finally:
        process.wait()


def _note(workspace: Workspace) -> str:
    return place.memory(workspace, "running.json")


def _end_group(group: int, grace: float, reap: Any = None) -> None:
    """TERM to everybody in the group, and KILL to who is left after the grace period (seconds)."""
    until = time.monotonic() + grace
    groups.send(group, signals.SIGTERM)
    groups.send(group, signals.SIGCONT)  # a stopped process gets TERM only when it goes on
    while time.monotonic() < until:
        time.sleep(_LOOK)
        if reap is not None:
            reap()
        if not groups.members(group):
            return
    groups.send(group, signals.SIGKILL)


class Told:
    """``with Told() as told:`` ^C, TERM and a hang-up leave by an exception, which ends the command; not before
    `listen`, when there is one to be ended."""

    def __init__(self) -> None:
        self.number, self.listening = 0, False

    def __enter__(self) -> Told:
        usual = (signals.SIG_DFL, signals.default_int_handler)
        numbers = [n for n in (signals.SIGINT, signals.SIGTERM, signals.SIGHUP) if signals.getsignal(n) in usual]
        try:
            self.before = {number: signals.signal(number, self._hear) for number in numbers}
        except ValueError:  # signals are the main thread's
            self.before = {}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.before.items():
            signals.signal(number, handler)

    def _hear(self, number: int, _: object) -> None:
        self.number = self.number or number
        if self.listening:
            self._leave()

    def listen(self) -> None:
        """From now on; what was told before counts."""
        self.listening = True
        if self.number:
            self._leave()

    def _leave(self) -> None:
        raise KeyboardInterrupt if self.number == signals.SIGINT else SystemExit(128 + self.number)


def left(workspace: Workspace) -> dict[str, Any] | None:
    """The note of a command that still runs: ``step``, ``group``, ``age_seconds``, ``limit_seconds``; None without."""
    note = _read(workspace)
    return note if note and groups.lives(note["group"], note) else None


def _read(workspace: Workspace) -> dict[str, Any] | None:
    note = read_json(_note(workspace))
    try:
        return {**note, "age_seconds": max(0.0, time.time() - note["started"])}
    except (TypeError, KeyError):
        return None


def end_overdue(workspace: Workspace, grace: float) -> str:
    """End a command that is past its limit with nobody left to end it; returns the step's name, "" without one."""
    found = _read(workspace)
    limit = float(found["limit_seconds"]) if found else 0.0
    if not found or not limit or found["age_seconds"] < limit + grace + _SLACK:
        return ""
    if not groups.lives(found["group"], found):
        return ""
    _end_group(int(found["group"]), grace)
    return str(found["step"])


def describe(workspace: Workspace) -> str:
    """What of another set-up is at work, for a sentence; "" when that is not known."""
    found = left(workspace)
    return f": its step {found['step']}, for {format_duration(found['age_seconds'])}" if found else ""
