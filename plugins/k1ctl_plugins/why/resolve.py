"""What was typed, as what it is asked of: a run, a ticket, a resource, or a workspace and all that is its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.errors import UsageError
from k1ctl.files import read_json
from k1ctl.overview.parts import Sources
from k1ctl.overview.workspaces import worktrees
from k1ctl.queue import names, view
from k1ctl.queue.folder import queue_folder
from k1ctl.reasons import Subject
from k1ctl_plugins.why.proof import Events, time_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.tally import Tally
    from k1ctl.workspace import Workspace

_LAST = "last"
_RUNS = 20  # of a workspace that are looked at
_NEAR = 4  # names that are offered


def resolve(workspace: Workspace, config: Config, what: str) -> Subject:
    """The subject that ``what`` names; "" is the workspace of this call. Raises UsageError (unknown-subject,
    ambiguous) naming what is near."""
    return Resolver(workspace, config).resolve(what)


class Resolver:
    """What there is to be asked of."""

    def __init__(self, workspace: Workspace, config: Config) -> None:
        self.workspace, self.config = workspace, config
        sources = Sources(workspace, config)
        entries = view.entries(queue_folder(workspace, config))
        self.entries = [{**entry, "workspace": sources.owner(entry)} for entry in entries]
        self.paths = {os.path.basename(path): path for path, _, _ in worktrees(workspace.root, workspace.git_dir)}
        if workspace.inside or workspace.path == workspace.root:
            self.paths = {n: p for n, p in self.paths.items() if p != workspace.path} | {workspace.name: workspace.path}
        self._tally: Tally | None = None
        self.find = Events(workspace, lambda: self.tally.counts).find

    @property
    def tally(self) -> Tally:
        """What all events come to."""
        if self._tally is None:
            from k1ctl.tally import current

            self._tally = current(self.workspace)
        return self._tally

    def resolve(self, what: str) -> Subject:
        """See `resolve`."""
        if not what:
            return self._workspace(what, self.workspace.name)
        if what == _LAST:
            return self._last()
        if what.isascii() and what.isdigit() and (found := self._ticket(what)):
            return found
        if what in self.paths or what in self._seen():
            return self._workspace(what, what)
        if resource := self._resource(what):
            return self._of_resource(what, resource)
        if found := self._run(what) or self._path(what):
            return found
        raise self._unknown(what)

    def _ids(self) -> list[str]:
        """Run ids, newest first."""
        try:
            return sorted(os.listdir(self.workspace.ops_path("runs")), reverse=True)
        except FileNotFoundError:
            return []

    def _record(self, run: str) -> dict[str, Any]:
        found = read_json(self.workspace.ops_path("runs", run, "run.json")) if run else None
        return found if isinstance(found, dict) and found.get("run") == run else {}

    def _records(self) -> Iterator[dict[str, Any]]:
        return (record for record in map(self._record, self._ids()) if record)

    def _seen(self) -> set[str]:
        """Workspaces that the queue and the events know."""
        return {*self.tally.workspaces} | {str(e["workspace"]) for e in self.entries if e.get("workspace")}

    def _workspace(self, what: str, name: str) -> Subject:
        runs = []
        for record in self._records():
            if record.get("workspace") == name:
                runs.append(record)
                if len(runs) == _RUNS:
                    break
        mine = [e for e in self.entries if e.get("workspace") == name]
        path = self.paths.get(name, "")
        if not path and runs and os.path.isdir(there := str(runs[0].get("workspace_path") or "")):
            path = there  # its name is not that of its folder
        return Subject(what, workspace=name, path=path, runs=runs, tickets=mine, find=self.find)

    def _last(self) -> Subject:
        first = None
        for record in self._records():
            first = first or record
            if record.get("workspace") == self.workspace.name:
                return self._of_run(_LAST, record["run"])
        if first is None:
            raise UsageError("nothing was run here yet", hint="k1ctl why", code="unknown-subject")
        return self._of_run(_LAST, first["run"])

    def _of_run(self, what: str, run: str) -> Subject:
        record = self._record(run)
        mine = [entry for entry in self.entries if entry.get("run") == run]
        return Subject(
            what,
            workspace=str(record.get("workspace") or (mine[0].get("workspace", "") if mine else "")),
            run=run,
            ticket=int(record.get("ticket") or (mine[0]["ticket"] if mine else 0)),
            path=str(record.get("workspace_path", "")),
            runs=[record] if record else [],
            tickets=mine,
            find=self.find,
        )

    def _ticket(self, what: str) -> Subject | None:
        number = int(what)
        entry = next((e for e in self.entries if e["ticket"] == number), None)
        if entry is None:
            record = next((r for r in self._records() if r.get("ticket") == number), None)
            return self._of_run(what, record["run"]) if record else None
        if self._record(str(entry.get("run", ""))):
            return self._of_run(what, entry["run"])
        named = str(entry.get("workspace", ""))
        return Subject(what, workspace=named, ticket=number, tickets=[entry], find=self.find)

    def _run(self, what: str) -> Subject | None:
        """A run by its id, or by a beginning that no other one has."""
        if not what[:1].isdigit():
            return None
        fitting = [run for run in self._ids() if run.startswith(what)]
        if len(fitting) > 1 and what not in fitting:
            shown = ", ".join(fitting[:_NEAR])
            more = f" and {len(fitting) - _NEAR} more" if len(fitting) > _NEAR else ""
            raise UsageError(f"{len(fitting)} runs begin with {what}: {shown}{more}", hint="name one", code="ambiguous")
        return self._of_run(what, what if what in fitting else fitting[0]) if fitting else None

    def _resources(self) -> set[str]:
        """Resources that are configured, held or waited for, or were."""
        found = {*self.tally.waits}
        found |= {r for entry in self.entries for r in names.lines(entry["resources"])}
        found |= {f"device:{name}" for name in self.config.names("devices")}
        found |= {f"build:{name}" for name in self.config.names("targets")}
        return found | {*self.config.section("queue").get("slots", {})}

    def _resource(self, what: str) -> str:
        """The resource of that name: as it is written, or of the device or target so called; "" for none."""
        known = self._resources()
        return next((r for r in (what, f"device:{what}", f"build:{what}") if r in known), "")

    def _of_resource(self, what: str, resource: str) -> Subject:
        mine = [e for e in self.entries if resource in names.lines(e["resources"])]
        return Subject(what, resource=resource, tickets=mine, find=self.find)

    def _path(self, what: str) -> Subject | None:
        """The workspace that a path lies in. Raises UsageError for one of another repository."""
        from k1ctl.workspace import find_checkout

        if not os.path.exists(what):
            return None
        there = find_checkout(what if os.path.isdir(what) else os.path.dirname(os.path.abspath(what)))
        if there is None or there[1] != self.workspace.root:
            where = f"of {there[1]}" if there else "in no repository"
            hint = f"k1ctl --root {there[1]} why" if there else "name a workspace, a ticket or a run"
            raise UsageError(f"{what} is {where}, not of {self.workspace.root}", hint=hint, code="unknown-subject")
        name = next((n for n, path in self.paths.items() if path == there[0]), os.path.basename(there[0]))
        return self._workspace(what, name)

    def _unknown(self, what: str) -> UsageError:
        from difflib import get_close_matches

        known = {*self.paths, *self._seen(), *self._resources(), *self.config.names("devices")}
        near = get_close_matches(what, sorted(known), _NEAR, 0.5)
        near += [n for n in sorted(known) if what.lower() in n.lower() and n not in near]
        hint = f"near it: {', '.join(near[:_NEAR])}" if near else "k1ctl status shows all there is"
        if time_of(what) and not near:
            hint = "of a run of another repository: k1ctl --root FOLDER why RUN; old ones go ([process] keep_runs)"
        text = f"there is no workspace, ticket, run, resource or device {what!r} that k1ctl knows here"
        return UsageError(text, hint=hint, code="unknown-subject")
