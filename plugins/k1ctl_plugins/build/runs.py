"""The builds that were: listed, shown, and their logs, from the records under ``ops/runs``."""

from __future__ import annotations

import os
import sys

from k1ctl.errors import UsageError, WrongDataError
from k1ctl.files import read_json
from k1ctl.output import emit_json, put, say, table
from k1ctl.process import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace

LATEST = "latest"
_LOOK = 0.1  # s between two looks at the log of a build that is followed
_PIECE = 1 << 16


def _builds(workspace: Workspace, prefix: str = "") -> Iterator[Run]:
    """The recorded builds whose run id begins so, newest first."""
    base = workspace.ops_path("runs")
    try:
        ids = sorted((i for i in os.listdir(base) if i.startswith(prefix)), reverse=True)
    except FileNotFoundError:
        return
    for run_id in ids:
        kept = read_json(os.path.join(base, run_id, "run.json"))
        if isinstance(kept, dict) and kept.get("kind") == "build" and kept.get("run") == run_id:
            yield record.Run(os.path.join(base, run_id), kept)


def find(workspace: Workspace, reference: str) -> Run:
    """The build whose run id begins with ``reference``; for ``latest`` the newest one of this worktree.

    Raises RunNotFoundError, UsageError when the beginning fits several.
    """
    hint = "k1ctl build list shows them"
    if reference == LATEST:
        here = os.path.realpath(workspace.path)
        for run in _builds(workspace):
            if os.path.realpath(str(run.record.get("workspace_path"))) == here:
                return run
        raise record.RunNotFoundError(f"no build of {workspace.path} is recorded", hint=hint)
    found = list(_builds(workspace, reference)) if reference else []
    if not found:
        raise record.RunNotFoundError(f"no build {reference!r} is recorded", hint=hint)
    if len(found) > 1:
        named = ", ".join(run.id for run in found[:3]) + (", ..." if len(found) > 3 else "")
        raise UsageError(f"{reference} may be {named}", hint="give more of it")
    return found[0]


def outcome(run: Run) -> str:
    """How it ended (``done``, ``build-failed``, ...), else ``waiting``, ``running``, or ``lost`` when it was killed."""
    if run.record.get("state") in ("ended", "lingering"):
        return str(run.record.get("code"))
    return str(run.record.get("state")) if record.alive(run) else "lost"


def row(run: Run) -> dict[str, Any]:
    """A build in one line's worth of facts."""
    kept, details = run.record, run.record.get("details") or {}
    result = kept.get("result") or {}
    artifact = result.get("artifact") or {}
    return {
        "run": run.id,
        "at": kept.get("created_at"),
        "workspace": kept.get("workspace"),
        "target": details.get("target"),
        "environment": details.get("environment"),
        "release": bool(details.get("release")),
        "clean": bool(details.get("clean")),
        "outcome": outcome(run),
        "exit_code": kept.get("exit_code"),
        "wait_seconds": kept.get("wait_seconds"),
        "seconds": result.get("seconds"),
        "steps": result.get("steps"),
        "cache": result.get("cache"),
        "cache_hits": result.get("cache_hits"),
        "artifact": artifact.get("id"),
    }


def rows(workspace: Workspace, name: str | None, target: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest ``limit`` builds (0: all), of one workspace and target where they are named."""
    found = []
    for run in _builds(workspace):
        if name is not None and run.record.get("workspace") != name:
            continue
        if target is not None and (run.record.get("details") or {}).get("target") != target:
            continue
        found.append(row(run))
        if len(found) == limit:
            break
    return found


def print_rows(found: list[dict[str, Any]], as_json: bool) -> None:
    """The list, for people or programs."""
    from k1ctl.units import format_duration

    if as_json:
        emit_json({"ok": True, "builds": found})
        return
    if not found:
        say("no build is recorded")
        return
    cells = [
        (
            entry["run"],
            str(entry["at"])[:19].replace("T", " "),
            entry["workspace"],
            named(entry),
            entry["outcome"],
            "" if entry["seconds"] is None else format_duration(entry["seconds"]),
            hits(entry),
            entry["artifact"] or "",
        )
        for entry in found
    ]
    put(table(cells, ("RUN", "AT (UTC)", "WORKSPACE", "TARGET", "OUTCOME", "TOOK", "CACHE", "ARTIFACT")))


def named(entry: dict[str, Any]) -> str:
    """``fw (debug) --release``."""
    name = f"{entry['target']} ({entry['environment']})" if entry["environment"] else str(entry["target"])
    return name + (" --release" if entry["release"] else "")


def hits(entry: dict[str, Any]) -> str:
    """``12 of 43 (ccache)``; "" without a cache."""
    if not entry["cache"]:
        return ""
    told = "?" if entry["cache_hits"] is None else entry["cache_hits"]
    return f"{told} of {entry['steps']} ({entry['cache']})"


def facts(workspace: Workspace, run: Run) -> dict[str, Any]:
    """All that is known of a build: the row, its record, the manifest of what it made, and the error lines."""
    from k1ctl import artifacts

    kept = run.record
    result = kept.get("result") or {}
    error = kept.get("error") or {}
    found = row(run)
    manifest = None
    if found["artifact"]:
        try:
            manifest = artifacts.find(workspace, str(found["target"]), found["artifact"]).manifest
        except WrongDataError:
            pass  # cleaned away since
    lines = result.get("error_lines") or []
    if not lines and found["outcome"] not in ("done", "waiting", "running"):
        lines = tail(run)
    return {
        **found,
        "message": kept.get("message"),
        "hint": error.get("hint") or kept.get("hint"),
        "ended_at": kept.get("ended_at"),
        "workspace_path": kept.get("workspace_path"),
        "argv": kept.get("argv"),
        "cwd": kept.get("cwd"),
        "commit": result.get("commit"),
        "dirty": result.get("dirty"),
        "expected_seconds": result.get("expected_seconds"),
        "warning_count": result.get("warning_count"),
        "warnings": result.get("warnings") or [],
        "error_lines": lines,
        "manifest": manifest,
        "log": run.log,
    }


def tail(run: Run, count: int = 10) -> list[str]:
    """The last lines that the build printed, of either kind."""
    lines: list[str] = []
    for path in (run.log, run.error_log):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                lines += [line.rstrip("\n") for line in f.readlines()[-count:]]
        except FileNotFoundError:
            continue
    return lines


def print_facts(told: dict[str, Any], as_json: bool) -> None:
    """One build, for people or programs."""
    from k1ctl.units import format_duration, format_size

    if as_json:
        emit_json({"ok": True, **told})
        return
    shown = {
        "run": told["run"],
        "at": told["at"],
        "workspace": f"{told['workspace']}  {told['workspace_path']}",
        "target": named(told),
        "outcome": told["outcome"] + (f": {told['message']}" if told["exit_code"] else ""),
        "hint": told["hint"],
        "took": None if told["seconds"] is None else format_duration(told["seconds"]),
        "waited": None if told["wait_seconds"] is None else format_duration(told["wait_seconds"]),
        "steps": None if told["steps"] is None else f"{told['steps']}",
        "from cache": hits(told),
        "commit": (told["commit"] or "") + (" and changes" if told["dirty"] else ""),
        "command": " ".join(told["argv"] or []),
        "artifact": told["artifact"],
        "log": told["log"],
    }
    for name, file in ((told["manifest"] or {}).get("files") or {}).items():
        shown[name] = f"{format_size(file['bytes'])}  sha256 {file['sha256'][:16]}"
    width = max(map(len, shown))
    for key, value in shown.items():
        if value not in (None, ""):
            put(f"{key.ljust(width)}  {value}")
    for line in [*told["warnings"], *told["error_lines"]]:
        put(line)


def print_log(run: Run, *, follow: bool, as_json: bool) -> None:
    """What the tools wrote, to standard output; with ``follow`` to the end of a build under way."""
    files = {run.log: 0, run.error_log: 0}
    if as_json:
        if follow:
            record.wait(run, None)
        text = "".join(_grown(path, 0).decode("utf-8", "replace") for path in files)
        emit_json({"ok": True, "run": run.id, "outcome": outcome(run), "log": run.log, "text": text})
        return
    over = record.end_of(run) if follow else None
    while True:
        last = over is None or over.wait(_LOOK)
        for path in files:
            while data := _grown(path, files[path], _PIECE):
                files[path] += len(data)
                sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        if last:
            return


def _grown(path: str, offset: int, limit: int = -1) -> bytes:
    """What a log has from ``offset`` on; nothing when it is not there (any more)."""
    try:
        with open(path, "rb") as f:
            f.seek(offset)
            return f.read(limit)
    except FileNotFoundError:
        return b""
