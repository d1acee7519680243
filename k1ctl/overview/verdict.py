"""What of an overview is not well, and what somebody who begins here would do next."""

from __future__ import annotations

import os

from k1ctl.queue.names import OUT_OF_SERVICE
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.overview import Overview

ERROR, WARNING = "error", "warning"
_WELL = ("online", "unknown")  # states of a device that are nobody's trouble
_BAD = ("failed", "unknown", "timeout")  # results
_OLD = 60.0  # s after which the word of a device is told with its age
_SAID = 160  # characters of a message


def problems(found: Overview) -> list[dict[str, str]]:
    """{level, part, text} of all that is not well, errors first."""
    each = [*_alerts(found), *_devices(found), *_queue(found), *_host(found), *_budget(found), *_work(found)]
    each += [(ERROR, name, f"{name} cannot be told: {why}") for name, why in found.errors.items()]
    each.sort(key=lambda problem: problem[0] != ERROR)
    return [{"level": level, "part": part, "text": text[:_SAID]} for level, part, text in each]


def _alerts(found: Overview) -> Iterator[tuple[str, str, str]]:
    facts = found.alerts.facts
    old = f" (checked {format_duration(facts['age_seconds'])} ago)" if facts.get("stale") else ""
    for row in found.alerts.rows:
        fires = row["state"] == "firing"
        level = ERROR if fires and row["level"] == "critical" and not row["silenced"] else WARNING
        does = "is silenced" if row["silenced"] else "fires" if fires else "is pending"
        yield level, "alerts", f"alert {row['key']} {does}{old}: {row['text']}"


def _devices(found: Overview) -> Iterator[tuple[str, str, str]]:
    for row in found.devices.rows:
        name, out = row["device"], row["out_of_service"]
        if out:
            yield WARNING, "devices", f"{name} is out of service: {out['reason'] or 'no reason given'} ({out['by']})"
        elif row["state"] not in _WELL:
            level = WARNING if row["state"] == "degraded" else ERROR
            old = row["age_seconds"] or 0.0
            when = f" {format_duration(old)} ago" if old > _OLD else ""
            yield level, "devices", f"{name} {'was' if when else 'is'} {row['state']}{when}: {row['message']}"
        elif row["escalation"]:
            yield WARNING, "devices", f"{name} has trouble ({row['escalation']['rung']}): {row['escalation']['reason']}"


def _queue(found: Overview) -> Iterator[tuple[str, str, str]]:
    for row in found.slots.rows:
        why = row["paused"]
        told = row["resource"].startswith("device:") and (why or "").startswith(OUT_OF_SERVICE)  # by its device
        if why is not None and not told:
            yield WARNING, "slots", f"{row['resource']} is paused{': ' if why else ''}{why}"


def _host(found: Overview) -> Iterator[tuple[str, str, str]]:
    facts = found.host.facts
    if facts.get("level"):
        yield ERROR if facts["level"] > 2 else WARNING, "host", str(facts["reason"])
    stop, used = facts.get("stop_percent"), facts.get("disk", {}).get("used_percent", 0)
    if stop and used >= stop:
        yield ERROR, "host", f"the disk is at {used} % (disk.stop_percent is {stop}): nothing new is begun"


def _budget(found: Overview) -> Iterator[tuple[str, str, str]]:
    """Limits with nothing left, and those that are near: of agents and of tasks one stands for all."""
    from k1ctl.budget.limits import amount, named

    told = any(row["name"] == "budget" and not row["silenced"] for row in found.alerts.rows)
    soft = 100 if told else found.budget.facts.get("soft_percent") or 100  # the alert tells what is near
    alike: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for row in found.budget.rows:
        for unit, name in enumerate(("tokens", "micro_usd")):
            limit, free = row[f"limit_{name}"], row[f"free_{name}"]
            if limit is None or 100 * (limit - free) < soft * limit:
                continue
            one = "" if row["scope"] in ("agent", "task") else row["name"]
            near = "near" if free else ""
            share, whose = 100 * (limit - free) // (limit or 1), named((row["scope"], row["name"]))
            alike.setdefault((row["scope"], amount(unit, limit), near, one), []).append((share, whose))
    for (scope, most, near, _), those in alike.items():
        least = "at least " if len(those) > 1 else ""
        said = f"{least}{min(those)[0]} % of {most} spent or held" if near else f"nothing is left of {most}"
        level = ERROR if scope in ("day", "pool") and not near else WARNING
        count = f"{len(those)} {scope}s, one is " if len(those) > 1 else ""
        yield level, "budget", f"{said} for {count}{those[0][1]}"


def _work(found: Overview) -> Iterator[tuple[str, str, str]]:
    """Workspaces whose last build, upload or set-up failed, while it is the last thing of its kind there."""
    for kind in ("upload", "build"):
        bad = [
            row for row in found.workspaces.rows if (row[kind] or {}).get("result") in ("failed", "unknown", "timeout")
        ]
        if bad:
            newest: dict[str, Any] = max(bad, key=lambda row: str(row[kind]["at"]))
            more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
            said = newest[kind]["message"] or newest[kind]["code"] or newest[kind]["result"]
            result = {"unknown": "has no known outcome", "timeout": "ran past its limit"}
            how = result.get(newest[kind]["result"], "failed")
            yield WARNING, f"{kind}s", f"the last {kind} of {newest['name']}{more} {how}: {said}"
    unset = [row for row in found.workspaces.rows if row["setup_failed"] and not row["missing"]]
    if unset:
        more = f" and of {len(unset) - 1} more" if len(unset) > 1 else ""
        yield WARNING, "workspaces", f"the set-up of {unset[0]['name']}{more} failed: {unset[0]['setup_failed']}"


def next_step(found: Overview) -> str:
    """The command that somebody who begins here would call next; "" once builds reach a device."""
    if not os.path.exists(found.workspace.config_file):
        return "k1ctl init"
    if found.builds.error or found.uploads.error:
        return ""
    if any(row["result"] == "done" for row in found.uploads.rows) or any(row["image"] for row in found.devices.rows):
        return ""
    builds = [*found.builds.rows, *(row["build"] for row in found.workspaces.rows if row["build"])]
    if not any(row["result"] == "done" for row in builds):
        return "k1ctl build" if found.slots.rows else "k1ctl config edit"
    if not found.devices.rows:
        return "k1ctl device discover --toml"
    return "k1ctl upload"
