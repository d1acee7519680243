"""What the rounds found, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.checks import ERROR, LEVELS, OK
from k1ctl.output import clean, style
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl_plugins.doctor.rounds import Round

_COLOURS = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red"}


def findings(rounds: list[Round]) -> list[tuple[str, Check]]:
    """(plugin, check) of all, the worst first; of one level as they came."""
    found = [(each.plugin, check) for each in rounds for check in each.checks]
    return sorted(found, key=lambda pair: -LEVELS.index(pair[1].level))


def failed(rounds: list[Round]) -> bool:
    """Whether an error is there."""
    return any(check.level == ERROR for each in rounds for check in each.checks)


def document(rounds: list[Round]) -> dict[str, Any]:
    """What ``--json`` prints."""
    found = findings(rounds)
    return {
        "ok": not failed(rounds),
        "counts": {level: sum(check.level == level for _, check in found) for level in LEVELS},
        "findings": [{"plugin": plugin, **check.document()} for plugin, check in found],
        "plugins": [
            {"plugin": each.plugin, "checks": len(each.checks), "seconds": round(each.seconds, 3)} for each in rounds
        ],
    }


def text(rounds: list[Round], *, every: bool) -> list[str]:
    """A line for each finding, with why it matters and what mends it below; what is in order only with ``every``."""
    lines = []
    for plugin, check in findings(rounds):
        if check.level == OK and not every:
            continue
        head = f"{style(check.level, _COLOURS[check.level])}  {plugin}: {clean(check.what)} ({clean(check.code)})"
        lines.append(head)
        lines += [f"    {word}: {clean(said)}" for word, said in (("why", check.why), ("fix", check.fix)) if said]
    return lines


def summary(rounds: list[Round]) -> str:
    """One sentence on the whole."""
    found = findings(rounds)
    counts = [(level, sum(check.level == level for _, check in found)) for level in reversed(LEVELS[1:])]
    told = ", ".join(f"{n} {level}{'s' * (n != 1)}" for level, n in counts if n) or "all in order"
    seconds = format_duration(sum(each.seconds for each in rounds))
    return f"{len(found)} checks of {len(rounds)} plugins in {seconds}: {told}"
