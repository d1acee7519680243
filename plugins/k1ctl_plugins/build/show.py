"""What ``k1ctl build`` shows: progress while it runs, the result or the compiler's lines at the end."""

from __future__ import annotations

import os
import time

from k1ctl.errors import K1ctlError
from k1ctl.output import put, say
from k1ctl.process.view import View
from k1ctl.units import format_duration, format_size
from k1ctl_plugins.build import forecast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.process.launch import Outcome
    from k1ctl_plugins.build.flow import Plan


_OWN = ("PLATFORMIO_", "K1BUILD_", "CCACHE_")
_CACHES = {"ccache": "ccache", "objects": "shared objects", "project": "the object cache"}


class BuildView(View):
    """Reads the log for its progress instead of passing it through."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._name = f"{plan.request.target} ({plan.command.variant})" if plan.command.variant else plan.request.target
        self._reader = plan.kind.reader(plan.request)
        self._rest = {1: b"", 2: b""}
        self._expected, self._since, self._said = plan.expected, 0.0, ("", "")
        self._next = 0.0

    def started(self) -> None:
        super().started()
        self._since = time.monotonic()
        self._show("", "")

    def output(self, fd: int, data: bytes) -> None:
        *lines, self._rest[fd] = (self._rest[fd] + data).split(b"\n")
        for line in lines:
            progress = self._reader.feed(line)
            if progress:
                self._show(f": {progress}", f": {progress.partition(' ')[0]}" if self._reader.stages else "")

    def tick(self) -> None:
        """On a terminal the time that is left runs down."""
        if self._expected is not None and self.live.terminal and time.monotonic() >= self._next:
            self._show(*self._said)

    def _show(self, doing: str, stage: str) -> None:
        now = time.monotonic()
        self._said, self._next = (doing, stage), now + 1.0
        rest = forecast.left(self._expected, now - self._since) if self.live.terminal or not doing else ""
        self.live.update(f"building {self._name}{doing}{rest}", key=f"building {self._name}{stage}")


def planned(plan: Plan) -> dict[str, Any]:
    """What would be run, for ``--dry-run``."""
    command = plan.command
    return {
        "ok": True,
        "dry_run": True,
        "workspace": plan.request.workspace.name,
        "target": plan.request.target,
        "environment": command.variant,
        "release": plan.request.release,
        "argv": command.argv,
        "cwd": command.cwd,
        "environment_set": {k: v for k, v in command.env.items() if k.startswith(_OWN) and os.environ.get(k) != v},
        "resources": plan.resources,
        "need": plan.need.document(),
        "need_origin": plan.need_origin,
        "cache": command.cache or None,
        "expected_seconds": plan.expected,
        "notes": command.notes,
        "clean": plan.request.clean,
    }


def print_planned(document: dict[str, Any]) -> None:
    """The same for people."""
    put(f"would run:  {' '.join(document['argv'])}")
    put(f"in:         {document['cwd']}")
    put(f"holding:    {', '.join(document['resources'])}")
    put(f"promised:   {format_size(document['need'].get('mem_bytes', 0))} of memory ({document['need_origin']})")
    if document["expected_seconds"] is not None:
        put(f"expected:   {format_duration(document['expected_seconds'])}")
    for name, value in sorted(document["environment_set"].items()):
        put(f"with:       {name}={value}")
    for note in document["notes"]:
        put(f"note:       {note}")


def built(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """The document of a build that succeeded. Raises what went wrong, with the compiler's lines on stderr by then."""
    if outcome.ending.exit_code:
        raise _failure(plan, outcome)
    about = {"ok": True, "run": outcome.run, "workspace": plan.request.workspace.name}
    return {**about, "notes": plan.command.notes, **(outcome.ending.result or {})}


def print_built(document: dict[str, Any]) -> None:
    """The same for people."""
    for note in document["notes"]:
        say(f"note: {note}")
    for line in document["warnings"]:
        say(line)
    put(_summary(document))
    artifact = document["artifact"]
    put(f"artifact {artifact['id']}  {artifact['path']}")


def _summary(result: dict[str, Any]) -> str:
    name = f"{result['target']} ({result['environment']})" if result["environment"] else result["target"]
    release = " for release" if result["release"] else ""
    parts = [f"{name} built{release} in {format_duration(result['seconds'] or 0)}"]
    for what in ("ram", "flash"):
        used, total = result[f"{what}_used_bytes"], result[f"{what}_total_bytes"]
        if used is not None and total:
            parts.append(f"{what.upper() if what == 'ram' else what} {used / total:.1%} ({used} of {total} bytes)")
    image = result["artifact"]["files"][result["artifact"]["image"]]
    if "file_count" in image:
        count = image["file_count"]
        parts.append(f"{count} file{'' if count == 1 else 's'}, {format_size(image['content_bytes'])}")
    if result["cache_hits"]:
        parts.append(f"{result['cache_hits']} of {result['steps']} steps from {_CACHES[result['cache']]}")
    count = result["warning_count"]
    parts.append(f"{count} warning{'' if count == 1 else 's'}")
    return ", ".join(parts)


def _failure(plan: Plan, outcome: Outcome) -> K1ctlError:
    """The error to raise; the compiler's own lines are on stderr by then and in its details."""
    from k1ctl.process.record import Run
    from k1ctl_plugins.build.flow import read_logs
    from k1ctl_plugins.build.runs import tail

    ending = outcome.ending
    error = ending.error or {}
    details: dict[str, Any] = {k: v for k, v in error.items() if k not in ("code", "message", "hint", "exit_code")}
    hint = ending.hint or str(error.get("hint", ""))
    if outcome.folder and ending.result is not None:
        lines: list[str] = []
        if ending.code in ("build-failed", "killed-by-signal"):  # else the tool only cries because it was stopped
            lines = read_logs(plan.kind, plan.request, outcome.folder).errors or tail(
                Run(outcome.folder, {"run": outcome.run})
            )
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
