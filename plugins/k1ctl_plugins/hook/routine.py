"""What cron or launchd start once a week: archive what is idle, prune the artifacts, compress the events of past days,
and be silent when all is well."""

from __future__ import annotations

import os
import sys
import time

from k1ctl import events
from k1ctl.errors import BusyError
from k1ctl.files import Locked, append_line, read_bytes, write_atomic, write_json
from k1ctl.units import format_duration, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.workspace import Workspace

STEPS = (("archive", "run"), ("artifact", "prune"), ("events", "compact"))
_SECONDS = 6 * 3600.0  # s that a step may take: one that hangs must not keep every later week from being done
_LOG_LIMIT = 1 << 20  # bytes; then the older half goes
_LINE = 4000  # bytes of one line of a command that the log keeps


class Step:
    """One command: its ``words`` behind k1ctl, ``exit_code``, ``seconds`` it took, and what it printed."""

    def __init__(self, words: tuple[str, ...], exit_code: int, seconds: float, output: str) -> None:
        self.words, self.exit_code, self.seconds, self.output = words, exit_code, seconds, output

    @property
    def sentence(self) -> str:
        """How it ended, with its own last words when it failed."""
        took = format_duration(self.seconds)
        lines = [line for line in self.output.splitlines() if line.strip()]
        last = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "")
        said = f": {last.removeprefix('error: ').strip()}" if self.exit_code else ""
        return f"k1ctl {' '.join(self.words)}: exit {self.exit_code}, {took}{said}"

    def document(self) -> dict[str, Any]:
        """The step as JSON."""
        seconds = round(self.seconds, 3)
        return {"command": ["k1ctl", *self.words], "exit_code": self.exit_code, "run_seconds": seconds}


def log_path(workspace: Workspace) -> str:
    """What the commands printed, of the last weeks: a file of ops/archive, which is in no commit."""
    return workspace.ops_path("archive", "weekly.log")


def run(workspace: Workspace, *, dry_run: bool = False) -> list[Step]:
    """Run every step, also after one that failed; what they print goes to the log, how they ended to ``weekly.json``
    beside it. Raises BusyError when another call is at it, OSError.
    """
    folder = workspace.ops_path("archive")
    os.makedirs(folder, exist_ok=True)
    try:
        held = Locked(os.path.join(folder, ".weekly.lock"), blocking=False).__enter__()
    except BusyError:
        raise BusyError(f"the weekly archive of {workspace.root} is under way", hint="wait for it") from None
    try:
        at = rfc3339()
        steps = [_step(workspace, words, dry_run) for words in STEPS]
        if not dry_run:
            try:
                _record(workspace, at, steps)
            except OSError as exc:  # a full disk; what the steps came to is told all the same
                why = f"error: {exc.filename or log_path(workspace)}: {exc.strerror}\n"
                steps.append(Step(("hook", "weekly"), 1, 0.0, why))
    finally:
        held.__exit__()
    return steps


def exit_code(steps: list[Step]) -> int:
    """That of the first step that failed."""
    return next((step.exit_code for step in steps if step.exit_code), 0)


def _step(workspace: Workspace, words: tuple[str, ...], dry_run: bool) -> Step:
    import subprocess

    # -P: a file in the repository that is named like a module must not be imported in its place.
    argv = [sys.executable, "-P", "-m", "k1ctl", "--root", workspace.root, *words, *(["--dry-run"] if dry_run else [])]
    began = time.monotonic()
    quiet, merged = subprocess.DEVNULL, subprocess.STDOUT
    try:
        done = subprocess.run(
            argv, cwd=workspace.root, stdin=quiet, stdout=subprocess.PIPE, stderr=merged, timeout=_SECONDS
        )
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as exc:
        late = f"\nerror: it was killed after {format_duration(_SECONDS)}\n"
        code, output = 124, (exc.stdout or b"") + late.encode()
    return Step(words, code if code >= 0 else 128 - code, time.monotonic() - began, output.decode(errors="replace"))


def _record(workspace: Workspace, at: str, steps: list[Step]) -> None:
    path = log_path(workspace)
    for step in steps:
        for line in (f"{at} {step.sentence}", *(f"  {line}" for line in step.output.splitlines())):
            append_line(path, line.encode()[:_LINE].decode(errors="ignore"))
    if os.stat(path).st_size > _LOG_LIMIT:
        lines = (read_bytes(path) or b"").splitlines(keepends=True)
        write_atomic(path, b"".join(lines[len(lines) // 2 :]))
    facts = {"at": at, "exit_code": exit_code(steps), "steps": [step.document() for step in steps]}
    write_json(workspace.ops_path("archive", "weekly.json"), facts)
    events.emit(workspace, "hook.weekly", **{key: value for key, value in facts.items() if key != "at"})
