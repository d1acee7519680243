"""Objectives for people, for Nagios and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.nagios import LINE, WORDS, below, datum, long_output, short
from k1ctl.output import clean, put, say, style, table
from k1ctl.slo import BROKEN, KEPT, UNKNOWN
from k1ctl.slo.objectives import percent
from k1ctl.units import format_duration, rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.slo import Objective

_COLOURS = {KEPT: "green", BROKEN: "red", UNKNOWN: "dim"}
_WORDS = {KEPT: "kept", BROKEN: "broken", UNKNOWN: "not enough data"}


def document(found: Sequence[Objective]) -> dict[str, Any]:
    """What ``--json`` prints; with an ``error`` of the usual shape where one is broken."""
    told: dict[str, Any] = {"ok": True, "at": rfc3339(), "objectives": [each.document() for each in found]}
    broken = [each for each in found if each.state == BROKEN]
    if broken:
        said = "; ".join(f"{each.name}: {each.text}" for each in broken)
        hint = "k1ctl events list --event 'build.finished' and 'upload.finished' show what failed"
        error = {"code": "slo-broken", "message": said, "hint": hint, "exit_code": 1}
        told |= {"ok": False, "error": error}
    return told


def tell(found: Sequence[Objective]) -> None:
    """A table, then what burns, then the steps."""
    if not found:
        say("no objective is set: [slo.NAME] in ops/k1ctl.toml")
        return
    put(table([_row(each) for each in found], ("OBJECTIVE", "STATE", "GOAL", "VALUE", "EVENTS", "BUDGET LEFT")))
    put()
    for each in found:
        put(f"{each.name}: {style(_WORDS[each.state], _COLOURS[each.state])}: {clean(each.text)}")
        for step in each.steps:
            runs = f" (k1ctl why {step.runs[0]})" if len(step.runs) == 1 else f" (runs {', '.join(step.runs)})"
            put(f"  {style(step.what, 'yellow')}: {clean(step.text + (runs if step.runs else ''))}")


def _row(each: Objective) -> tuple[str, ...]:
    rule = each.rule
    goal = f">= {each.target * 100:g} %" if not rule.within else f"p{each.target * 100:g} <= {_time(rule.within)}"
    value = "-" if each.value is None else _time(each.value) if rule.within else percent(each.value)
    left = "-" if each.budget_left is None else f"{each.budget_left * 100:.0f} %"
    return each.name, _WORDS[each.state], goal, value, str(each.good + each.bad), left


def _time(seconds: float) -> str:
    return format_duration(seconds)


def nagios(found: Sequence[Objective]) -> tuple[str, int]:
    """(a line of at most 80 characters, a line an objective and the performance data; the exit code)."""
    code = _exit(found)
    worst = sorted(found, key=lambda each: -_rank(each))
    said = f"{worst[0].name}: {worst[0].text}" if worst and code else "every objective is kept"
    said = "not enough data for a verdict" if code == 3 else said
    head = f"K1 {WORDS[code]} - slo: "
    lines = [f"{_WORDS[each.state]}: {each.name}: {each.text}" for each in worst]
    lines += [f"{step.what}: {step.text}" for each in worst for step in each.steps]
    return long_output(head + short(said, LINE - len(head)), lines, [_datum(each) for each in found]), code


def _rank(each: Objective) -> int:
    return 2 if each.state == BROKEN or each.firing else 1 if each.steps else 0


def _exit(found: Sequence[Objective]) -> int:
    rank = max((_rank(each) for each in found), default=0)
    return 3 if not rank and all(each.state == UNKNOWN for each in found) else rank


def _datum(each: Objective) -> str:
    events = each.good + each.bad
    value = round(100.0 * each.good / events, 3) if events else None
    return datum(f"'{each.name}'", value, "%", crit=below(each.target * 100), least=0, most=100)
