"""The rules: what each looks at, and when that is wrong. Files and the host are read; no device is asked."""

from __future__ import annotations

import os

from k1ctl.alerts.kept import CRITICAL, WARNING
from k1ctl.alerts.machine import Finding
from k1ctl.units import format_duration, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from k1ctl.overview.parts import Sources

    Look = Callable[["Sources", dict[str, Any]], Iterator[Finding]]

_KINDS = ("build", "upload", "test")  # what counts for the success rate, as in agent_success_rate
_STALE = 2.0  # periods after which an exporter is stale
_AHEAD = 60.0  # s that a file may be of later than now, before a clock that was set back is no sign of life


def queue(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """More than ``limit`` tickets wait for a resource."""
    from k1ctl.overview.parts import shown

    waiting: dict[str, int] = {}
    for ticket in sources.tickets:
        if ticket["state"] == "waiting":
            for resource in shown(ticket["resources"]):
                waiting[resource] = waiting.get(resource, 0) + 1
    for resource, count in waiting.items():
        text = f"{count} wait for {resource}; more than {rule['limit']} is too long a line"
        why = sources.paused.get(resource)
        text += f"; it is paused{f': {why}' if why else ''}" if why is not None else ""
        yield Finding(
            "queue",
            count > rule["limit"],
            text,
            subject=resource,
            value=count,
            limit=rule["limit"],
            hint="k1ctl queue list shows who holds it and who waits",
        )


def success(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """Less than ``limit`` of the builds, uploads and tests of the last ``window`` succeeded, of at least ``events``."""
    from k1ctl.errors import ConfigError
    from k1ctl.slo.objectives import check_window, percent

    if rule["limit"] > 1:
        place, hint = "alerts.success.limit", "it is a share, as 0.8"
        raise ConfigError(f"{place} is {rule['limit']:g}: no more than 1 can succeed", hint=hint, key=place)
    check_window(rule["window"], "alerts.success.window")
    good = bad = 0
    parts = []
    for kind in _KINDS:
        window = sources.tally.window(kind, rule["window"], now=sources.now)
        good, bad = good + window.good, bad + window.bad
        if window.bad:
            parts.append(f"{window.bad} of {window.good + window.bad} {kind}s failed")
    if good + bad < rule["events"]:
        yield Finding("success", False, f"{good + bad} ends tell nothing")
        return
    value = good / (good + bad)
    text = f"{percent(value)} of {good + bad} builds, uploads and tests of the last "
    text += f"{format_duration(rule['window'])} succeeded; {rule['limit'] * 100:g} % should"
    yield Finding(
        "success",
        value < rule["limit"],
        f"{text} ({', '.join(parts)})" if parts else text,
        value=round(value, 4),
        limit=rule["limit"],
        hint="k1ctl slo names the runs that failed in a row",
    )


def disk(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """The disk of the root, or of the host's folder, is used above ``limit`` percent."""
    from k1ctl.capacity.health import device_of
    from k1ctl.disk import use
    from k1ctl.workspace import host_dir

    stop, seen = sources.config.get("disk", "stop_percent"), set()
    for subject, path in (("root", sources.workspace.root), ("host", host_dir())):
        if (device := device_of(path)) in seen:
            continue
        seen.add(device)
        now = use(path)
        yield Finding(
            "disk",
            now.percent > rule["limit"],
            f"the disk of {path} is at {now.percent} %, {format_size(now.free)} are free",
            subject=subject,
            value=now.percent,
            limit=rule["limit"],
            unit="%",
            level=CRITICAL if stop and now.percent > stop else WARNING,
            hint="k1ctl archive run --dry-run shows what could go, k1ctl worktree du what takes the room",
        )


def device(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """A device did not answer who asked it last, at most ``age`` ago. One that is out of service may be away."""
    from k1ctl.device import verdict
    from k1ctl.device.health import last
    from k1ctl.device.survey import configured
    from k1ctl.escalation import keeper
    from k1ctl.escalation.ladder import HUMAN, INCIDENT
    from k1ctl.queue.names import OUT_OF_SERVICE

    by = keeper.rules(sources.config)
    for name, section in configured(sources.config).items():
        record = last(sources.workspace, section)
        if record is None or record["age_seconds"] > rule["age"]:
            yield Finding("device", None, subject=name)
            continue
        found = verdict.judge(record, section)
        away = found.state in (verdict.OFFLINE, verdict.FORBIDDEN)
        resting = sources.paused.get(f"device:{name}", "").startswith(OUT_OF_SERVICE)
        rung = keeper.load(sources.workspace, name)["rung"]
        tells = rung in (HUMAN, INCIDENT) or (rung and (by.offline_human or by.offline_incident))
        text = f"{name} does not answer: {found.message}" + (f" (its escalation is at {rung})" if rung else "")
        yield Finding(
            "device",
            away and not resting,
            text,
            subject=name,
            level=CRITICAL,
            hint=f"k1ctl device health {name}; k1ctl device escalation {name}",
            told_by="escalation" if tells else "",
        )


def escalation(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """A device's trouble has reached a person, or is an incident. The ladder tells people; this shows it, and tells
    them where the ladder gave up, for no channel took it."""
    from k1ctl.device.survey import configured
    from k1ctl.escalation import keeper
    from k1ctl.escalation.ladder import HUMAN, INCIDENT

    for name in configured(sources.config):
        state = keeper.load(sources.workspace, name)
        rung = state["rung"]
        steps = [s for s in state["steps"] if s["episode"] == state["episode"] and s["rung"] == rung]
        lost = bool(steps) and steps[-1]["told"] is not None and not _heard(steps[-1]["told"])
        what = "has an incident, its queue is paused" if rung == INCIDENT else "needs a person"
        yield Finding(
            "escalation",
            rung in (HUMAN, INCIDENT),
            f"{name} {what}: {steps[-1]['reason'] if steps else rung}",
            subject=name,
            level=CRITICAL if rung == INCIDENT else WARNING,
            hint=f"k1ctl device escalation {name}",
            told_by="" if lost else "escalation",
        )


def _heard(told: Any) -> bool:
    """Whether any channel took what the ladder told."""
    from k1ctl.notify import SENT

    return any(row.get("outcome") == SENT for row in told)


def burn(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """The error budget of an objective burns (`k1ctl.slo.burn`)."""
    from k1ctl.slo import look

    for objective in look(sources.workspace, sources.config, sources.tally, now=sources.now):
        firing = objective.firing
        worst = firing[0] if firing else None
        runs = [run for step in objective.steps for run in step.runs]
        text = f"{objective.name}: {objective.text}"
        yield Finding(
            "burn",
            bool(firing),
            text + (f"; newest runs that count: {', '.join(runs[:3])}" if runs else ""),
            subject=objective.name,
            value=None if worst is None or worst.rate is None else round(worst.rate, 2),
            limit=None if worst is None else worst.factor,
            level=CRITICAL if worst is not None and worst.factor > 1 else WARNING,
            hint=f"k1ctl slo {objective.name}",
        )


def budget(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """More than ``limit`` percent of a limit of tokens or dollars is spent and held."""
    from k1ctl.budget.limits import amount, named
    from k1ctl.overview.budget import look

    for row in look(sources).rows:
        for unit, name in enumerate(("tokens", "micro_usd")):
            most = row[f"limit_{name}"]
            if not most:
                continue
            used = row[f"spent_{name}"] + row[f"held_{name}"]
            percent = used * 100 // most
            key = (str(row["scope"]), str(row["name"]))
            subject = key[1].partition(" ")[2] or (key[1] if key[0] == "task" else "")
            yield Finding(
                "budget",
                percent >= rule["limit"],
                f"{percent} % of {named(key)} are spent and held: {amount(unit, used)} of {amount(unit, most)}",
                subject=":".join(word for word in (key[0], subject, "usd" if unit else "") if word),
                value=percent,
                limit=rule["limit"],
                unit="%",
                level=CRITICAL if percent >= 100 else WARNING,
                hint="k1ctl budget status shows who spends it",
            )


def exporter(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """``ops/metrics/k1ctl.prom`` is older than twice ``metrics.period``; where nobody writes it there is no alert."""
    path = sources.workspace.ops_path("metrics", "k1ctl.prom")
    period = float(sources.config.get("metrics", "period"))
    try:
        age = sources.now - os.stat(path).st_mtime
    except FileNotFoundError:
        return
    old = age > _STALE * period or age < -_AHEAD
    yield Finding(
        "exporter",
        bool(period) and old,
        f"ops/metrics/k1ctl.prom is {format_duration(max(0.0, age))} old; it is to be written each "
        f"{format_duration(period)}",
        value=round(age, 1),
        limit=_STALE * period,
        unit="s",
        hint="look for the cron line of `k1ctl metrics write`; without it, remove the file",
    )


def host(sources: Sources, rule: dict[str, Any]) -> Iterator[Finding]:
    """The host stalls: a check of `k1ctl host health` says ``level`` or worse. Disks have a rule of their own."""
    from k1ctl.capacity import facts, health

    wrong = ("crit",) if rule["level"] == "crit" else ("warn", "crit")
    checks = health.look(facts.read(), sources.config, sources.workspace)
    bad = [c for c in checks if c.status in wrong and not c.name.startswith("disk_")]
    bad.sort(key=lambda check: check.status != "crit")
    yield Finding(
        "host",
        bool(bad),
        "; ".join(check.message for check in bad[:3]) or "nothing stalls",
        value=len(bad),
        level=CRITICAL if bad and bad[0].status == "crit" else WARNING,
        hint="k1ctl host health; k1ctl capacity list shows who holds what",
    )


RULES: dict[str, Look] = {
    "queue": queue,
    "success": success,
    "disk": disk,
    "device": device,
    "escalation": escalation,
    "burn": burn,
    "budget": budget,
    "exporter": exporter,
    "host": host,
}


UNSEEN = "rule"  # the alert of a rule that cannot be looked at: who is blind has to know it
UNSEEN_FOR = 600.0  # s: a database may be busy


class Looked:
    """``findings`` of all rules that could be looked at, whose names are in ``rules``; ``failed`` {rule: why} of the
    others that are on."""

    __slots__ = ("failed", "findings", "rules")

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.rules: list[str] = []
        self.failed: dict[str, str] = {}


def look(sources: Sources) -> Looked:
    """Look at everything that has a rule and is not switched off; one that fails hides no other, and is a finding."""
    from k1ctl.errors import K1ctlError
    from k1ctl.failure import words

    looked = Looked()
    for name, rule in switched_on(sources.config).items():
        try:
            looked.findings += list(RULES[name](sources, rule))
            looked.rules.append(name)
        except (K1ctlError, OSError) as exc:
            looked.failed[name] = words(exc)
        except Exception as exc:  # a bug in one rule, or damage that nobody thought of: the others have to be told
            from k1ctl.plugins import one_line

            looked.failed[name] = one_line(exc)
    for name, why in looked.failed.items():
        text, hint = f"the rule {name} cannot be looked at: {why}", "k1ctl alert check --dry-run says so again"
        looked.findings.append(Finding(UNSEEN, True, text, subject=name, hint=hint))
    looked.rules.append(UNSEEN)
    return looked


def switched_on(config: Any) -> dict[str, dict[str, Any]]:
    """{rule: its settings} of those that are on."""
    sections = {name: config.section("alerts", name) for name in RULES}
    return {name: section for name, section in sections.items() if section["on"]}
