"""Which image a device goes back to, and the upload that puts it there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from k1ctl import artifacts
from k1ctl.device import images, reach
from k1ctl.errors import K1ctlError, UsageError, WrongDataError
from k1ctl.output import clean, say
from k1ctl.signals import signals
from k1ctl_plugins.device.rollback import pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

# -P: a file in the repository that is named like a module must not be imported in its place.
_K1CTL = (sys.executable, "-P", "-m", "k1ctl")
AUTO, USB = "auto", "usb"  # of `upload --via`
# How an upload over the network ends where the device crashes in the middle of it.
_BY_CABLE = ("device-offline", "device-garbage", "ota-no-connect", "ota-interrupted", "ota-protocol", "outcome-unknown")
SOAK_SECONDS = 20.0  # where nothing else says how long


class ToldError(K1ctlError):
    """The upload's error, which the upload has told on stderr; ``more`` is what the rollback adds to it."""

    more = ""


class Plan:
    """Back to ``entry`` of the ledger on ``device`` by ``via``, watched for ``soak`` seconds; ``current`` is what is
    replaced. ``lifts``: why an incident paused the device's queue, which ends for it; "" when none did."""

    def __init__(
        self, device: str, entry: dict[str, Any], current: dict[str, Any] | None, soak: float, via: str, lifts: str
    ) -> None:
        self.device, self.entry, self.current, self.soak = device, entry, current, soak
        self.via, self.lifts = via, lifts

    def document(self) -> dict[str, Any]:
        about = {"device": self.device, "image": self.entry, "replaces": self.current, "soak_seconds": self.soak}
        return {**about, "via": self.via, "lifts": self.lifts}


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
    workspace: Workspace,
    config: Config,
    name: str | None,
    *,
    to: str = "",
    soak: float | None = None,
    via: str = AUTO,
    force: bool,
) -> Plan:
    """Choose the image: the last one that passed its soak and has not been found not to do since, or the one whose id
    begins with ``to``.

    Raises WrongDataError (codes no-good-image, no-artifact, artifact-damaged), K1ctlError (code runs-already),
    BusyError (code device-out-of-service), UsageError, ConfigError.
    """
    if soak == 0:
        raise UsageError("a rollback has to pass a soak", hint="--soak 20s, or leave it out")
    device, settings = _device(config, name)
    ledger = images.read(workspace, device)
    entry = _named(device, ledger, to) if to else images.good(ledger)
    if entry is None and ledger["soaked"]:
        last, count = ledger["soaked"][0]["artifact"], len(ledger["soaked"])
        those = f"the only image that passed a soak on {device}, {last}, has"
        if count > 1:
            those = f"all {count} images that passed a soak on {device}, the last one {last}, have"
        raise WrongDataError(
            f"{those} failed since",
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
    seconds = soak or settings["soak"] or entry.get("soak_seconds") or SOAK_SECONDS
    lifts = pause.of_incident(workspace, config, device)
    if via == AUTO and reach.only_over_usb(workspace, config, {**settings, "name": device}):
        via = USB
    return Plan(device, entry, ledger["current"], seconds, via, lifts)


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


def roll_back(workspace: Workspace, config: Config, plan: Plan, *, wait_limit: float | None) -> dict[str, Any]:
    """Upload the image as a user would, before all who wait; the upload's answer, and what was replaced.

    Raises what the upload says.
    """
    from k1ctl.events import emit

    entry, current = plan.entry, plan.current
    emit(
        workspace,
        "device.rollback",
        device=plan.device,
        artifact=entry["artifact"],
        replaces=current["artifact"] if current else "",
        was=current["verification"] or current["outcome"] if current else "",
        via=plan.via,
        lifts=plan.lifts,
    )
    argv = [*_K1CTL, "--root", workspace.root, "upload", entry["target"], "--artifact", entry["artifact"], "--json"]
    argv += ["--device", plan.device, "--soak", f"{plan.soak:f}", "--via", plan.via, "--priority", pause.PRIORITY]
    argv += [] if wait_limit is None else ["--wait-limit", f"{wait_limit:f}"]

    def begun(over: Callable[[], bool]) -> None:
        stands = bool(plan.lifts) and pause.in_line(workspace, config, plan.device, over)
        if stands and pause.lift(workspace, config, plan.device, entry["artifact"]):
            say(f"device:{plan.device} goes on for this rollback: it was paused: {clean(plan.lifts)}")

    status, answer = _called(argv, workspace.path, begun)
    if status == 0 and answer.get("ok"):
        return {**{k: v for k, v in answer.items() if k != "ok"}, "replaces": current, "lifts": plan.lifts}
    raise _failed(plan, status, answer.get("error", {}))


def _failed(plan: Plan, status: int, told: dict[str, Any]) -> K1ctlError:
    """The upload's error as the rollback's: behind the network, the cable is what is left."""
    details = {k: v for k, v in told.items() if k not in ("code", "message", "hint", "exit_code")}
    again = f"k1ctl device rollback {plan.device} --via usb"
    hint = str(told.get("hint", "")).replace("upload again", "call it again").replace("k1ctl upload --via usb", again)
    if told.get("transport") == "ota" and told.get("code") in _BY_CABLE and again not in hint:
        hint += f"{'; ' if hint else ''}with its USB cable on this host: {again}"
    said = str(told.get("message", f"the upload ended with exit code {status}"))
    open_end = told.get("outcome") in ("installed", "unknown") or told.get("code") == "caller-left"
    error = (ToldError if told else K1ctlError)(
        said if open_end else f"not rolled back: {said}",
        hint=hint,
        code=told.get("code", "upload-failed"),
        **details,
    )
    error.exit_code = status if status > 0 else 128 - status
    if isinstance(error, ToldError):
        added = [*([] if open_end else ["not rolled back"]), *([hint] if hint != told.get("hint", "") else [])]
        error.more = "; ".join(added)
    return error


def _called(argv: list[str], cwd: str, begun: Callable[[Callable[[], bool]], None]) -> tuple[int, dict[str, Any]]:
    """Run k1ctl; its exit code and its JSON answer. ^C reaches it through the terminal, TERM is passed on.

    ``begun(over)`` is called once it runs; ``over()`` tells whether it has ended. When that fails it is ended.
    """
    import json
    import subprocess

    kept = [(n, signals.signal(n, lambda *_: None)) for n in (signals.SIGINT, signals.SIGTERM)]
    try:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:
            signals.signal(signals.SIGTERM, lambda *_: process.terminate())
            try:
                begun(lambda: process.poll() is not None)
            except BaseException:
                process.terminate()
                raise
            out = process.communicate()[0]
    finally:
        for number, handler in kept:
            signals.signal(number, handler)
    try:
        answer = json.loads(out)
    except ValueError:
        answer = {}
    return process.returncode, answer if isinstance(answer, dict) else {}
