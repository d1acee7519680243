"""What the queue knows of why: behind whom something waits, what is paused, how a run left the line or ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.reasons import BLOCKED, FAILED, IDLE, NO_WORK, RUNNING, RUNS, WAITS, Reason, in_words, under_way
from k1ctl_plugins.queue.reasons_ended import ended
from k1ctl_plugins.queue.reasons_line import Line

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace


def reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    """Why the subject's tickets wait, what those that were let in do, and how its runs ended."""
    line = Line(workspace, config)
    if subject.resource:
        return [_resource(line, subject)]
    found = [_waits(line, subject, entry) for entry in subject.living("waiting")]
    found += [_runs(line, subject, entry) for entry in subject.living("running")]
    told = {entry.get("run") for entry in subject.tickets if entry["state"] in ("waiting", "running")}
    for record in subject.runs:
        if record["run"] not in told and under_way(workspace, record):
            lingers = record.get("state") == "lingering"  # its command is over, what that left running is not its work
            found.append(ended(workspace, subject, record, line) if lingers else _works(record))
    over = [record for record in subject.ended(workspace) if record["run"] not in told]
    found += [ended(workspace, subject, record, line) for record in over]
    known = {record["run"] for record in subject.runs}  # of these the newest of each kind has been told
    left = [*subject.living("parked"), *subject.living("dead")]
    return found + [_left(line, subject, entry) for entry in left if entry.get("run") not in known]


def _waits(line: Line, subject: Subject, entry: dict[str, Any]) -> Reason:
    from k1ctl.process.view import describe_pause, readable
    from k1ctl.queue.view import standing
    from k1ctl.units import format_duration

    about = {
        "about": entry.get("run") or f"ticket {entry['ticket']}",
        "at": entry.get("queued_at", ""),
        "stage": WAITS,
        "events": subject.find("queue.enqueued", "queue.bumped", "queue.aged", run=entry.get("run", "")),
        "next": _waiting_next(entry),
    }
    who, wanted = line.who(entry), line.wanted(entry)
    stands = standing(line.folder, entry["ticket"], line.config.slots)
    if stands is None:
        return Reason(RUNNING, f"{who} has just been let in to {wanted}", code="let-in", **{**about, "stage": RUNS})
    if stands.paused:
        resource, why = next(iter(stands.paused.items()))
        pause = line.pause(subject, resource, why)
        text = f"{who} waits for {wanted}: {describe_pause(resource, why)}"
        more = {**about, "events": pause.events + about["events"], "next": pause.next}
        held = [sentence for holder in stands.holders[:2] for sentence in line.holder(holder)]
        chain = [*pause.chain, *held, *line.ahead(entry)]
        return Reason(
            BLOCKED, text, code=pause.code, holder=pause.holder, bound=resource, chain=chain, files=pause.files, **more
        )
    full = line.full(entry)
    # whoever has another slot of what still has room is not in the way
    holders = [h for h in stands.holders if not full or {*full} & {*line.entry(h).get("resources", full)}]
    ahead = line.ahead(entry)
    if not holders and not ahead:
        text = f"{who} is next for {wanted}, which nobody holds: its waiter (process {entry['pid']}) has not taken it"
        chain = ["whoever is stopped or swapped out keeps the place; after queue.stall the next one goes first"]
        return Reason(BLOCKED, text, code="not-taken", bound=wanted, holder=who, chain=chain, **about)
    shown = "; ".join(line.named(h) for h in holders[:2]) or f"those before it ({len(ahead)})"
    more_holders = f" and {len(holders) - 2} more" if len(holders) > 2 else ""
    slots = line.slots_text(full)
    if 0 < len(full) < len(entry["resources"]):  # of several the one that binds
        slots = f"{', '.join(map(readable, full))}: {slots}"
    guarded = any(line.guarded(line.entry(holder)) for holder in holders)  # nobody knows when that one begins
    expected = None if guarded else stands.expected_seconds
    when = "" if expected is None else f"; its start is expected in about {format_duration(expected)}"
    when = "; by the usual times it would have started by now" if expected == 0 else when
    place = f", {len(ahead)} before it in line" if ahead else ""
    text = f"{who} waits for {wanted}: {slots}held by {shown}{more_holders}{place}{when}"
    chain = [sentence for holder in holders[:6] for sentence in line.holder(holder)]
    evidence = [event for holder in holders[:4] for event in _granted(subject, holder)]
    return Reason(
        BLOCKED,
        text,
        code="queued",
        holder="; ".join(line.named(h) for h in holders),
        bound=", ".join(map(readable, full)) or wanted,
        limit=line.limits(full),
        chain=[*chain, *ahead],
        files=[line.tickets],
        **{**about, "events": evidence + about["events"]},
    )


def _granted(subject: Subject, holder: dict[str, Any]) -> list[dict[str, Any]]:
    """The event of a lease; a script's ticket names no run."""
    run = str(holder.get("run") or "")
    of: dict[str, Any] = {"run": run} if run else {"ticket": holder["ticket"]}
    return subject.find("queue.granted", limit=1, **of)


def _waiting_next(entry: dict[str, Any]) -> str:
    run = entry.get("run")
    wait = f"`k1ctl queue wait {run}` waits for it and passes its output on; " if run else ""
    return (
        f"{wait}`k1ctl queue show {entry['ticket']}` has its place; `k1ctl queue bump {entry['ticket']}` puts it first"
    )


def _runs(line: Line, subject: Subject, entry: dict[str, Any]) -> Reason:
    """General: whoever knows what a run that was let in still waits for says more."""
    who, since = line.who(entry), entry.get("granted_at", "")
    held = line.wanted(entry)
    evidence = subject.find("queue.granted", "run.retry", "run.caller_gone", "run.lingering", run=entry.get("run", ""))
    about: dict[str, Any] = {
        "about": entry.get("run") or f"ticket {entry['ticket']}",
        "at": since or entry.get("queued_at", ""),
        "events": evidence,
        "general": True,
    }
    if entry.get("waits_for"):
        from k1ctl.reasons import HOST

        text = f"{who} has {held} and waits for room on this host: {entry['waits_for']}"
        nxt = "`k1ctl capacity list` shows what is promised to whom"
        return Reason(HOST, text, code="no-capacity", bound="room on this host", stage=WAITS, next=nxt, **about)
    left = line.left_behind(entry)
    doing = f"is over, and what it left running ({left}) holds" if left else "works and holds"
    text = f"{who} {doing} {held}{line.since(since)}{line.usually(entry)}"
    nxt = f"its output: `k1ctl queue wait {entry['run']}`" if entry.get("run") else ""
    retries = [event for event in evidence if event["event"] == "run.retry"]
    if retries:
        text += _retried(retries[-1])
        from k1ctl.escalation.prompts import failing_lines

        lines = failing_lines(line.workspace.ops_path("runs", str(entry.get("run"))))[:3]
        about["lines"] = [each for each in lines if each != "..."]
    return Reason(RUNNING, text, code="running", bound=held, chain=line.outlived(entry), next=nxt, **about)


def _retried(event: dict[str, Any]) -> str:
    """What became of the attempt before, and when the next one begins."""
    from k1ctl.units import format_duration, parse_rfc3339

    number, delay = int(event["attempt"]), float(event.get("delay_seconds") or 0.0)
    left = parse_rfc3339(event["at"]) + delay - time.time()
    now = f"attempt {number + 1} begins in {format_duration(left)}" if left > 0 else f"this is attempt {number + 1}"
    return f"; attempt {number} ended with exit code {event.get('exit_code')}, {now}"


def _works(record: dict[str, Any]) -> Reason:
    """A run that needs no place in line; general: what it waits for, capacity knows."""
    who = f"{record.get('workspace', '?')}: {in_words(record)} (run {record['run']})"
    since, waits = str(record.get("started_at", "")), str(record.get("waits_for") or "")
    about: dict[str, Any] = {"about": record["run"], "at": since or record.get("created_at", ""), "general": True}
    doing = f"works since {since[:19]}Z" if since else f"has begun and waits{f': {waits}' if waits else ''}"
    return Reason(
        RUNNING, f"{who} {doing}", code="running", next=f"its output: `k1ctl queue wait {record['run']}`", **about
    )


def _left(line: Line, subject: Subject, entry: dict[str, Any]) -> Reason:
    """A place whose waiter is gone and of whom no run tells: a script's, or one of another root."""
    from k1ctl.units import format_duration

    who, wanted = line.who(entry), line.wanted(entry)
    evidence = subject.find("queue.parked", "queue.reaped", ticket=entry["ticket"])
    about: dict[str, Any] = {"about": f"ticket {entry['ticket']}", "events": evidence}
    if entry["state"] == "dead":
        text = f"{who} waits no more for {wanted}: its process ({entry['pid']}) is gone, and nobody put its ticket away"
        return Reason(FAILED, text, code="owner-gone", **about)
    kept = format_duration(line.config.get("queue", "park"))
    text = f"the place of {who} for {wanted} is kept, but nobody waits at it: its waiter left or was killed"
    nxt = f"the same call takes it over, within {kept} of its leaving"
    return Reason(FAILED, text, code="parked", next=nxt, **about)


def _resource(line: Line, subject: Subject) -> Reason:
    """Who has a resource, and who waits for it."""
    from k1ctl.process.view import describe_pause

    resource = subject.resource
    mine = [e for e in subject.tickets if e["state"] in ("running", "waiting")]
    running = [line.held(e) for e in mine if e["state"] == "running"]
    waiting = [e for e in mine if e["state"] == "waiting"]
    queue = [f"waiting: {line.who(e)} (ticket {e['ticket']}{line.since(e.get('queued_at', ''))})" for e in waiting]
    chain = [sentence for holder in running for sentence in line.holder(holder)] + queue[:10]
    slots = int(line.config.slots(resource))
    waits = f"; {len(waiting)} wait{'s' if len(waiting) == 1 else ''} for it" if waiting else ""
    about: dict[str, Any] = {"bound": resource, "about": resource}
    why = line.paused.get(resource)
    if why is not None:
        pause = line.pause(subject, resource, why)
        text = f"{describe_pause(resource, why)}; nobody new gets it{waits}"
        return Reason(
            BLOCKED, text, code=pause.code, holder=pause.holder, chain=[*pause.chain, *chain], events=pause.events,
            files=pause.files, next=pause.next, **about,
        )  # fmt: skip
    evidence = [event for holder in running[:4] for event in _granted(subject, holder)]
    taken = sum(e["resources"].get(resource, 0) for e in mine if e["state"] == "running")
    limit = f"{taken} of {slots} slot{'' if slots == 1 else 's'}"
    who = "; ".join(line.named(h) for h in running[:3])
    more = f" and {len(running) - 3} more" if len(running) > 3 else ""
    if taken >= slots:
        text = f"{resource} is held by {who}{more}{waits}"
        nxt = f"`k1ctl queue list --resource {resource}` shows all who hold it and wait"
        proof: dict[str, Any] = {"events": evidence, "files": [line.tickets], "next": nxt}
        held: dict[str, Any] = {"holder": who, "limit": limit, "chain": chain}
        return Reason(BLOCKED, text, code="held", stage=RUNS, **held, **proof, **about)
    has = f"; {limit} held by {who}{more}" if running else ": nobody holds it"
    text = f"{resource} has room{has}{waits or '; nobody waits for it'}"
    last = subject.find("queue.granted", "queue.released", limit=1, holds=resource)
    return Reason(NO_WORK, text, code="free", limit=limit, stage=IDLE, chain=chain, events=evidence or last, **about)
