"""What capacity knows of why: who waits for room, who has it, what stands still, what memory ended, what is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.reasons import AROUND, BUDGET, ENDED, FAILED, HOST, WAITS, Reason

if TYPE_CHECKING:
    from k1ctl.capacity.promises import Promise
    from k1ctl.config import Config
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace

_LARGEST = 4  # promises that are named
_MEMORY = ("oom", "host-memory", "memory-limit")  # codes of runs that memory ended
_REFUSED = ("no-capacity", "never-fits")
_SIZES = ("mem", "disk", "gpu")  # resources in bytes
_LIST = "`k1ctl capacity list` shows what is promised to whom; `k1ctl capacity show` what binds"


def reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    """Why the subject's runs wait for room, stand still or were ended by memory; whether the host is short of it."""
    if subject.resource:
        return []
    found = [*_waiting(workspace, subject), *_standing_still(subject)]
    found += [r for r in (_ended(workspace, subject, record) for record in subject.ended(workspace)) if r is not None]
    if subject.whole:
        found += [*_refused(subject), *_around(workspace, config)]
    return found


def _of(subject: Subject, workspace: Workspace, promise: Promise) -> bool:
    if subject.whole:
        return promise.workspace == subject.workspace and promise.root in ("", workspace.root)
    return bool(promise.run) and promise.run in {record["run"] for record in subject.runs}


def _waiting(workspace: Workspace, subject: Subject) -> list[Reason]:
    """The subject's promises that wait in line for room."""
    from k1ctl.capacity import promises

    line = promises.waiting(promises.folder())
    mine = [promise for promise in line if _of(subject, workspace, promise)]
    if not mine:
        return []
    held = promises.held()
    return [_wait(subject, promise, line, held) for promise in mine]


def _wait(subject: Subject, promise: Promise, line: list[Promise], held: list[Promise]) -> Reason:
    from k1ctl.capacity.promises import age
    from k1ctl.units import format_duration, rfc3339

    record: dict[str, Any] = next((r for r in subject.runs if r["run"] == promise.run), {})
    why = str(record.get("waits_for") or "it does not fit beside what is promised and used")
    since = f" for {format_duration(age(promise))}" if promise.since else ""
    text = f"{promise.workspace}: {promise.what} waits{since} for room on this host ({promise.need}): {why}"
    before = [f"before it: {p.workspace}: {p.what} ({p.need})" for p in line[: line.index(promise)]]
    return Reason(
        HOST,
        text,
        code="no-capacity",
        holder=_named(held),
        bound=why,
        stage=WAITS,
        at=rfc3339(promise.since) if promise.since else "",
        about=promise.run,
        chain=[*_holders(held), *before[:_LARGEST]],
        events=subject.find("queue.granted", "capacity.gave_way", run=promise.run) if promise.run else [],
        files=[_ticket(promise)],
        next=_LIST,
    )


def _ticket(promise: Promise) -> str:
    import os

    from k1ctl.capacity.promises import folder

    return os.path.join(folder(), "tickets", promise.place)


def _holders(held: list[Promise]) -> list[str]:
    """Who has most of the memory that is promised, in sentences."""
    from k1ctl.capacity.promises import age
    from k1ctl.units import format_duration, format_size

    largest = sorted(held, key=lambda p: -p.memory)[:_LARGEST]
    told = []
    for p in largest:
        uses = f", uses {format_size(p.seen_bytes)}" if p.seen_bytes else ""
        since = f" for {format_duration(age(p))}" if p.since else ""
        told.append(f"{p.workspace}: {p.what} is promised {p.need}{uses}{since}")
    return told


def _named(held: list[Promise]) -> str:
    largest = sorted(held, key=lambda p: -p.memory)[:_LARGEST]
    return "; ".join(f"{p.workspace}: {p.what} ({p.need})" for p in largest)


def _standing_still(subject: Subject) -> list[Reason]:
    """The subject's commands that are suspended for want of memory."""
    from k1ctl.capacity import watched

    try:
        still = {c.spec["id"].rpartition("-")[0]: c for c in watched.standing_still()}  # RUN-ATTEMPT
    except OSError:
        return []
    found = []
    for record in subject.runs:
        if command := still.get(record["run"]):
            text = f"{record['workspace']}: {_what(record)} stands still: the host's memory is above the watermark"
            nxt = "it goes on 5 points below capacity.suspend_percent, or after 5 minutes"
            events = subject.find("run.limited", run=record["run"])
            about: dict[str, Any] = {"about": record["run"], "events": events, "files": [command.folder], "next": nxt}
            found.append(Reason(HOST, text, code="suspended", stage=WAITS, bound="capacity.suspend_percent", **about))
    return found


def _what(record: dict[str, Any]) -> str:
    from k1ctl.reasons import in_words

    return f"{in_words(record)} (run {record['run']})"


def _ended(workspace: Workspace, subject: Subject, record: dict[str, Any]) -> Reason | None:
    """Why a run was refused for want of room, or ended by memory."""
    code = str(record.get("code", ""))
    told = record.get("error") or {}
    about: dict[str, Any] = {
        "code": code,
        "about": record["run"],
        "at": record.get("ended_at", ""),
        "stage": ENDED,
        "events": subject.find("run.ended", "run.oom", "run.limited", "run.retry", run=record["run"], limit=4),
        "files": [workspace.ops_path("runs", record["run"], "run.json")],
    }
    who = f"{record.get('workspace', '?')}: {_what(record)}"
    if code in _REFUSED or (code == "budget-exhausted" and told.get("reasons")):
        chain = [
            str(r.get("text", "")) for r in told.get("reasons") or [] if str(r.get("text")) not in record["message"]
        ]
        kind = BUDGET if code == "budget-exhausted" else HOST
        nxt = str(record.get("hint") or told.get("hint") or _LIST)
        bound = ", ".join(dict.fromkeys(str(r.get("resource", "")) for r in told.get("reasons") or []))
        return Reason(kind, f"{who} was refused: {record['message']}", bound=bound, chain=chain, next=nxt, **about)
    limits = record.get("limits") or {}
    verdict = limits.get("oom") or {}
    if code not in _MEMORY and not (verdict and record.get("exit_code")):
        return None
    kind = HOST if code == "host-memory" else FAILED
    chain, nxt = _verdict(verdict)
    text = f"{who} {record['message']}"
    return Reason(kind, text, bound="memory", limit=_limit(limits), chain=chain, next=nxt, **about)


def _verdict(verdict: dict[str, Any]) -> tuple[list[str], str]:
    """(How sure it is that memory ended the run, and by what; what to do)."""
    if not verdict:
        return [], "it may run when the host is calmer"
    name = (verdict.get("guilty") or {}).get("name")
    chain = [f"{verdict['confidence']}, by {verdict['by']}: {verdict['message']}{f' ({name})' if name else ''}"]
    more = verdict.get("next_limit_bytes")
    return chain, f"call it again with `--mem-limit {-(-more // (1 << 20))}M`: that would have done" if more else ""


def _limit(limits: dict[str, Any]) -> str:
    from k1ctl.units import format_size

    return format_size(limits["memory_bytes"]) if limits.get("memory_bytes") else ""


def _refused(subject: Subject) -> list[Reason]:
    """The last refusal that has no run: of a set-up, a check, a reservation; unless something was begun since."""
    found = subject.find("capacity.refused", workspace=subject.workspace, limit=1)
    if not found or subject.went_on(found[-1]["at"]):
        return []
    event = found[-1]
    if event.get("run") in {record["run"] for record in subject.runs}:
        return []
    short = ", ".join(_short(reason) for reason in event.get("reasons") or [] if isinstance(reason, dict))
    what = "set up" if event.get("kind") == "worktree" else f"given {event.get('need')}"
    text = f"{subject.workspace} was not {what}: no room on this host{f', short of {short}' if short else ''}"
    about: dict[str, Any] = {"bound": short, "at": event["at"], "events": found, "next": _LIST}
    return [Reason(HOST, text, code="no-capacity", stage=ENDED, **about)]


def _short(reason: dict[str, Any]) -> str:
    from k1ctl.units import format_size

    name = str(reason["resource"])
    if not reason["limit"]:
        return name  # a watermark: the event has no figures of it
    free, limit = (format_size(reason[k]) if name in _SIZES else f"{reason[k]:g}" for k in ("free", "limit"))
    return f"{name} ({free} free of {limit})"


def _around(workspace: Workspace, config: Config) -> list[Reason]:
    """Memory above a watermark, or a disk that is too full: nobody here starts anything heavy."""
    from k1ctl.capacity import facts, levels, promises
    from k1ctl.disk import use
    from k1ctl.units import format_size, rfc3339

    found = []
    level = levels.seen(facts.read(), config)
    if level.number:
        who = {1: "no new workspace is set up", 2: "builds and runs wait", 3: "the youngest run pauses"}
        text = f"{level.reason}: {who.get(level.number, 'the youngest run is ended')}"
        held = promises.held()
        found.append(
            Reason(
                HOST,
                text,
                code="watermark",
                stage=AROUND,
                holder=_named(held),
                chain=_holders(held),
                bound=f"capacity.{levels.WATERMARKS[level.number]}",
                limit=f"{level.marks[level.number]:g} %",
                at=rfc3339(level.since),
                files=[levels.folder_of() + "/level.json"],
                next=_LIST,
            )
        )
    limit, disk = config.get("disk", "stop_percent"), use(workspace.root)
    if limit and disk.percent > limit:
        full = f"{disk.percent} % full (disk.stop_percent is {limit}), {format_size(disk.free)} are free"
        text = f"the disk of {workspace.root} is {full}: nothing that needs room is begun"
        nxt = "`k1ctl archive run --dry-run` shows which worktrees could go; `k1ctl worktree du` what takes how much"
        about: dict[str, Any] = {"bound": "disk.stop_percent", "limit": f"{limit} %", "next": nxt}
        found.append(Reason(HOST, text, code="disk-full", stage=AROUND, **about))
    return found
