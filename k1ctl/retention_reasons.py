"""Why an artifact is kept: somebody pinned it, built it last, runs it, may go back to it, or waits to send it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.files import read_json
from k1ctl.units import parse_rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.retention import Stock
    from k1ctl.workspace import Workspace

RECENT = 60.0  # s for which what has just come is kept: an upload of it may be about to stand in line


class Reason(NamedTuple):
    """Why an artifact is kept: ``kind`` is pinned, newest, device, rollback, run or recent; ``of`` the worktree, device
    or run it is kept for; ``text`` says it to people."""

    kind: str
    of: str
    text: str


def give(stock: Stock, workspace: Workspace, config: Config) -> None:
    """Give each artifact its reasons."""
    devices, wanted = _on_devices(workspace, config), _in_queue(workspace, config)
    newest = _newest(stock, int(config.get("artifact", "keep")))
    now = time.time()
    for kept in stock.kept:
        artifact = kept.artifact
        if kept.pin is not None:
            why = f": {kept.pin['reason']}" if kept.pin["reason"] else ""
            kept.reasons.append(Reason("pinned", "", f"pinned{why}"))
        kept.reasons += newest.get(artifact.folder, [])
        kept.reasons += devices.get(artifact.id, [])
        kept.reasons += wanted.get(artifact.id, [])
        if abs(now - kept.used_at) < RECENT:  # far in the future: the clock was set back
            kept.reasons.append(Reason("recent", "", "just come"))


def _newest(stock: Stock, count: int) -> dict[str, list[Reason]]:
    """{folder: reasons} of the last ``count`` artifacts of each target that each living worktree built."""
    found: dict[str, list[Reason]] = {}
    made: dict[tuple[str, str], dict[str, float]] = {}  # (target's folder, worktree): {artifact's folder: when}
    for kept in stock.kept:
        base = os.path.dirname(kept.artifact.folder)
        for build in [kept.artifact.manifest, *kept.builds] if not kept.builds else kept.builds:
            if build.get("workspace_path"):
                at = made.setdefault((base, build["workspace_path"]), {})
                at[kept.artifact.folder] = seconds(build.get("at"))
    for base in stock.targets:
        for name in listed(os.path.join(base, "latest")):
            last = read_json(os.path.join(base, "latest", name))
            path, newest = (last.get("workspace_path"), last.get("id")) if isinstance(last, dict) else (None, None)
            if isinstance(path, str) and isinstance(newest, str):
                at = made.setdefault((base, path), {})
                at[os.path.join(base, newest)] = float("inf")  # two builds may be of one millisecond
    for (_, path), at in made.items():
        if os.path.isdir(path):
            for folder in sorted(at, key=lambda folder: at[folder], reverse=True)[:count]:
                name = os.path.basename(path)
                found.setdefault(folder, []).append(Reason("newest", path, f"newest {count} of {name}"))
    return found


def _on_devices(workspace: Workspace, config: Config) -> dict[str, list[Reason]]:
    """{id: reasons} of what the ledgers of all devices name: what each runs, and what it may go back to."""
    from k1ctl.device import images

    names = dict.fromkeys(config.names("devices"))
    for file in listed(workspace.ops_path("device")):
        if file.endswith(".images.json"):  # also of a device that is not configured any more
            told = read_json(workspace.ops_path("device", file))
            names.update({told["device"]: None} if isinstance(told, dict) and told.get("device") else {})
    found: dict[str, list[Reason]] = {}
    for device in names:
        ledger = images.read(workspace, device)
        kept = read_json(images.path_of(workspace, device))
        before = kept.get("current") if isinstance(kept, dict) else None  # a flash under way may yet be abandoned
        for artifact in {
            str(entry.get("artifact")) for entry in (ledger["current"], before) if isinstance(entry, dict)
        }:
            found.setdefault(artifact, []).append(Reason("device", device, f"on {device}"))
        for entry in ledger["soaked"]:
            if not entry.get("failed_since"):
                reason = Reason("rollback", device, f"rollback image of {device}")
                found.setdefault(entry["artifact"], []).append(reason)
    return found


def _in_queue(workspace: Workspace, config: Config) -> dict[str, list[Reason]]:
    """{id: reasons} of what runs that stand in the queue, parked ones too, are to send."""
    from k1ctl.queue import view
    from k1ctl.queue.folder import queue_folder

    found: dict[str, list[Reason]] = {}
    for entry in view.entries(queue_folder(workspace, config)):
        run = str(entry.get("run") or "")
        kept = read_json(workspace.ops_path("runs", run, "run.json")) if run else None
        details = kept.get("details") if isinstance(kept, dict) else None
        wanted = details.get("artifact") if isinstance(details, dict) else None
        if isinstance(wanted, str):
            found.setdefault(wanted, []).append(Reason("run", run, f"wanted by run {run}"))
    return found


def listed(folder: str) -> list[str]:
    """The names in ``folder``, in order; none where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def seconds(at: Any) -> float:
    """Seconds since 1970 of an RFC 3339 time, 0 where it is none."""
    try:
        return parse_rfc3339(str(at))
    except ValueError:
        return 0.0
