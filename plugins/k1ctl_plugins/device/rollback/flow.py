"""Which image a device goes back to, and the upload that puts it there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from k1ctl import artifacts
from k1ctl.device import images
from k1ctl.errors import K1ctlError, WrongDataError
from k1ctl.signals import signals

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

# -P: a file in the repository that is named like a module must not be imported in its place.
_K1CTL = (sys.executable, "-P", "-m", "k1ctl")
SOAK_SECONDS = 20.0  # where nothing else says how long


class Plan:
    """Back to ``entry`` of the ledger on ``device``, watched for ``soak`` seconds; ``current`` is what is replaced."""

    def __init__(self, device: str, entry: dict[str, Any], current: dict[str, Any] | None, soak: float) -> None:
        self.device, self.entry, self.current, self.soak = device, entry, current, soak

    def document(self) -> dict[str, Any]:
        return {"device": self.device, "image": self.entry, "replaces": self.current, "soak_seconds": self.soak}


def listed(workspace: Workspace, config: Config, name: str | None) -> dict[str, Any]:
    """The device's images as the ledger knows them, each with whether its artifact is ``kept`` whole.

    Raises ConfigError.
    """
    device = _device(config, name)[0]
    ledger = images.read(workspace, device)
    soaked = [{**entry, "kept": _problem(workspace, device, entry) is None} for entry in ledger["soaked"]]
    back = images.good(ledger)
    to = back["artifact"] if back is not None and not images.runs(ledger, back) else ""
    return {"device": device, "current": ledger["current"], "soaked": soaked, "rolls_back_to": to}


def make_plan(
    workspace: Workspace, config: Config, name: str | None, *, to: str = "", soak: float | None = None, force: bool
) -> Plan:
    """Choose the image: the last one that passed its soak and has not been found not to do since, or the one whose id
    begins with ``to``.

    Raises WrongDataError (codes no-good-image, no-artifact, artifact-damaged), K1ctlError (code runs-already),
    ConfigError.
    """
    device, settings = _device(config, name)
    ledger = images.read(workspace, device)
    entry = _named(device, ledger, to) if to else images.good(ledger)
    if entry is None and ledger["soaked"]:
        last = ledger["soaked"][0]["artifact"]
        raise WrongDataError(
            f"the only image that passed a soak on {device}, {last}, has failed since",
            hint=f"--to {last} sends it all the same; k1ctl upload --artifact ID any other",
            code="no-good-image",
        )
    if entry is None:
        raise WrongDataError(
            f"no image has passed a soak on {device}",
            hint="k1ctl upload --soak 20s lets one pass; k1ctl upload --artifact ID sends any",
            code="no-good-image",
        )
    if images.runs(ledger, entry) and not force:
        raise K1ctlError(
            f"{device} runs {entry['artifact']} already, the last image that passed its soak",
            hint="--force sends it again; --to ID another one of k1ctl device rollback --list",
            code="runs-already",
            image=entry,
        )
    problem = _problem(workspace, device, entry)
    if problem is not None:
        raise problem
    return Plan(device, entry, ledger["current"], soak or settings["soak"] or entry.get("soak_seconds") or SOAK_SECONDS)


def _device(config: Config, name: str | None) -> tuple[str, dict[str, Any]]:
    device = name or str(config.get("defaults", "device"))
    return device, config.named("devices", device)


def _named(device: str, ledger: dict[str, Any], wanted: str) -> dict[str, Any]:
    found = [e for e in ledger["soaked"] if len(wanted) >= 4 and e["artifact"].startswith(wanted.lower())]
    if len(found) != 1:
        why = "more than one image begins so" if found else f"no image {wanted} has passed a soak on {device}"
        raise WrongDataError(why, hint="k1ctl device rollback --list shows those that have", code="no-good-image")
    return dict(found[0])


def _problem(workspace: Workspace, device: str, entry: dict[str, Any]) -> WrongDataError | None:
    """Why the image cannot be sent any more."""
    try:
        artifacts.find(workspace, entry["target"], entry["artifact"]).read()
    except WrongDataError as exc:
        what = "is damaged" if exc.code == "artifact-damaged" else "is not kept any more"
        return WrongDataError(
            f"{entry['artifact']}, which passed its soak on {device}, {what}",
            hint="k1ctl device rollback --list shows the others, --to ID takes one; or build it again",
            code=exc.code,
        )
    return None


def roll_back(workspace: Workspace, plan: Plan, *, via: str, wait_limit: float | None) -> dict[str, Any]:
    """Upload the image as a user would; the upload's answer, and what was replaced. Raises what the upload says."""
    from k1ctl.events import emit

    entry, current = plan.entry, plan.current
    emit(
        workspace,
        "device.rollback",
        device=plan.device,
        artifact=entry["artifact"],
        replaces=current["artifact"] if current else "",
        was=current["verification"] or current["outcome"] if current else "",
    )
    argv = [*_K1CTL, "--root", workspace.root, "upload", entry["target"], "--artifact", entry["artifact"], "--json"]
    argv += ["--device", plan.device, "--soak", f"{plan.soak:f}", "--via", via]
    argv += [] if wait_limit is None else ["--wait-limit", f"{wait_limit:f}"]
    status, answer = _called(argv, workspace.path)
    if status == 0 and answer.get("ok"):
        return {**{k: v for k, v in answer.items() if k != "ok"}, "replaces": current}
    told = answer.get("error", {})
    details = {k: v for k, v in told.items() if k not in ("code", "message", "hint", "exit_code")}
    error = K1ctlError(
        f"not rolled back: {told.get('message', f'the upload ended with exit code {status}')}",
        hint=told.get("hint", ""),
        code=told.get("code", "upload-failed"),
        **details,
    )
    error.exit_code = status if status > 0 else 128 - status
    raise error


def _called(argv: list[str], cwd: str) -> tuple[int, dict[str, Any]]:
    """Run k1ctl; its exit code and its JSON answer. ^C reaches it through the terminal, TERM is passed on."""
    import json
    import subprocess

    kept = [(n, signals.signal(n, lambda *_: None)) for n in (signals.SIGINT, signals.SIGTERM)]
    try:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:
            signals.signal(signals.SIGTERM, lambda *_: process.terminate())
            out = process.communicate()[0]
    finally:
        for number, handler in kept:
            signals.signal(number, handler)
    try:
        answer = json.loads(out)
    except ValueError:
        answer = {}
    return process.returncode, answer if isinstance(answer, dict) else {}
