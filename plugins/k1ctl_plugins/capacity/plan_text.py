"""`k1ctl capacity plan` for people."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from k1ctl.capacity.explain import counted
from k1ctl.capacity.scenarios import TURN_GOAL, waves
from k1ctl.output import style
from k1ctl.units import format_size
from k1ctl_plugins.capacity.layout import PARAMETERS, fitted, labelled, parameter
from k1ctl_plugins.capacity.plan_study import USUAL, told_from_noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.capacity.levers import Lever
    from k1ctl.capacity.planning import Plan
    from k1ctl.capacity.whatif import Changed
    from k1ctl_plugins.capacity.plan_study import Study

_HEADERS = ("LOAD", "AGENTS", "P50", "P90", "ANNEX", "WAIT", "LAST", "SLOTS", "DEVICE", "UPLOAD P90", "KNEE")
_LABEL = 10  # columns of a line's label


def lines(study: Study) -> Iterator[str]:
    """The loads in a table, then the one in focus in full."""
    yield from _head(study)
    rows = []
    for base, others in study.plans:
        rows.append(_row(base.name, base))
        rows += [_row(f"  {change.text}", then) for change, then in others]
    yield fitted(rows, _HEADERS)
    yield ""
    yield from _detail(study, *study.focus)


def _head(study: Study) -> Iterator[str]:
    found, log = study.found, study.found.log
    seen, usual = found.observed, found.model
    turns = f"{seen.turns} turn{'s' * (seen.turns != 1)} of {seen.workspaces} workspace{'s' * (seen.workspaces != 1)}"
    if study.measured:
        yield f"{turns} in {study.days} days of history; times in minutes"
    else:
        few = f" ({turns})" if seen.turns else ""
        yield f"no history that is long enough{few}: the annex's loads on this host; times in minutes"
    slots = ", ".join(f"{kind.name} {kind.slots}" for kind in usual.kinds)
    yield from _line("slots", f"{slots}; {usual.devices} device{'s' * (usual.devices != 1)}")
    if log and log.cut:
        yield f"only the newest {log.lines} events were read"
    if log and log.damaged:
        yield f"{log.damaged} damaged records were passed over"
    yield ""


def _row(name: str, plan: Plan) -> tuple[str, ...]:
    out = plan.outcome
    busiest = max(share for station, share in out.busy.items() if station != "device")
    annex = f"{plan.annex[0]} to {plan.annex[1]}" if plan.annex else "-"
    return (
        name,
        str(plan.model.agents),
        _minutes(out.p50),
        _minutes(out.p90),
        annex,
        _minutes(out.build_wait),
        _minutes(out.last) if out.last else "-",
        f"{busiest:.0%}",
        f"{out.busy['device']:.0%}",
        _minutes(out.upload_p90) if out.upload_p90 else "-",
        f"{plan.bounds.knee:.1f}" if plan.bounds.knee < inf and not plan.model.burst else "-",
    )


def _detail(study: Study, base: Plan, others: list[tuple[Changed, Plan]]) -> Iterator[str]:
    yield style(f"THE {base.name.upper()} LOAD", "bold")
    yield from _goals(base)
    if base.name == USUAL:
        yield from _beside_history(study)
    for change, then in others:
        yield ""
        yield from labelled("", f"WHAT IF {change}", 0, colour="bold")
        yield from _compared(base, then)
    yield ""
    yield style("WHAT WOULD HELP (p90 of a turn, in seconds)", "bold")
    rows = [(lever.text, _gain(lever), _cost(lever)) for lever in study.levers]
    yield fitted(rows, ("CHANGE", "P90", "COSTS"))
    for lever in study.levers:
        if lever.slower is not None and not _nothing(lever):
            yield from labelled("", f"{lever.text} gains nothing once builds take {lever.slower:.0%} longer for it", 0)
    yield ""
    yield style("WHERE THE NUMBERS ARE FROM (the usual load)", "bold")
    yield fitted([parameter(p) for p in study.found.parameters], PARAMETERS)


def _goals(plan: Plan) -> Iterator[str]:
    out, up, memory = plan.outcome, plan.uploads, plan.memory
    if plan.limits:
        first, at = plan.limits[0], plan.model.agents
        lead = "" if first.agents < at else f"nothing with {counted(at)}; the first would be "
        yield from _line("binds", f"{lead}{first.name}: {first.text}")
        most = next(limit for limit in plan.limits if limit.name == "turn goal").agents
        upto = "with any number of agents" if most == inf else f"up to {counted(int(most))}"
        holds = "holds" if plan.turn_holds else "does not hold"
        yield from _line("turns", f"p90 within {TURN_GOAL / 60:g} min {holds} ({_minutes(out.p90)}); {upto}")
    else:
        rule = waves(plan.model)
        yield from _line(
            "burst", f"the last is done after {_minutes(out.last)} min; in full waves it would be {_minutes(rule)}"
        )
    if plan.upload_holds is None:
        yield from _line("uploads", "none in this load")
    elif up.rate:
        holds = "holds" if plan.upload_holds else "does not hold"
        yield from _line(
            "uploads",
            f"p90 within {up.goal:g} s {holds} ({out.upload_p90:.0f} s); up to {up.rate * 3600:.0f} an hour"
            f" ({up.utilisation:.0%} busy), this load has {out.upload_rate * 3600:.0f}",
        )
    else:
        text = f"p90 within {up.goal:g} s cannot hold: one transfer in ten takes {up.alone:.0f} s or more by itself"
        most = plan.model.upload * up.goal / up.alone
        yield from _line("uploads", f"{text} (mean {plan.model.upload:.0f} s; it takes {most:.0f} s or less)")
    fits = "fits" if memory.fits else f"does not fit: {counted(memory.agents)} would"
    where = " on each host" if plan.model.hosts > 1 else ""
    text = f"{format_size(memory.need)} of {format_size(memory.room)}{where} with all slots busy: {fits}"
    yield from _line("memory", text)


def _beside_history(study: Study) -> Iterator[str]:
    seen, out, hours = study.found.observed, study.replay, study.found.hours
    if out is None:
        return
    agents = max(1, round(hours.together))
    yield from _line(
        "recorded",
        f"with {counted(agents)} on average: p90 of a turn {_minutes(seen.p90)} (the model's {_minutes(out.p90)}),"
        f" of a wait {_minutes(seen.wait_p90)} ({_minutes(out.build_wait_p90)}), of uploads"
        f" {_minutes(seen.upload_p90)} ({_minutes(out.upload_p90)})",
    )
    if study.misfit:
        yield from _line("", "the model misses something here: believe what was recorded (docs/capacity-plan.md)")
    yield from _line("by hour", f"{hours.mean:.1f} turns in an hour with any, {hours.busiest} in the busiest")


def _compared(base: Plan, then: Plan) -> Iterator[str]:
    a, b = base.outcome, then.outcome
    rows = [
        (name, _minutes(before), _minutes(after), _signed((after - before) / 60))
        for name, before, after in (
            ("p50 of a turn", a.p50, b.p50),
            ("p90 of a turn", a.p90, b.p90),
            ("wait for a slot", a.build_wait, b.build_wait),
            ("wait for a device", a.device_wait, b.device_wait),
            ("p90 of an upload", a.upload_p90, b.upload_p90),
            *((("last of the burst", a.last, b.last),) if a.last else ()),
        )
    ]
    for station in a.busy:
        before, after = a.busy[station], b.busy[station]
        rows.append((f"{station} busy", f"{before:.0%}", f"{after:.0%}", f"{100 * (after - before):+.0f} points"))
    if not base.model.burst:
        one, two = base.bounds.knee, then.bounds.knee
        rows.append(("knee", f"{one:.1f}", f"{two:.1f}", f"{_signed(two - one)} agents" if two < inf else ""))
    need, after_need = base.memory.need, then.memory.need
    more = ("+" if after_need >= need else "-") + format_size(abs(after_need - need))
    fits = "" if then.memory.fits else ", does not fit"
    rows.append(("memory of a host", format_size(need), format_size(after_need) + fits, more))
    yield fitted(rows, ("", "NOW", "THEN", "DIFFERENCE"))
    if not told_from_noise(base, then):
        yield "the p90 differs by no more than chance would make of it: --turns 200000 tells more"


def _cost(lever: Lever) -> str:
    return lever.cost if lever.fits else f"does not fit: {lever.cost}"


def _gain(lever: Lever) -> str:
    return "no difference" if _nothing(lever) else f"{-lever.gain:+.0f} (error {lever.error:.0f})"


def _nothing(lever: Lever) -> bool:
    return lever.noise or abs(lever.gain) < 0.5


def _signed(number: float) -> str:
    text = f"{number:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _line(label: str, text: str) -> Iterator[str]:
    return labelled(label, text, _LABEL)
