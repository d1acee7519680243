"""Before Conductor removes a workspace: let go of what it holds, and save what would be lost. Nothing is deleted."""

from __future__ import annotations

import os
import time

from k1ctl import events, groups
from k1ctl.errors import K1ctlError
from k1ctl.files import read_json
from k1ctl.process import record
from k1ctl.queue import view
from k1ctl.queue.folder import queue_folder
from k1ctl.signals import signals
from k1ctl_plugins.hook import gitwork, saving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_STOPPING = 5.0  # s that builds have to end in before the script does; their folder is about to be removed


class Archive:
    """What became of a workspace's places and runs, and what git work it holds.

    ``given_up``: places in line that were taken back; ``stopped``: builds that were told to end; ``left``: runs that
    go on, each with the ``reason``. Each a queue entry's ticket, run, label and resources. ``saved``: the archive that
    holds the workspace now, None when there was nothing to save; ``refused`` is why it could not be saved.
    """

    def __init__(self, workspace: Workspace, *, dry_run: bool) -> None:
        self.workspace, self.dry_run = workspace, dry_run
        self.given_up: list[dict[str, Any]] = []
        self.stopped: list[dict[str, Any]] = []
        self.left: list[dict[str, Any]] = []
        self.work = gitwork.GitWork()
        self.saved: dict[str, Any] | None = None
        self.refused: K1ctlError | None = None

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        facts = {"workspace": self.workspace.name, "path": self.workspace.path, "dry_run": self.dry_run}
        runs = {"given_up": self.given_up, "stopped": self.stopped, "left": self.left}
        return {"ok": True, **facts, **runs, "git": self.work.document(), "saved": self.saved}


def archive(workspace: Workspace, config: Config, *, dry_run: bool = False) -> Archive:
    """Give up the workspace's places in line, stop its builds, and save what nobody else has; called again it finds
    nothing to do. A flash under way and commands of `queue run` go on.

    What keeps it from being saved is ``refused`` in the answer. Raises K1ctlError, OSError.
    """
    done = Archive(workspace, dry_run=dry_run)
    folder = queue_folder(workspace, config)
    for entry in view.entries(folder):
        if entry["state"] != "dead" and _belongs(entry, workspace):
            _settle(done, folder, entry)
    _await_end(done)  # they write no more
    done.work = gitwork.look(workspace.path)
    try:
        done.saved = saving.save(workspace, config, done.work, dry_run=dry_run)
    except K1ctlError as exc:
        done.refused = exc
    except OSError as exc:  # a full disk
        done.refused = K1ctlError(str(exc), code="not-saved")
    if done.refused and not os.path.isdir(workspace.path):
        hint = "k1ctl archive list shows what was saved of it before"
        done.refused = K1ctlError("somebody removed it meanwhile", hint=hint, code="workspace-gone")
    if not dry_run:
        facts = {k: v for k, v in done.document().items() if k not in ("ok", "dry_run", "workspace")}
        facts["saved"] = done.saved["archive"] if done.saved else None
        facts["refused"] = done.refused and done.refused.document()["error"]
        git = facts.pop("git")
        names = {key: git.pop(key) for key in ("changed", "untracked")}  # apart: long ones are cut, and nothing else
        events.emit(workspace, "hook.archived", **facts, git=git, **names)
    return done


def _belongs(entry: dict[str, Any], workspace: Workspace) -> bool:
    """Whether a ticket is this very worktree's: names may be alike, also those of several repositories in one queue."""
    run = entry.get("run", "")
    kept = read_json(workspace.ops_path("runs", run, "run.json")) if run else None
    path = kept.get("workspace_path", "") if isinstance(kept, dict) else ""
    return bool(path) and os.path.realpath(path) == os.path.realpath(workspace.path)


def _settle(done: Archive, folder: str, entry: dict[str, Any]) -> None:
    row: dict[str, Any] = {k: entry[k] for k in ("ticket", "run", "kind", "label", "resources") if k in entry}
    if entry["state"] != "running":
        if done.dry_run or view.cancel(folder, entry["ticket"], f"hook archive in {done.workspace.name}"):
            done.given_up.append(row)
            return
        try:
            entry = view.find(folder, str(entry["ticket"]))  # let in at this very moment
        except view.TicketNotFoundError:
            return
    reason = _reason_to_leave(entry)
    if reason:
        done.left.append({**row, "reason": reason})
    elif done.dry_run or _told_to_end(entry):
        done.stopped.append(row)
    else:
        done.left.append({**row, "reason": "its supervisor is gone; the lease ends with its command"})


def _reason_to_leave(entry: dict[str, Any]) -> str:
    if entry.get("kind") == "upload":
        return "a flash is never interrupted; it needs nothing of the workspace any more"
    if entry.get("kind") != "build":
        return "what it does is not known; it ends by itself or with its terminal"
    return ""


def _told_to_end(entry: dict[str, Any]) -> bool:
    """TERM to the supervisor: its ticket was seen locked, so the pid is its own unless only the command lives on."""
    try:
        if os.getsid(entry["pid"]) == entry["pid"] and groups.living(entry["pid"]):
            os.kill(entry["pid"], signals.SIGTERM)
            return True
    except OSError:
        pass
    return False


def _await_end(done: Archive) -> None:
    """Let the builds that were told to end do so, so that they write nothing into a folder that is being removed."""
    deadline = time.monotonic() + _STOPPING
    for row in [] if done.dry_run else done.stopped:
        try:
            run = record.load(done.workspace, row["run"])
        except record.RunNotFoundError:
            continue
        row["ended"] = record.wait(run, max(0.0, deadline - time.monotonic()))
