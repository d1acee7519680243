"""What is known of a device: it does not answer, another repository or a foreign process has it, a test failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.reasons import AROUND, BLOCKED, ENDED, FAILED, NOT_VISIBLE, RUNNING, WAITS, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace


def reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    """What the devices of the subject have to do with its waiting or failing."""
    found = [r for r in (_test(workspace, subject, record) for record in subject.ended(workspace)) if r is not None]
    for device in _devices(config, subject):
        found += [*_guarded(workspace, config, subject, device), *_absent(workspace, config, subject, device)]
        if subject.resource:
            found += _trouble(workspace, subject, device)
            found += _console(workspace, config, subject, device)
    return found


def _devices(config: Config, subject: Subject) -> list[str]:
    """The configured devices that the subject is, waits for or holds."""
    resources = [subject.resource] if subject.resource else []
    for ticket in subject.tickets if not subject.resource else ():
        if ticket["state"] in ("running", "waiting"):
            resources += ticket["resources"]
    from k1ctl.queue.names import lines

    names = [r.partition(":")[2] for r in lines(resources) if r.startswith("device:")]
    known = config.names("devices")
    return [name for name in dict.fromkeys(names) if name in known]


def _guarded(workspace: Workspace, config: Config, subject: Subject, device: str) -> Iterator[Reason]:
    """Who holds the host's lock on the device and is not of this root: seen are the lock and what he wrote into it."""
    import os

    from k1ctl import groups
    from k1ctl.device.guard import guard_key, guard_path, holder, holder_text
    from k1ctl.files import open_locked

    section = config.section("devices", device)
    if not section["mac"] and not section["host"]:
        return
    path = guard_path(guard_key(section))
    if not os.path.exists(path):
        return
    fd = open_locked(path, blocking=False)
    if fd is not None:
        os.close(fd)
        return
    info = holder(path)
    run = str(info.get("run") or "")
    if run and os.path.isdir(workspace.ops_path("runs", run)):
        return
    waiter: dict[str, Any] = next((t for t in subject.living("running") if f"device:{device}" in t["resources"]), {})
    known = bool(info) and groups.living(int(info.get("pid") or 0))
    who = holder_text(path) if known else "a process that left no name"
    text = f"{device} is held on this host by {who}, which is not of {workspace.root}: what it does is not visible here"
    if waiter:
        text = f"{waiter.get('workspace', '?')} has its turn and waits: {text}"
    nobody = f"the lock is held, and what stands in it is of nobody alive; `lsof {path}` names the process"
    chain = [] if known else [nobody]
    yield Reason(
        NOT_VISIBLE,
        text,
        code="device-guarded",
        stage=WAITS,
        holder=who,
        bound=f"the host's guard of {device}",
        at=str(info.get("since") or "") if known else "",
        about=waiter.get("run", ""),
        chain=chain,
        events=subject.find("device.guarded", run=waiter["run"], limit=1) if waiter.get("run") else [],
        files=[path],
        next=f"ask there: {info.get('workspace')}" if known else "find the process that has the lock open",
    )


def _absent(workspace: Workspace, config: Config, subject: Subject, device: str) -> Iterator[Reason]:
    """The device did not answer when it was last asked, or something else answers."""
    import time

    from k1ctl.device.health import state_path
    from k1ctl.device.verdict import CODES, judge
    from k1ctl.files import read_json
    from k1ctl.units import format_duration, parse_rfc3339

    path = state_path(workspace, device)
    record = read_json(path)
    try:
        verdict = judge(record, {**config.section("devices", device), "name": device})
        at, who = str(record["probed_at"]), str(record["prober"]["workspace"])
        ago = format_duration(max(0.0, time.time() - parse_rfc3339(at)))
    except (KeyError, TypeError, ValueError, AttributeError):  # nobody asked yet, or a damaged file
        return
    if verdict.reachable:
        return
    held = any(f"device:{device}" in ticket["resources"] for ticket in subject.living("running"))  # he knows better
    text = f"{device} was not well when it was last asked, {ago} ago: {verdict.state}, {verdict.message}"
    yield Reason(
        FAILED,
        text,
        code=CODES[verdict.state],
        stage=AROUND if held or not subject.resource else WAITS,
        bound=f"device:{device}",
        at=at,
        chain=[f"{who} asked at {at}", *_escalation(workspace, device)],
        events=subject.find("device.state", "escalation.step", device=device),
        files=[path],
        next=f"`k1ctl device health {device} --wait 60s` asks again; {verdict.hint}".rstrip("; "),
    )


def _escalation(workspace: Workspace, device: str) -> list[str]:
    from k1ctl.escalation import keeper

    state = keeper.load(workspace, device)
    told = [f"since {state['since']} its trouble is at rung `{state['rung']}`"] if state["rung"] else []
    return told + [f"{s['rung']} at {s['at']}: {s['reason']}" for s in state["steps"][-2:] if state["rung"]]


def _trouble(workspace: Workspace, subject: Subject, device: str) -> Iterator[Reason]:
    """What failed on the device last, of whichever workspace, and nobody saw mended since."""
    from k1ctl.escalation import keeper

    state = keeper.load(workspace, device)
    if not state["rung"] or not state["failures"]:
        return
    failures = state["failures"].items()
    told = [f"{name}: run {f['run']} failed there ({f['code']}: {f['message']})" for name, f in failures]
    yield Reason(
        FAILED,
        f"{device} is in trouble since {state['since']} (rung `{state['rung']}`): {told[-1]}",
        code="device-trouble",
        bound=f"device:{device}",
        at=str(state["since"]),
        chain=told[:-1][::-1],
        events=subject.find("escalation.step", device=device),
        files=[keeper.state_path(workspace, device)],
        next=f"`k1ctl device escalation {device}` has the steps and who was told",
    )


def _console(workspace: Workspace, config: Config, subject: Subject, device: str) -> Iterator[Reason]:
    """Who reads its console, and so has its port: in the way of nothing but other consoles; uploads borrow it."""
    from k1ctl.queue.folder import queue_folder
    from k1ctl.queue.view import entries

    for entry in entries(queue_folder(workspace, config)):
        if entry["state"] == "running" and f"console:{device}" in entry["resources"]:
            who = f"{entry.get('workspace', '?')} (process {entry.get('owner', '?')})"
            text = f"the console of {device} is open in {who}"
            chain = ["an upload over USB borrows its port and gives it back; only other consoles wait for it"]
            found = subject.find("console.opened", "console.lent", device=device, limit=2)
            at = str(entry.get("granted_at") or entry.get("queued_at") or "")
            yield Reason(RUNNING, text, code="console", bound=f"console:{device}", at=at, chain=chain, events=found)


def _test(workspace: Workspace, subject: Subject, record: dict[str, Any]) -> Reason | None:
    """Why the last test on a device failed; also that a run had no device for the other repository's sake."""
    code = str(record.get("code", ""))
    about: dict[str, Any] = {
        "code": code,
        "stage": ENDED,
        "about": record["run"],
        "at": record.get("ended_at", ""),
        "files": [workspace.ops_path("runs", record["run"], "run.json")],
    }
    who = f"{record.get('workspace', '?')}: {record.get('label') or record.get('kind')} (run {record['run']})"
    if code == "device-guarded":
        found = subject.find("device.guarded", "run.ended", run=record["run"], limit=2)
        text, nxt = f"{who}: {record['message']}", str(record.get("hint", ""))
        return Reason(BLOCKED, text, holder=_who(found), bound="the host's guard", events=found, next=nxt, **about)
    done = record.get("result") or {}
    if record.get("kind") != "device-test" or not done.get("exit_code"):
        return None
    chain = [f"{r['pattern']}: {r['message']}" for r in done.get("results", []) if r.get("message")]
    found = subject.find("test.finished", "run.ended", run=record["run"], limit=2)
    nxt = f"{done['prompt']} has what to try, in order" if done.get("prompt") else str(done.get("hint", ""))
    more: dict[str, Any] = {**about, "code": str(done.get("code") or code), "bound": f"device:{done.get('device')}"}
    text = f"{who} on {done.get('device')} {done.get('outcome')}: {done.get('message') or record['message']}"
    return Reason(FAILED, text, chain=chain[:6], events=found, next=nxt, **more)


def _who(found: list[dict[str, Any]]) -> str:
    return next((str(e.get("who", "")) for e in found if e.get("event") == "device.guarded"), "")
