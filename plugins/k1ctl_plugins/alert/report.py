"""Alerts for people and as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from k1ctl.alerts import FIRING, INACTIVE
from k1ctl.output import clean, put, say, style, table
from k1ctl.units import format_duration, format_size, rfc3339

if TYPE_CHECKING:
    from k1ctl.alerts.checking import Checked
    from k1ctl.workspace import Workspace

_COLOURS = {"critical": "red", "warning": "yellow", "over": "green"}
CRON = "`* * * * * cd ROOT && k1ctl alert check --notify` in crontab(5) does (docs/alerts.md)"
RARE = "checks are further apart than alerts.gap: nothing can be wrong for long; raise alerts.gap or look more often"
NOBODY = "nobody to notify: k1ctl notify list"


def document(found: Checked, *, dry_run: bool) -> dict[str, Any]:
    """What ``alert check --json`` prints; with an ``error`` of the usual shape where something fires."""
    told: dict[str, Any] = {
        "ok": not found.firing,
        "at": rfc3339(),
        "dry_run": dry_run,
        "alerts": [alert.document() for alert in found.alerts],
        "changed": [{"what": what, "key": alert.key} for what, alert in found.changed],
        "told": found.told,
        "failed": found.failed,
        "skipped": found.skipped,
        "rare": found.rare,
        "stuck": found.stuck or None,
    }
    if found.firing:
        first = found.firing[0]
        more = f" (and {len(found.firing) - 1} more)" if len(found.firing) > 1 else ""
        error = {"code": "alert-firing", "message": first.text + more, "hint": first.hint, "exit_code": 1}
        told["error"] = error
    return told


def tell(found: Checked, *, dry_run: bool) -> None:
    """What changed on stdout; on stderr what kept a rule from being looked at, or people from hearing."""
    for what, alert in found.changed:
        word = alert.level if what == "firing" else "over"
        said = f": {clean(alert.text)}" if what == "firing" else ""
        put(f"{style(word, _COLOURS[word])}: {clean(alert.key)}{said}")
        if what == "firing" and alert.hint:
            put(f"    {clean(alert.hint)}")
    for name, why in found.failed.items():
        say(f"rule {name} could not be looked at: {clean(why)}")
    for each in found.told:
        if dry_run:
            put(f"would tell people: {clean(each['subject'])}")
        elif not each["channels"]:
            say(NOBODY)
        for row in each["channels"]:
            if row["outcome"] != "sent":
                say(f"{row['channel'] or row['plugin']} {row['outcome']}: {clean(row['message'])}")
    if found.stuck:
        say(clean(found.stuck))
    if found.rare and found.changed:
        say(RARE)
    if sys.stderr.isatty():
        pending = sum(alert.state == "pending" for alert in found.alerts)
        say(f"{len(found.firing)} fire, {pending} pending: k1ctl alert list")


def listed(workspace: Workspace, *, whole: bool) -> dict[str, Any]:
    """What ``alert list --json`` prints."""
    import time

    from k1ctl.alerts.kept import alerts_of, usable

    state = usable(workspace)
    found = [alert for alert in alerts_of(state, time.time()) if whole or alert.state != INACTIVE]
    checked = state["checked"]
    silences = [
        {"name": name, "at": rfc3339(each["at"]), "until": rfc3339(each["until"]), "reason": each["reason"]}
        for name, each in state["silences"].items()
    ]
    return {
        "ok": True,
        "checked_at": None if checked is None else rfc3339(checked["wall"]),
        "alerts": [alert.document() for alert in found],
        "silences": silences,
    }


def show(found: dict[str, Any], *, gap: float) -> None:
    """The list for people; where the last check is longer ago than ``gap`` seconds, that nobody looks any more."""
    import time

    from k1ctl.units import parse_rfc3339

    if found["alerts"]:
        put(table([_row(alert) for alert in found["alerts"]], ("STATE", "ALERT", "SINCE", "VALUE", "LIMIT", "SAYS")))
    elif found["checked_at"]:
        put("nothing fires")
    for each in found["silences"]:
        put(clean(f"silent until {each['until']}: {each['name']}{': ' * bool(each['reason'])}{each['reason']}"))
    if found["checked_at"] is None:
        say(f"nobody looks here: {CRON}")
    else:
        age = max(0.0, time.time() - parse_rfc3339(found["checked_at"]))
        say(f"checked {format_duration(age)} ago" + f": nobody looks any more (alerts.gap); {CRON}" * (age > gap))


def _row(alert: dict[str, Any]) -> tuple[str, ...]:
    state = "silenced" if alert["silenced"] and alert["state"] == FIRING else alert["state"]
    figures = (_figure(alert["value"], alert["unit"]), _figure(alert["limit"], alert["unit"]))
    return state, alert["key"], alert["since"][:19] + "Z", *figures, alert["text"]


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "B":
        return format_size(value)
    return format_duration(value) if unit == "s" else f"{value:g}{' %' if unit == '%' else ''}"
