"""From a target to a flash: choose and check the image, stand in line, let the flash worker work, read its outcome."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl import events
from k1ctl.errors import BusyError, K1ctlError, UsageError
from k1ctl.files import read_json, write_json
from k1ctl.process import record
from k1ctl.process.attempt import ANY_SIGNAL
from k1ctl.process.launch import launch
from k1ctl.process.spec import RunSpec
from k1ctl.queue import names
from k1ctl.signals import signals
from k1ctl.transports import Delivery
from k1ctl.units import rfc3339
from k1ctl.workspace import host_dir
from k1ctl_plugins.upload import absent, images, ledger, outcome, stale, transports, trouble, verification
from k1ctl_plugins.upload.progress import FlashView
from k1ctl_plugins.upload.transports import PYTHON
from k1ctl_plugins.upload.ways import Way, Ways

if TYPE_CHECKING:
    from k1ctl.artifacts import Artifact
    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.process.attempt import Ending
    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace

RETRY_ON = (outcome.UNREACHABLE, outcome.UNKNOWN, ANY_SIGNAL)
_NEVER_BEGAN = ("caller-gone", "queue-timeout", "queue-cancelled", "cancelled", "device-guarded")
_LOOK = 0.2  # s between two looks at the log of an upload that is taken up


class Plan:
    """What will be sent where and how: the ``artifact`` on one of the ``ways``, by the rules of the queue."""

    def __init__(self, ways: Ways, artifact: Artifact, **rules: Any) -> None:
        self.ways, self.artifact, self.rules = ways, artifact, rules
        delivery = ways.open[0].delivery
        self.target, self.kind, self.full = delivery.target, delivery.kind, delivery.full
        self.warnings: list[str] = []

    @property
    def what(self) -> str:
        """What is sent, as people read it in the queue."""
        image = "" if self.kind == images.APP else f" {self.kind}"
        return f"{self.target}{image} {self.artifact.id}"

    def document(self, way: Way | None = None) -> dict[str, Any]:
        """What is sent, by ``way``; None: by the only one, or whichever the queue will give."""
        ways = [way] if way else self.ways.open
        keys = ("name", "host", "mac", "ota_port", "http_port", "interface")
        devices = [{k: each.device[k] for k in keys} for each in ways]
        one = len(ways) == 1
        return {
            "target": self.target,
            "image_kind": self.kind,
            "artifact": self.artifact.id,
            "image": self.artifact.image,
            "bytes": self.artifact.size,
            "sha256": self.artifact.sha256,
            "device": devices[0] if one else {"name": self.ways.asked},
            **({} if one else {"candidates": devices}),
            "transport": "/".join(dict.fromkeys(each.transport.name for each in ways)),
            **({"full": True} if self.full else {}),
            "soak_seconds": max(each.checks["soak"] for each in ways),
        }


def make_plan(
    workspace: Workspace,
    config: Config,
    plugins: Plugins,
    *,
    target: str | None,
    device: str | None,
    artifact: str,
    build_first: bool,
    filesystem: bool = False,
    force: bool = False,
    interface: str = "",
    via: str = transports.AUTO,
    full: bool = False,
    soak: float | None = None,
    wait_limit: float | None = None,
    priority: str = "normal",
    dry_run: bool = False,
) -> Plan:
    """Settle target, device, transport and image, and check what can be checked before standing in line: the image,
    that the password is there and the interface known, that the device is on USB where it is to go that way.
    ``soak``: seconds for which the device is watched afterwards (None: its own setting). ``dry_run`` keeps and builds
    nothing.

    Raises ConfigError, UsageError, WrongDataError, and what a failed build says.
    """
    workspace.check_inside()
    name = target or config.get("defaults", "target")
    settings = config.named("targets", name)
    asked = device or settings["device"] or config.get("defaults", "device")
    wish = images.Wish(artifact, build=build_first, filesystem=filesystem, force=force, dry_run=dry_run)
    wish.check()
    if filesystem and full:
        raise UsageError("--filesystem and --full exclude each other")

    def deliver(where: dict[str, Any]) -> Way:
        return Way(Delivery(workspace, config, name, settings, where, kind=wish.kind, full=full), plugins, via)

    ways = Ways.find(workspace, config, asked, interface, deliver)

    def build() -> str:
        if not filesystem:
            return _build(workspace, name, wait_limit)
        from k1ctl_plugins.upload import buildfs

        return buildfs.build(workspace, config, name, settings, wait_limit)

    chosen, warnings = images.choose(workspace, name, settings, wish, build)
    ways.carry(chosen, soak)
    absent.leave_out(workspace, ways)
    plan = Plan(ways, chosen, wait=wait_limit, priority=priority)
    plan.warnings += [*ways.warnings, *warnings]
    if not artifact and not build_first:
        plan.warnings += stale.warnings(workspace, images.shelf_of(name, wish.kind), settings)
    return plan


def _build(workspace: Workspace, target: str, wait: float | None) -> str:
    """Run `k1ctl build` as a user would, waiting at most ``wait`` seconds, and return the id of what it made."""
    import json
    import subprocess

    limit = [] if wait is None else ["--wait", f"{wait:f}"]
    argv = [*PYTHON, "k1ctl", "--root", workspace.root, "build", target, *limit, "--json"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, cwd=workspace.path, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {}
    if done.returncode == 0 and "artifact" in answer:
        return str(answer["artifact"]["id"] if isinstance(answer["artifact"], dict) else answer["artifact"])
    problem = answer.get("error", {})
    error = K1ctlError(
        f"nothing was sent: {problem.get('message', 'the build failed')}",
        hint=problem.get("hint", ""),
        code=problem.get("code", "build-failed"),
    )
    error.exit_code = done.returncode if done.returncode > 0 else 1
    raise error


def upload(workspace: Workspace, config: Config, plan: Plan) -> dict[str, Any]:
    """Stand in line, flash, and return the outcome document. Raises K1ctlError for all but ``installed``."""
    ota, ways = config.section("ota"), plan.ways
    asked = f"device:{ways.asked}"
    spec = RunSpec(
        "upload",
        [*ways.open[0].transport.worker(), "RUN"],
        {ways.resource: 1},
        cwd=workspace.root,
        wait=plan.rules["wait"],
        timeout=ways.limit,
        priority=plan.rules["priority"],
        attempts=max(1, ota["attempts"]),
        delay=ota["retry_delay"],
        backoff="exponential",
        retry_on=RETRY_ON,
        key=names.stable_key(workspace.path, asked, plan.target, *([] if plan.kind == images.APP else [plan.kind])),
        label=f"upload {plan.what}",
        on_caller_exit="keep",
        details=plan.document(),
    )

    def before(run: Run, spec: RunSpec) -> None:
        way = ways.to(spec.device)
        if spec.device:
            run.save(details=plan.document(way))
        job = {
            "run": run.id,
            "workspace": workspace.name,
            "host_dir": host_dir(),
            "device": way.device,
            "image": plan.artifact.image,
            "image_kind": plan.kind,
            "sha256": plan.artifact.sha256,
            "ota": ota,
            **way.job,
        }
        write_json(os.path.join(run.folder, "flash.json"), job, mode=0o600)
        spec.argv, spec.timeout = [*way.transport.worker(), run.folder], way.limit
        ledger.begin(workspace, run)

    def after(run: Run, ending: Ending) -> dict[str, Any]:
        done = outcome.read(run)
        if done["outcome"] == "installed" and not done.get("verification"):
            done["verification"] = verification.catch_up(run, ending)
        ledger.settle(workspace, run, done)
        _note(workspace, run, done)
        trouble.raise_unless_well(workspace, run, done)
        return done

    finished = launch(workspace, config, spec, before=before, after=after, view=FlashView(ways.asked))
    ending = finished.ending
    if ending.result is not None:
        return ending.result
    if ending.code == "supervisor-lost" and finished.folder:
        fallback = {"run": finished.run, "details": spec.details}
        left = read_json(os.path.join(finished.folder, "run.json"))
        return _told(workspace, record.Run(finished.folder, left or fallback))
    raise _as_error(ending, finished.run)


def _note(workspace: Workspace, run: Run, done: dict[str, Any]) -> None:
    fields = {k: done.get(k) for k in ("outcome", "code", "message", "transfer_seconds")}
    # the transport that it was, where `auto` was asked for; when the device said OK: what follows is verification
    fields |= {k: done[k] for k in ("transport", "installed_at") if k in done}
    fields["verification"] = (done.get("verification") or {}).get("state", "")
    events.emit(workspace, "upload.finished", run=run.id, **{**run.record.get("details", {}), **fields})


def _as_error(ending: Ending, run: str) -> K1ctlError:
    """An ending that is not the flash's own: never let in, the caller left, a bug, a full disk."""
    told = ending.error or {}
    details = {k: v for k, v in told.items() if k not in ("code", "message", "hint", "exit_code")}
    details |= {"run": run} if run else {}
    return outcome.error(ending.exit_code, ending.message, told.get("hint", ending.hint), ending.code, **details)


def take_up(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """Wait for an upload that goes on without its caller and return its outcome document. Raises as `upload` does,
    also when it is this call that ^C or TERM ends (code caller-left)."""
    run = record.load(workspace, run_id)
    if run.record.get("kind") != "upload":
        raise UsageError(f"run {run_id} is not an upload", hint=f"k1ctl queue wait {run_id}")
    view = FlashView(run.record["details"]["device"]["name"])
    told: list[int] = []
    handlers = [(n, signals.signal(n, lambda n, _: told.append(n))) for n in (signals.SIGINT, signals.SIGTERM)]
    try:
        offset, over = 0, record.end_of(run)
        while not over.wait(_LOOK) and not told:
            data = _grown(run.log, offset)
            if data and not offset:  # it works: of a group, the record knows the device now
                record.reload(run)
                view.device = run.record["details"]["device"]["name"]
            offset += len(data)
            view.output(1, data)
    finally:
        view.closed()
        for number, handler in handlers:
            signals.signal(number, handler)
    if told and not over.is_set():
        why, hint = f"run {run.id} goes on without this call", f"k1ctl upload --wait {run.id} takes it up again"
        raise outcome.error(128 + told[0], why, hint, "caller-left", run=run.id)
    record.reload(run)
    return _told(workspace, run)


def _grown(path: str, offset: int) -> bytes:
    """What a log has from ``offset`` on; nothing when somebody cleaned it away."""
    try:
        with open(path, "rb") as f:
            f.seek(offset)
            return f.read()
    except FileNotFoundError:
        return b""


def _told(workspace: Workspace, run: Run) -> dict[str, Any]:
    """The outcome document of a run that is over, from its record. Raises as `upload` does.

    A supervisor that was killed left no end in the record: it is written now, so that everybody hears the same.
    """
    kept = run.record
    if kept.get("result") is not None:
        return dict(kept["result"])
    if kept.get("error"):
        raise outcome.error(**{"run": run.id, **kept["error"]})
    began = os.path.exists(os.path.join(run.folder, "flash-outcome.json"))
    if not began and (kept.get("state") == "waiting" or kept.get("code") in _NEVER_BEGAN):
        raise BusyError(
            f"run {run.id} left the line before its turn; nothing was sent",
            hint="upload again: the place is kept for a while",
            code="never-began",
            run=run.id,
        )
    done = outcome.read(run)
    if done["outcome"] == "installed" and not done.get("verification"):
        done["verification"] = verification.lost()
    _note(workspace, run, done)
    failure: K1ctlError | None = None
    try:
        trouble.raise_unless_well(workspace, run, done)
    except K1ctlError as exc:
        failure = exc
    by = failure.document()["error"] if failure else done
    facts = {"by": "k1ctl", **{key: by[key] for key in ("exit_code", "code", "message")}}
    told = {"result": None if failure else done, "error": failure and failure.document()["error"]}
    try:
        run.save(state="ended", ended_at=rfc3339(), **told, **facts)
    except OSError:
        pass  # the next one who asks finds out for himself
    if failure:
        raise failure
    return done
