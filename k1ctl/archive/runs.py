"""What k1ctl itself does, or did, in each worktree: runs and places in line, read once for all worktrees."""

from __future__ import annotations

import os

from k1ctl.files import read_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


class Runs:
    """The runs and tickets of a repository.

    ``last`` is {real path of a worktree: (seconds since 1970 at which a run in it last changed its record, its label)};
    ``live`` is {real path: sentences on what waits or runs there now}; ``named`` has the same by the workspace's name,
    of what tells no path (a script's lease): it may be another worktree of that name, so it counts for all of them.
    """

    def __init__(self, workspace: Workspace, config: Config) -> None:
        """Reads ``ops/runs`` and the queue; what is not readable there is passed over, as the queue does."""
        self.last: dict[str, tuple[float, str]] = {}
        self.live: dict[str, list[str]] = {}
        self.named: dict[str, list[str]] = {}
        self.paths: dict[str, str] = {}
        base = workspace.ops_path("runs")
        for run in sorted(os.listdir(base)) if os.path.isdir(base) else ():
            self._run(os.path.join(base, run))
        self._queue(workspace, config)

    def _run(self, folder: str) -> None:
        from k1ctl.process.record import Run, alive

        record = read_json(os.path.join(folder, "run.json"))
        if not isinstance(record, dict) or not record.get("workspace_path"):
            return
        run = os.path.basename(folder)
        path = self.paths[run] = os.path.realpath(str(record["workspace_path"]))
        label = str(record.get("label") or record.get("kind") or "a run")
        try:
            at = os.stat(os.path.join(folder, "run.json")).st_mtime
        except OSError:
            return
        if at > self.last.get(path, (0.0, ""))[0]:
            self.last[path] = at, label
        if record.get("state") != "ended" and alive(Run(folder, {"run": run})):
            self.live.setdefault(path, []).append(f"{label} (run {run})")

    def _queue(self, workspace: Workspace, config: Config) -> None:
        from k1ctl.queue import view
        from k1ctl.queue.folder import queue_folder

        for entry in view.entries(queue_folder(workspace, config)):
            if entry["state"] == "dead":
                continue
            told = f"ticket {entry['ticket']} for {', '.join(entry['resources'])} is {entry['state']}"
            path = self.paths.get(str(entry.get("run", "")))
            if path is not None:
                self.live.setdefault(path, []).append(told)
            else:
                self.named.setdefault(_name(entry), []).append(told)

    def of(self, path: str) -> list[str]:
        """What waits or runs in the worktree at ``path``."""
        path = os.path.realpath(path)
        return [*self.live.get(path, ()), *self.named.get(os.path.basename(path), ())]


def _name(entry: dict[str, Any]) -> str:
    return str(entry.get("workspace", ""))
