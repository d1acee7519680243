"""The way of a build: plan it, run it under its leases, read its log, keep what it made."""

from __future__ import annotations

import os
import time

from k1ctl import artifacts, events, retention
from k1ctl.builds import BuildKind, BuildRequest, BuildResult, SourceState, made_of
from k1ctl.errors import ConfigError, K1ctlError, UsageError
from k1ctl.output import say
from k1ctl.plugins import PluginError
from k1ctl.queue import names
from k1ctl_plugins.build import forecast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.builds import BuildCommand
    from k1ctl.capacity.need import Need
    from k1ctl.cli import Context
    from k1ctl.plugins import Plugins
    from k1ctl.process.attempt import Ending
    from k1ctl.process.launch import Outcome
    from k1ctl.process.record import Run
    from k1ctl.process.spec import RunSpec
    from k1ctl.process.view import View


def _need(request: BuildRequest) -> tuple[Need, str]:
    """What a build of this target is known to take of the host, and where that is from."""
    from k1ctl.capacity import twopart
    from k1ctl.capacity.need import Need

    memory, origin = twopart.heavy(request.config, f"build:{request.target}")
    return Need(memory), origin


class Plan:
    """A build that was asked for and can be run: request, kind, command, the resources it takes, the ``need`` that the
    host has to promise (``need_origin``: where the figure is from), and the seconds that it is ``expected`` to run
    (None: unknown)."""

    def __init__(self, request: BuildRequest, kind: BuildKind, options: dict[str, Any]) -> None:
        self.request, self.kind, self.options = request, kind, options
        self.command: BuildCommand = kind.prepare(request)
        self.from_nothing = kind.from_nothing(request, self.command)
        self.expected = forecast.expected(request, self.command, self.from_nothing)
        tree = names.stable_key(os.path.realpath(request.workspace.path))[:12]
        build = names.check_resource(f"build:{request.target}")
        self.resources = {build: 1, f"tree:{tree}": 1}
        self.need, self.need_origin = _need(request)
        self._state: SourceState | None = None
        self._sources = ""

    def spec(self) -> RunSpec:
        """The run this plan asks for."""
        from k1ctl.process.spec import RunSpec

        request, command = self.request, self.command
        timeout = self.options["timeout"]
        release = ["--release"] if request.release else []
        return RunSpec(
            "build",
            command.argv,
            self.resources,
            cwd=command.cwd,
            env=command.env,
            wait=self.options["wait"],
            timeout=request.config.get("build", "timeout") if timeout is None else timeout,
            priority=self.options["priority"],
            key=names.stable_key(request.workspace.path, "build", request.target, command.variant, *release),
            label=" ".join(["build", request.target, *release]),
            need=self.need,
            soft=True,
            details={
                "target": request.target,
                "environment": command.variant,
                "clean": request.clean,
                "release": request.release,
            },
        )

    def before(self, run: Run, spec: RunSpec) -> None:
        """In the supervisor, leases held: note the sources, tidy up, and share the cores with the other builds.

        From here on what was built before is not the newest: a build killed with its supervisor can say no more.
        """
        self._state = self._look()
        self.kind.begin(self.request, self.command)
        artifacts.note_failed(self.request.workspace, self.request.target, run.id)
        spec.argv = self.command.with_jobs(self._jobs())
        self.command.began_ns = time.time_ns()

    def _look(self) -> SourceState:
        return SourceState(self.request.workspace.path, self.request.project)

    def _jobs(self) -> int:
        """Compilers for this build: cores / builds active, never below cores / slots."""
        from k1ctl.queue.folder import queue_folder
        from k1ctl.queue.view import entries

        config = self.request.config
        fixed = int(config.get("build", "jobs"))
        if fixed:
            return fixed
        cores = os.cpu_count() or 1
        held = entries(queue_folder(self.request.workspace, config))
        active = sum(e["state"] == "running" and any(r.startswith("build:") for r in e["resources"]) for e in held)
        slots = int(config.slots(f"build:{self.request.target}"))
        return int(max(1, cores // max(active, 1), cores // slots))

    def after(self, run: Run, ending: Ending) -> dict[str, Any]:
        """In the supervisor, leases still held: read the log, keep the artifact. Raises K1ctlError, OSError."""
        later = self._look()
        read = read_logs(self.kind, self.request, run.folder)
        attempts = run.record.get("attempts") or [{}]
        seconds = attempts[-1].get("run_seconds")
        source, self._sources = made_of(self._state or later, later, run.id)
        document = {
            "target": self.request.target,
            "environment": self.command.variant,
            "release": self.request.release,
            "seconds": seconds,
            "expected_seconds": self.expected,
            **read.document(),
            "cache": self.command.cache or None,
            "cache_hits": self.kind.cache_hits(self.request, self.command, read),
            **source,
            "tools": {**self.kind.tool_versions(self.request, self.command), **read.tools},
            "notes": self.command.notes,
            "artifact": None,
        }
        if ending.exit_code == 0:
            document["artifact"] = self._keep(run, read, document).document()
            if seconds is not None:
                forecast.add(self.request, self.command, self.from_nothing, seconds)
            self.kind.end(self.request, self.command)
        else:
            artifacts.note_failed(self.request.workspace, self.request.target, run.id)
            self._name_failure(ending)
        facts = {
            k: v for k, v in document.items() if k not in ("artifact", "warnings", "error_lines", "tools", "notes")
        }
        kept = document["artifact"]["id"] if document["artifact"] else None
        events.emit(
            self.request.workspace,
            "build.finished",
            run=run.id,
            exit_code=ending.exit_code,
            code=ending.code,
            artifact=kept,
            **facts,
        )
        return document

    def _name_failure(self, ending: Ending) -> None:
        """From what the tool's exit code says to what became of the build."""
        if ending.interrupted and ending.code not in ("timed-out", "cancelled"):
            ending.exit_code, ending.by, ending.code, ending.message = 130, "k1ctl", "interrupted", "stopped by ^C"
        elif ending.by == "command" and ending.exit_code < 128:
            ending.exit_code, ending.code, ending.message = 1, "build-failed", f"{self.request.target} does not build"

    def _keep(self, run: Run, read: BuildResult, document: dict[str, Any]) -> artifacts.Artifact:
        request, command = self.request, self.command
        manifest = {
            "environment": command.variant,
            "release": request.release,
            "commit": document["commit"],
            "dirty": document["dirty"],
            "source_note": document.get("source_note"),
            "sources": self._sources,
            "tools": document["tools"],
            "ram_used_bytes": read.ram_used,
            "flash_used_bytes": read.flash_used,
            "seconds": document["seconds"],
            "steps": read.steps,
            "cache": document["cache"],
            "cache_hits": document["cache_hits"],
            "run": run.id,
        }
        try:
            files, whole = self.kind.outputs(request, command), self.kind.every_output_counts
            kept = artifacts.store(request.workspace, request.target, files, manifest, whole=whole)
        except BaseException:
            artifacts.note_failed(request.workspace, request.target, run.id)
            raise
        retention.trim(request.workspace, request.config)
        return kept


def plan(ctx: Context, target: str, *, variant: str, clean: bool, release: bool, **options: Any) -> Plan:
    """Check everything that can be checked beforehand. Raises K1ctlError."""
    ctx.workspace.check_inside()
    request = BuildRequest(ctx.workspace, ctx.config, target, variant=variant, clean=clean, release=release)
    kind = find_kind(ctx.plugins, str(request.settings["kind"]))
    if release and not kind.releases:
        raise UsageError(f"target {target} is of kind {kind.name}, which has no --release")
    return Plan(request, kind, options)


def find_kind(plugins: Plugins, wanted: str) -> BuildKind:
    """The kind of build of this name among all plugins; a broken plugin is told and left out. Raises ConfigError."""
    kinds: dict[str, tuple[BuildKind, str]] = {}
    left_out: list[str] = []
    for plugin, offered in plugins.each("k1ctl_build_kinds"):
        if not isinstance(offered, K1ctlError) and not all(isinstance(kind, BuildKind) for kind in offered):
            offered = PluginError(f"plugin {plugin}, k1ctl_build_kinds: not a list of BuildKind", plugin=plugin)
        if isinstance(offered, K1ctlError):
            left_out.append(offered.message)
            say(f"plugin {plugin} is left out: {offered.message}")
            continue
        for kind in offered:
            if kind.name in kinds:
                raise ConfigError(
                    f"plugins {kinds[kind.name][1]} and {plugin} both add the kind {kind.name!r}",
                    hint="uninstall one of them",
                    code="kind-conflict",
                )
            kinds[kind.name] = (kind, plugin)
    if wanted not in kinds:
        broken = "; ".join(left_out)
        there = f"there are: {', '.join(sorted(kinds))}" + (f"; not loaded: {broken}" if broken else "")
        raise ConfigError(f"there is no kind of build {wanted!r}", hint=there, code="unknown-kind")
    return kinds[wanted][0]


def run(plan: Plan, view: View) -> Outcome:
    """Run the build to its end. Raises BusyError (disk-full) before it is begun."""
    from k1ctl import disk
    from k1ctl.process.launch import launch

    request = plan.request
    for folder in (request.workspace.path, request.workspace.ops):
        disk.check_room(request.config, folder, 0, f"a build of {request.target}")
    return launch(request.workspace, request.config, plan.spec(), before=plan.before, after=plan.after, view=view)


def read_logs(kind: BuildKind, request: BuildRequest, folder: str) -> BuildResult:
    """What a finished run's log tells; standard error may be in a file of its own."""
    reader = kind.reader(request)
    for name in ("log", "log.err"):
        try:
            with open(os.path.join(folder, name), "rb") as f:
                for line in f:
                    reader.feed(line)
        except FileNotFoundError:
            continue
    return reader.result()
