"""From a target to a flash: choose and check the image, stand in line, let the flash worker work, read its outcome."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from k1ctl import artifacts, events
from k1ctl.errors import BusyError, K1ctlError, OutcomeUnknownError, UnreachableError, UsageError, WrongDataError
from k1ctl.files import read_json, write_json
from k1ctl.process import record
from k1ctl.process.attempt import ANY_SIGNAL
from k1ctl.process.launch import launch
from k1ctl.process.spec import RunSpec
from k1ctl.queue import names
from k1ctl.workspace import host_dir
from k1ctl_plugins.upload.progress import FlashView

if TYPE_CHECKING:
    from k1ctl.artifacts import Artifact
    from k1ctl.config import Config
    from k1ctl.process.attempt import Ending
    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace

RETRY_ON = (UnreachableError.exit_code, OutcomeUnknownError.exit_code, ANY_SIGNAL)
_NEVER_BEGAN = ("caller-gone", "queue-timeout", "queue-cancelled")
_ERRORS = {65: WrongDataError, 69: UnreachableError, 75: BusyError, 76: OutcomeUnknownError}


class Plan:
    """What will be sent where: the ``artifact`` of ``target``, the ``device``'s settings, the rules of the queue."""

    def __init__(
        self, target: str, settings: dict[str, Any], device: dict[str, Any], artifact: Artifact, **rules: Any
    ) -> None:
        self.target, self.settings, self.device, self.artifact, self.rules = target, settings, device, artifact, rules

    def document(self) -> dict[str, Any]:
        device = {k: self.device[k] for k in ("name", "host", "mac", "ota_port", "http_port")}
        return {
            "target": self.target,
            "artifact": self.artifact.id,
            "image": self.artifact.image,
            "bytes": self.artifact.size,
            "sha256": self.artifact.sha256,
            "device": device,
        }


def make_plan(
    workspace: Workspace,
    config: Config,
    *,
    target: str | None,
    device: str | None,
    artifact: str,
    build_first: bool,
    wait_limit: float | None = None,
    priority: str = "normal",
) -> Plan:
    """Settle target, device and image, and check the image. Raises ConfigError, WrongDataError, K1ctlError."""
    from k1ctl.device.image import check_image

    name = target or config.get("defaults", "target")
    settings = config.named("targets", name)
    device_name = device or settings["device"] or config.get("defaults", "device")
    where = {"name": device_name, **config.named("devices", device_name)}
    if not where["host"]:
        hint = f"set [devices.{device_name}] host in {config.path}"
        raise UsageError(f"device {device_name} has no host", hint=hint, code="no-host")
    if build_first and artifact:
        raise UsageError("--build and --artifact exclude each other")
    if build_first:
        artifact = _build(workspace, name)
    chosen = _choose(workspace, name, artifact)
    check_image(chosen.read(), settings["chip"], settings["partition_size"])
    return Plan(name, settings, where, chosen, wait=wait_limit, priority=priority)


def _build(workspace: Workspace, target: str) -> str:
    """Run `k1ctl build` as a user would and return the id of what it made."""
    import json
    import subprocess

    argv = [sys.executable, "-m", "k1ctl", "--root", workspace.root, "build", target, "--json"]
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


def _choose(workspace: Workspace, target: str, wanted: str) -> Artifact:
    """The artifact that was named, or this workspace's newest; a file is taken into the artifacts first."""
    looks_like_path = os.sep in wanted or wanted.endswith(".bin")
    if not looks_like_path:
        return artifacts.find(workspace, target, wanted)
    path = os.path.join(os.getcwd(), os.path.expanduser(wanted))
    if not os.path.isfile(path):
        raise WrongDataError(f"{wanted} is not a file", code="no-artifact")
    facts: dict[str, Any] = {
        "commit": None,
        "dirty": None,
        "environment": "",
        "tools": {},
        "seconds": None,
        "run": "",
        "from": path,
    }
    return artifacts.store(workspace, target, {"firmware.bin": path}, facts)


def upload(workspace: Workspace, config: Config, plan: Plan) -> dict[str, Any]:
    """Stand in line, flash, and return the outcome document. Raises K1ctlError for all but ``installed``."""
    ota = config.section("ota")
    resource = f"device:{plan.device['name']}"
    spec = RunSpec(
        "upload",
        [sys.executable, "-m", "k1ctl.device.flash", "RUN"],
        {names.check_resource(resource): 1},
        cwd=workspace.root,
        wait=plan.rules["wait"],
        timeout=ota["attempt_timeout"] + 30.0,  # the worker keeps the limit itself and ends where it is safe
        priority=plan.rules["priority"],
        attempts=max(1, ota["attempts"]),
        delay=ota["retry_delay"],
        backoff="exponential",
        retry_on=RETRY_ON,
        key=names.stable_key(workspace.path, resource, plan.target),
        label=f"upload {plan.target} {plan.artifact.id}",
        on_caller_exit="keep",
        details=plan.document(),
    )

    def before(run: Run, spec: RunSpec) -> None:
        job = {
            "run": run.id,
            "workspace": workspace.name,
            "host_dir": host_dir(),
            "device": plan.device,
            "image": plan.artifact.image,
            "sha256": plan.artifact.sha256,
            "ota": ota,
        }
        write_json(os.path.join(run.folder, "flash.json"), job, mode=0o600)
        spec.argv = [sys.executable, "-m", "k1ctl.device.flash", run.folder]

    def after(run: Run, ending: Ending) -> dict[str, Any]:
        done = outcome(run)
        fields = {k: done.get(k) for k in ("outcome", "code", "message", "transfer_seconds")}
        events.emit(workspace, "upload.finished", run=run.id, **{**plan.document(), **fields})
        raise_unless_installed(done)
        return done

    finished = launch(workspace, config, spec, before=before, after=after, view=FlashView(plan.device["name"]))
    return conclude(finished.ending, finished.folder)


def conclude(ending: Ending, folder: str) -> dict[str, Any]:
    """The outcome document of a run that is over. Raises what the user has to know instead."""
    if ending.result is not None:
        return ending.result
    if ending.code == "supervisor-lost" and folder:
        done = outcome(record.Run(folder, read_json(os.path.join(folder, "run.json")) or {"run": ""}))
        raise_unless_installed(done)
        return done
    details = {k: v for k, v in (ending.error or {}).items() if k not in ("code", "message", "hint", "exit_code")}
    error = K1ctlError(ending.message, hint=ending.hint, code=ending.code, **details)
    if ending.error:
        error.hint = ending.error["hint"]
    error.exit_code = ending.exit_code
    raise error


def outcome(run: Run) -> dict[str, Any]:
    """What became of the flash, from the worker's last word and the attempts before it.

    ``sending`` left behind means that the worker was killed after it began. An earlier attempt whose outcome is
    unknown may have been installed, so a later failure does not make it certain that nothing was.
    """
    done = read_json(os.path.join(run.folder, "flash-outcome.json"))
    base = {"run": run.id, "folder": run.folder, "attempts": len(run.record.get("attempts", [])) or 1}
    if not isinstance(done, dict):
        text = "the flash never began: its worker was killed or could not write its record"
        return {**base, "outcome": "failed", "code": "flash-failed", "message": text, "exit_code": 1, "hint": ""}
    done = {**done, **base}
    if done["outcome"] == "sending":
        done.update(outcome="unknown", code="outcome-unknown", message="the flash was killed after it began", hint="")
    doubtful = [e for e in done.get("earlier", []) if e["outcome"] in ("sending", "unknown")]
    if done["outcome"] not in ("installed", "unknown") and doubtful:
        text = f"an earlier attempt may have been installed; the last: {done['message']}"
        done.update(outcome="unknown", message=text)
    if done["outcome"] == "unknown":
        done.update(exit_code=OutcomeUnknownError.exit_code, code="outcome-unknown")
    return done


def raise_unless_installed(done: dict[str, Any]) -> None:
    """Raise the K1ctlError that fits an outcome document, unless the device took the image."""
    code = done["exit_code"]
    if done["outcome"] == "installed" or code == 0:
        return
    hint = done.get("hint", "")
    if done["outcome"] == "unknown":
        hint = "upload again: the same image once more settles it"
    if code == UnreachableError.exit_code:
        hint = (hint + "; " if hint else "") + "if it stays offline, the USB cable is the way back"
    details = {k: done.get(k) for k in ("run", "outcome", "attempts", "uptime_before_ms", "uptime_after_ms")}
    raise _ERRORS.get(code, K1ctlError)(done["message"], hint=hint, code=done["code"], **details)


def take_up(workspace: Workspace, config: Config, run_id: str) -> dict[str, Any]:
    """Wait for an upload that goes on without its caller and return its outcome document."""
    run = record.load(workspace, run_id)
    if run.record.get("kind") != "upload":
        raise UsageError(f"run {run_id} is not an upload", hint=f"k1ctl queue wait {run_id}")
    view = FlashView(run.record["details"]["device"]["name"])
    try:
        offset, over = 0, record.end_of(run)
        while not over.wait(0.2):
            with open(run.log, "rb") as f:
                f.seek(offset)
                data = f.read()
            offset += len(data)
            view.output(1, data)
    finally:
        view.closed()
    record.reload(run)
    if run.record["state"] == "waiting" or run.record.get("code") in _NEVER_BEGAN:
        raise BusyError(
            f"run {run_id} left the line before its turn; nothing was sent",
            hint="upload again: the place is kept for a while",
            code="never-began",
        )
    if run.record["state"] == "ended" and run.record.get("result") is None and run.record.get("error"):
        error = run.record["error"]
        raise _ERRORS.get(error["exit_code"], K1ctlError)(error["message"], hint=error["hint"], code=error["code"])
    done = outcome(run)
    raise_unless_installed(done)
    return done
