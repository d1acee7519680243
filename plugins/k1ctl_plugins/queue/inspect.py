"""Finding a ticket or a run by what people type, acting on it, and telling it to people."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from k1ctl import events, groups
from k1ctl.errors import BusyError, K1ctlError, UsageError
from k1ctl.files import read_json
from k1ctl.jsontext import dumps
from k1ctl.process import record
from k1ctl.queue import view
from k1ctl.queue.names import priority_name

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.process.view import View
    from k1ctl.workspace import Workspace


class FlashUnderWayError(BusyError):
    """A flash is never interrupted."""

    code = "flash-under-way"


def inspect(workspace: Workspace, config: Config, folder: str, wanted: str) -> dict[str, Any]:
    """Everything known about a ticket number or run id. Raises TicketNotFoundError, RunNotFoundError."""
    try:
        entry = view.find(folder, wanted)
        if entry["state"] == "dead" and not wanted.isdigit():  # the record of the run says more
            raise view.TicketNotFoundError(f"the ticket of {wanted} is dead")
    except view.TicketNotFoundError:
        run = _ended(workspace, int(wanted)) if wanted.isdigit() else record.load(workspace, wanted)
        if run is None:
            raise
        over = not record.alive(run)
        lost = over and run.record["state"] not in ("ended", "lingering")
        return {**run.record, "state": "lost" if lost else run.record["state"], "log": run.log}
    facts = dict(entry)
    stands = view.standing(folder, entry["ticket"], config.slots)
    if stands is not None:
        facts["position"] = stands.position
        facts["expected_start_seconds"] = stands.expected_seconds
        facts["holders"] = stands.holders
        facts["paused"] = stands.paused
    if "run" in entry:
        facts["log"] = workspace.ops_path("runs", entry["run"], "log")
    return facts


def _ended(workspace: Workspace, ticket: int) -> record.Run | None:
    """The newest run that had this ticket number."""
    base = workspace.ops_path("runs")
    for run_id in sorted(os.listdir(base), reverse=True) if os.path.isdir(base) else []:
        try:
            run = record.load(workspace, run_id)
        except record.RunNotFoundError:
            continue
        if run.record.get("ticket") == ticket:
            return run
    return None


def cancel_ticket(workspace: Workspace, folder: str, wanted: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Take a waiting ticket out of the line or tell a running one's supervisor, or a console, to end it.

    Raises TicketNotFoundError, FlashUnderWayError, K1ctlError when its supervisor is gone or a script holds it.
    """
    try:
        entry = view.find(folder, wanted)
    except view.TicketNotFoundError:
        run = _ended(workspace, int(wanted)) if wanted.isdigit() else record.load(workspace, wanted)
        if run is None or run.record["state"] != "ended":
            raise
        told = f"ended at {run.record['ended_at']} with exit code {run.record['exit_code']}"
        raise K1ctlError(f"run {run.id} {told}: there is nothing to cancel", code="already-ended") from None
    by = workspace.caller()
    if entry["state"] == "running" and entry.get("kind") == "script":
        _end_holder(entry, dry_run)
    elif entry["state"] == "running":
        over = _flash_is_over(workspace, entry)
        if entry.get("kind") == "upload" and entry.get("group") and not over:  # without one it waits for the device
            raise FlashUnderWayError(
                f"ticket {entry['ticket']} is a flash under way: it is never interrupted",
                hint=f"k1ctl queue wait {entry.get('run', 'RUN')} waits for it",
            )
        if entry.get("keep") and any(r.startswith("device:") for r in entry["resources"]) and not over:
            raise FlashUnderWayError(
                f"ticket {entry['ticket']} holds a device and was told to go on whatever comes (--on-caller-exit keep)",
                hint=f"end its command itself if you must (process group {entry.get('group')})",
            )
        if not dry_run:
            _stop(entry)
    elif not dry_run and not view.cancel(folder, entry["ticket"], by):
        raise BusyError(f"ticket {entry['ticket']} has just been let in", hint="call again to stop its command")
    if not dry_run:
        events.emit(workspace, "queue.cancelled", ticket=entry["ticket"], run=entry.get("run", ""), by=by)
    return {"ticket": entry["ticket"], "run": entry.get("run", ""), "state": entry["state"], "dry_run": dry_run}


def _end_holder(entry: dict[str, Any], dry_run: bool) -> None:
    """TERM to a command of ours that holds its lease itself: its ticket was seen locked, by a descriptor that it alone
    has. A script is somebody else's: raises K1ctlError (code held-by-script)."""
    if entry.get("holder", "script") == "script":
        raise K1ctlError(
            f"ticket {entry['ticket']} is held by a script (pid {entry.get('owner')}): it cannot be taken from it",
            hint="it ends with the script, or when the script closes its descriptor",
            code="held-by-script",
        )
    if not dry_run:
        try:
            os.kill(int(entry["owner"]), signal.SIGTERM)
        except ProcessLookupError:  # it has just ended
            pass
        except PermissionError:
            raise K1ctlError(
                f"ticket {entry['ticket']} is held by {entry['holder']} (pid {entry['owner']}) of another user",
                hint="whoever runs it ends it",
                code="not-yours",
            ) from None


def _flash_is_over(workspace: Workspace, entry: dict[str, Any]) -> bool:
    """Whether this is an upload whose device has taken the image: only what it does with it is still watched."""
    if entry.get("kind") != "upload":
        return False
    left = read_json(workspace.ops_path("runs", entry.get("run", ""), "flash-outcome.json"))
    return isinstance(left, dict) and left.get("outcome") == "installed"


def _stop(entry: dict[str, Any]) -> None:
    """TERM to the supervisor: its ticket was seen locked, so the pid is its own unless only the command lives on."""
    try:
        if os.getsid(entry["pid"]) == entry["pid"] and groups.living(entry["pid"]):
            os.kill(entry["pid"], signal.SIGTERM)
            return
    except OSError:
        pass
    raise K1ctlError(
        f"the supervisor of ticket {entry['ticket']} is gone; its command (group {entry.get('group', '?')}) lives on",
        hint="the lease ends with it",
        code="supervisor-lost",
    )


def bump_ticket(
    workspace: Workspace, folder: str, wanted: str, priority: str, reason: str, *, dry_run: bool = False
) -> dict[str, Any]:
    """Move a waiting ticket to the front of its priority or into another one; where it stands then.

    Raises TicketNotFoundError, K1ctlError (code not-waiting) for one that does not wait.
    """
    entry = view.find(folder, wanted)
    moved = view.bump(folder, entry["ticket"], priority, dry_run=dry_run)
    if moved is None:
        state = view.find(folder, wanted)["state"]
        why = {"running": "it has been let in", "parked": "its waiter is gone"}.get(state, "its owner is gone")
        raise K1ctlError(f"ticket {entry['ticket']} does not wait: {why}", code="not-waiting")
    before, after = moved
    facts = {
        "ticket": entry["ticket"],
        "run": entry.get("run", ""),
        "priority": priority_name(after.priority),
        "was": priority_name(before.priority),
        "position": view.position(folder, after),
        "changed": before.file != after.file,
    }
    if not dry_run and facts["changed"]:
        by = workspace.caller()
        events.emit(workspace, "queue.bumped", **facts, by=by, reason=reason)
    return {**facts, "dry_run": dry_run}


def check_single(config: Config, resource: str) -> None:
    """A group is no resource that could be paused: who may take one of it holds that device. Raises UsageError."""
    from k1ctl.queue import choice

    group = resource.removeprefix("device:")
    devices = choice.members(config, group) if group != resource else []
    if devices and devices != [group]:
        raise UsageError(
            f"{resource} is a group of devices: {', '.join(devices)}",
            hint=f"pause each by itself, as in: k1ctl queue pause device:{devices[0]}",
        )


def wait_for(
    workspace: Workspace, config: Config, run_id: str, seconds: float | None, *, quiet: bool, stream: bool
) -> dict[str, Any]:
    """The record of a run once it is over, the wait shown and the log passed on meanwhile.

    Raises RunNotFoundError, BusyError when it is not over after ``seconds``, OutcomeUnknownError, BrokenPipeError.
    """
    from k1ctl.process.follow import Follower, lost

    run = record.load(workspace, run_id)
    follower = Follower(workspace, config, run, _view(quiet, stream))
    if not follower.watch(seconds):
        raise follower.not_over()
    if run.record["state"] not in ("ended", "lingering"):
        raise lost(run)
    return run.record


def _view(quiet: bool, stream: bool) -> View:
    from k1ctl.process.view import View

    view = View(quiet=quiet)
    if not stream:
        view.output = lambda fd, data: None  # type: ignore[method-assign]
    return view


def state_text(entry: dict[str, Any]) -> str:
    """The state of a ticket for people: what it waits for, where it does."""
    if entry["state"] == "running" and entry.get("waits_for"):
        return "waits for room"
    return f"waiting ({entry['position']})" if entry["state"] == "waiting" else str(entry["state"])


def priority_text(entry: dict[str, Any]) -> str:
    """The priority of a ticket for people, and how it came to it."""
    asked = f" (asked {entry['asked_priority']})" if "asked_priority" in entry else ""
    return f"{entry['priority']}{', bumped' if entry.get('bumped') else ''}{asked}"


HEADERS = ("TICKET", "STATE", "RESOURCES", "WORKSPACE", "COMMAND", "PRIORITY", "SINCE", "RUN")


def cells(entry: dict[str, Any]) -> tuple[Any, ...]:
    """A ticket as a row of `queue list`."""
    return (
        entry["ticket"],
        state_text(entry),
        _resources_text(entry["resources"]),
        entry.get("workspace", "?"),
        entry.get("label") or entry.get("command", "?"),
        priority_text(entry),
        entry.get("granted_at") or entry.get("queued_at", ""),
        entry.get("run", ""),
    )


def _resources_text(resources: dict[str, int]) -> str:
    return " ".join(f"{r}={n}" if n > 1 else r for r, n in resources.items())


def readable_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of `inspect` for people: no braces, no clocks that only machines compare."""
    from k1ctl.process.view import describe_holder, describe_pause
    from k1ctl.units import format_duration

    shown = {k: v for k, v in facts.items() if k not in ("monotonic", "error")}
    if "resources" in shown:
        shown["resources"] = _resources_text(shown["resources"])
    if shown.get("holders"):
        shown["holders"] = "; ".join(map(describe_holder, shown["holders"]))
    if isinstance(shown.get("paused"), dict):
        shown["paused"] = "; ".join(describe_pause(r, why) for r, why in shown["paused"].items())
    if shown.get("expected_start_seconds") is not None:
        shown["expected_start"] = "in " + format_duration(shown.pop("expected_start_seconds"))
    if isinstance(shown.get("argv"), list):
        shown["argv"] = " ".join(shown["argv"])
    for key in ("attempts", "details", "result"):
        if shown.get(key):
            shown[key] = dumps(shown[key])
    return shown
