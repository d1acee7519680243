"""The escalation of configured devices: looking at it, going on with it, ending it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.errors import BusyError, K1ctlError, UsageError
from k1ctl.escalation import keeper
from k1ctl.escalation.ladder import CHECK, CLOSED, INCIDENT, OFFLINE, ONLINE, outlook, owed

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace


def names(config: Config, name: str | None) -> list[str]:
    """The device that was named, else every configured one. Raises ConfigError (unknown-device)."""
    if name:
        config.named("devices", name)
        return [name]
    return config.names("devices")


def document(workspace: Workspace, config: Config, name: str) -> dict[str, Any]:
    """What ``--json`` prints of a device."""
    from k1ctl.escalation.prompts import path_of
    from k1ctl.queue.folder import queue_folder
    from k1ctl.queue.view import paused

    state = keeper.load(workspace, name)
    offline = state["offline"]
    rungs = [step for step in state["steps"] if step["episode"] == state["episode"]]
    failures = []
    for who, failure in state["failures"].items():
        prompt = path_of(workspace, failure["run"]) if failure["run"] else ""
        told = {k: failure[k] for k in ("uploads", "tests", "run", "code", "message")}
        failures.append({"workspace": who, **told, "prompt": prompt if prompt and os.path.exists(prompt) else ""})
    return {
        "device": name,
        "state": state["rung"] or "none",
        "since": state["since"] if state["rung"] else "",
        "offline_since": _at(offline["since"]) if offline else "",
        "offline_seconds": round(offline["seconds"], 3) if offline else None,
        "paused": paused(queue_folder(workspace, config)).get(f"device:{name}"),
        "failures": failures,
        "steps": [_step(name, step) for step in rungs],
        "next": outlook(state, keeper.rules(config)),
    }


def _at(seconds: float) -> str:
    from k1ctl.units import rfc3339

    return rfc3339(seconds)


def _step(name: str, step: dict[str, Any]) -> dict[str, Any]:
    """A step with what became of it: ``told`` one row a channel (None: nobody has to be, or not yet)."""
    kept = {k: step[k] for k in ("rung", "at", "reason", "workspace", "run", "code", "told")}
    return {**kept, "key": keeper.key_of(name, step), "notify": step["notify"], "pending": owed(step)}


def check_all(workspace: Workspace, config: Config, plugins: Plugins, names: list[str]) -> None:
    """`check` of each device; what the first of them raised comes when all were checked."""
    failed: K1ctlError | OSError | None = None
    for name in names:
        try:
            check(workspace, config, plugins, name)
        except (K1ctlError, OSError) as exc:
            failed = failed or exc
    if failed is not None:
        raise failed


def check(workspace: Workspace, config: Config, plugins: Plugins, name: str) -> None:
    """Ask the device, unless somebody just did, go on with its ladder, and tell people here and now.

    Raises K1ctlError, OSError; a prober that does not come to an end is no answer, and no failure.
    """
    from k1ctl.device import health
    from k1ctl.device.verdict import OFFLINE as AWAY
    from k1ctl.device.verdict import judge
    from k1ctl.escalation.telling import tell

    device = {**config.named("devices", name), "name": name}
    what, facts = CHECK, {}
    if device["host"]:
        try:
            verdict = judge(health.ask(workspace, device, window=float(config.get("device", "window"))), device)
            what = ONLINE if verdict.reachable else OFFLINE if verdict.state == AWAY else CHECK
            facts = {"message": verdict.message}
        except BusyError:
            pass
    keeper.observe(workspace, config, name, what, apart=False, **facts)
    if what == ONLINE:
        keeper.tidy(workspace, config, name)
    tell(workspace, config, plugins, name)


def close(workspace: Workspace, config: Config, name: str | None, reason: str, *, dry_run: bool) -> dict[str, Any]:
    """End the escalation of a device by a person's word. Raises UsageError, ConfigError, BusyError."""
    if not name or not reason:
        raise UsageError("--close takes the device's NAME and a --reason", hint='--close --reason "cable replaced"')
    config.named("devices", name)
    was = keeper.load(workspace, name)["rung"]
    by = workspace.caller()
    if not dry_run:
        keeper.close(workspace, config, name, f"closed by {by}: {reason}")
    facts = {"device": name, "was": was or "none", "changed": bool(was), "dry_run": dry_run}
    return {**facts, "resumes": was == INCIDENT, "state": CLOSED if was and not dry_run else was or "none"}
