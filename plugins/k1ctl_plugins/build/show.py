"""What ``k1ctl build`` shows: progress while it runs, the result or the compiler's lines at the end."""

from __future__ import annotations

import os

from k1ctl.errors import K1ctlError
from k1ctl.output import emit_json, put, say
from k1ctl.process.view import View
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.process.launch import Outcome
    from k1ctl_plugins.build.flow import Plan


class BuildView(View):
    """Reads the log for its progress instead of passing it through."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._name = f"{plan.request.target} ({plan.command.variant})" if plan.command.variant else plan.request.target
        self._reader = plan.kind.reader(plan.request)
        self._rest = {1: b"", 2: b""}

    def output(self, fd: int, data: bytes) -> None:
        *lines, self._rest[fd] = (self._rest[fd] + data).split(b"\n")
        for line in lines:
            progress = self._reader.feed(line)
            if progress:
                stage = progress.partition(" ")[0]
                self.live.update(f"building {self._name}: {progress}", key=f"building {self._name}: {stage}")


def dry_run(plan: Plan, as_json: bool) -> int:
    """Say what would be run."""
    command = plan.command
    own = {k: v for k, v in command.env.items() if k.startswith("PLATFORMIO_") and os.environ.get(k) != v}
    document = {
        "ok": True,
        "dry_run": True,
        "workspace": plan.request.workspace.name,
        "target": plan.request.target,
        "environment": command.variant,
        "argv": command.argv,
        "cwd": command.cwd,
        "environment_set": own,
        "resources": plan.resources,
        "notes": command.notes,
        "clean": plan.request.clean,
    }
    if as_json:
        emit_json(document)
    else:
        put(f"would run:  {' '.join(command.argv)}")
        put(f"in:         {command.cwd}")
        put(f"holding:    {', '.join(plan.resources)}")
        for name, value in sorted(own.items()):
            put(f"with:       {name}={value}")
        for note in command.notes:
            put(f"note:       {note}")
    return 0


def finished(plan: Plan, outcome: Outcome, as_json: bool) -> int:
    """Print the result, or raise what went wrong."""
    ending = outcome.ending
    result: dict[str, Any] = ending.result or {}
    if ending.exit_code:
        raise _failure(plan, outcome)
    if as_json:
        about = {"ok": True, "run": outcome.run, "workspace": plan.request.workspace.name}
        emit_json({**about, **result, "notes": plan.command.notes})
        return 0
    for note in plan.command.notes:
        say(f"note: {note}")
    for line in result["warnings"]:
        say(line)
    put(_summary(result))
    artifact = result["artifact"]
    put(f"artifact {artifact['id']}  {artifact['path']}")
    return 0


def _summary(result: dict[str, Any]) -> str:
    name = f"{result['target']} ({result['environment']})" if result["environment"] else result["target"]
    parts = [f"{name} built in {format_duration(result['seconds'] or 0)}"]
    for what in ("ram", "flash"):
        used, total = result[f"{what}_used_bytes"], result[f"{what}_total_bytes"]
        if used is not None and total:
            parts.append(f"{what.upper() if what == 'ram' else what} {used / total:.1%} ({used} of {total} bytes)")
    count = result["warning_count"]
    parts.append(f"{count} warning{'' if count == 1 else 's'}")
    return ", ".join(parts)


def _failure(plan: Plan, outcome: Outcome) -> K1ctlError:
    """The error to raise; the compiler's own lines are on stderr by then and in its details."""
    from k1ctl_plugins.build.flow import read_logs

    ending = outcome.ending
    error = ending.error or {}
    details: dict[str, Any] = {k: v for k, v in error.items() if k not in ("code", "message", "hint", "exit_code")}
    hint = ending.hint or str(error.get("hint", ""))
    if outcome.folder and ending.result is not None:
        lines: list[str] = []
        if ending.code in ("build-failed", "killed-by-signal"):  # else the tool only cries because it was stopped
            lines = read_logs(plan.kind, plan.request, outcome.folder).errors or _tail(outcome.folder)
        for line in lines:
            say(line)
        details.update({**ending.result, "lines": lines, "log": _log(outcome.folder)})
        hint = hint or f"the whole log is {_log(outcome.folder)}"
    if outcome.run:
        details["run"] = outcome.run
    failure = K1ctlError(ending.message, hint=hint, code=ending.code, **details)
    failure.exit_code = ending.exit_code
    return failure


def _log(folder: str) -> str:
    return os.path.join(folder, "log")


def _tail(folder: str) -> list[str]:
    """The last lines that were printed, when nothing in the log looks like an error."""
    lines: list[str] = []
    for name in ("log", "log.err"):
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                lines += [line.rstrip("\n") for line in f.readlines()[-10:]]
        except FileNotFoundError:
            continue
    return lines
