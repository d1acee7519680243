"""Silences: alerts that nobody wants to hear of for a while. They are looked at all the same."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.workspace import Workspace

_CLOCK = 60.0  # s that a clock may be set back by before a silence of later is not believed


def silenced(kept: dict[str, Any], key: str, name: str, now: float) -> float:
    """Until when (seconds since 1970) an alert is silenced by its key or its rule's name; 0.0 when it is not.

    A clock that was set back ends a silence: it would last longer than was meant.
    """
    until = 0.0
    for each in (kept["silences"].get(key), kept["silences"].get(name)):
        if each is not None and each["at"] - _CLOCK <= now < each["until"]:
            until = max(until, float(each["until"]))
    return until


def pruned(silences: dict[str, Any], now: float) -> dict[str, Any]:
    """Those that are not over."""
    return {name: each for name, each in silences.items() if each["at"] - _CLOCK <= now < each["until"]}


def silence(workspace: Workspace, name: str, seconds: float, reason: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Silence a rule, or one alert of it, for ``seconds`` (0: no longer); {name, until, reason, changed, known,
    dry_run}. An alert need not be there yet: a device is silenced before it is unplugged; ``known``: whether it is.

    Raises UsageError (unknown-alert), BusyError, OSError.
    """
    import time

    from k1ctl.alerts.checking import Held
    from k1ctl.alerts.kept import usable
    from k1ctl.alerts.looks import RULES
    from k1ctl.events import emit
    from k1ctl.units import rfc3339

    before = usable(workspace)
    _check_name(name, before)
    now = time.time()
    changed = bool(seconds) or name in before["silences"]
    until = rfc3339(now + seconds) if seconds else None
    done = {"name": name, "until": until, "reason": reason, "changed": changed, "dry_run": dry_run}
    done["known"] = name in RULES or name in before["alerts"]
    if dry_run or not changed:
        return done
    with Held(workspace) as held:
        silences = {key: each for key, each in pruned(held.state["silences"], now).items() if key != name}
        if seconds:
            silences[name] = {"at": now, "until": now + seconds, "reason": reason, "by": workspace.caller()}
        held.write({**held.state, "silences": silences})
    emit(workspace, "alert.silenced" if seconds else "alert.heard", name=name, until=until, reason=reason)
    return done


def _check_name(name: str, state: dict[str, Any]) -> None:
    from k1ctl.alerts.looks import RULES, UNSEEN
    from k1ctl.errors import UsageError

    rule, _, subject = name.partition("/")
    possible = rule in (*RULES, UNSEEN) and bool(subject) == ("/" in name)
    if possible or name in state["alerts"] or name in state["silences"]:
        return
    hint = f"rules are {', '.join(RULES)}; one alert of a rule is as queue/device:k1 (k1ctl alert list --all)"
    raise UsageError(f"there is no alert {name!r}", hint=hint, code="unknown-alert")
