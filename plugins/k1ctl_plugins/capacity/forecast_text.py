"""`k1ctl capacity forecast` for people."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from k1ctl.capacity.forecast import BUSY, HEADROOM, PEAK
from k1ctl.output import style, table
from k1ctl.units import format_duration, format_size
from k1ctl_plugins.capacity.layout import fitted, labelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl_plugins.capacity.forecast_study import Study

_LABEL = 12  # columns of a line's label
_ROWS = 13  # months that are shown; the JSON has all


def lines(study: Study) -> Iterator[str]:
    """The number and what it is made of, the months, and the hardware."""
    demand, origins = study.demand, study.origins
    yield from _line(
        "demand",
        f"{demand.tasks:.3g} tasks an hour ({origins['tasks_per_hour']}) x {demand.hours:.3g} h"
        f" ({origins['hours_per_task']}) = {demand.load:.4g} at once",
    )
    yield from _line(
        "instances",
        f"{demand.required()} = ceil({demand.load:.4g} / ({demand.concurrency} x {demand.efficiency:g}));"
        f" {demand.concurrency} at once each ({origins['concurrency']})",
    )
    yield from _line(
        "beside it",
        f"{demand.required(HEADROOM)} with {HEADROOM - 1:.0%} headroom; {demand.required(PEAK)} at a peak of"
        f" {PEAK:g} times the demand",
    )
    yield from _wait(study)
    yield from _growth(study)
    yield ""
    step = -(-len(study.rows) // _ROWS)
    rows = (
        [r for r in study.rows if r.number % step == 0 or r is study.rows[-1]] if study.growth.rate else study.rows[:1]
    )
    cells = [
        (study.month(r.number), f"{r.demand.tasks:.3g}", f"{r.demand.load:.3g}", r.required, r.headroom, r.peak)
        for r in rows
    ]
    yield table(cells, ("MONTH", "TASKS/H", "AT ONCE", "INSTANCES", f"+{HEADROOM - 1:.0%}", f"PEAK x{PEAK:g}"))
    yield ""
    yield from _outgrown(study)
    yield ""
    yield from _hardware(study)


def _wait(study: Study) -> Iterator[str]:
    wait, staffing = study.wait, study.staffing
    if wait.mean == inf:
        text = f"{wait.servers} places are busy all the time: the line never ends"
    else:
        text = f"{wait.servers} places are {wait.busy:.0%} busy: {_percent(wait.share)} of the tasks wait"
        text += f", {format_duration(wait.mean * 3600)} on average over all"
        text += f", 1 in 10 longer than {format_duration(wait.p90 * 3600)}" if wait.p90 else ""
    yield from _line("wait", text)
    yield from _line(
        "square root",
        f"{staffing.rule} places = ceil({staffing.load:.3g} + {staffing.beta:.2f} x sqrt({staffing.load:.3g})) for at"
        f" most {staffing.waiting:.0%} that wait; exactly {staffing.servers} (Erlang C)",
    )


def _percent(share: float) -> str:
    return "fewer than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _growth(study: Study) -> Iterator[str]:
    growth = study.growth
    if growth.rate is None:
        yield from _line("growth", f"{growth.text}; none is assumed (--growth 10%/month)")
        return
    error = f", error {100 * growth.error:.0f} points" if growth.error else ""
    yield from _line("growth", f"{100 * growth.rate:+.1f} % a month ({growth.text}{error})")


def _outgrown(study: Study) -> Iterator[str]:
    there = f"{study.hosts} instance{'s' * (study.hosts != 1)}"
    told = []
    for name, what in (("required", "by the demand"), ("headroom", "with headroom"), ("peak", "at peaks")):
        number = study.outgrown[name]
        when = "not within these months" if number is None else "now" if number == 0 else f"in {study.month(number)}"
        told.append(f"{what}: {when}")
    yield from _line("outgrown", f"{there}; {'; '.join(told)}")


def _hardware(study: Study) -> Iterator[str]:
    yield style(f"HARDWARE (with {HEADROOM - 1:.0%} headroom, slots at most {BUSY:.0%} busy)", "bold")
    cells = [
        (
            study.month(number),
            found.agents,
            found.hosts,
            format_size(found.memory) if found.memory else "more than the matrix has",
            found.cores,
            format_size(found.matrix) if found.matrix else "-",
            ", ".join(f"{name} {n}" for name, n in found.slots.items()),
        )
        for number, found in (study.hardware if study.growth.rate else study.hardware[:1])
    ]
    yield fitted(cells, ("FOR", "AGENTS", "HOSTS", "RAM OF EACH", "CORES", "RAM BY MATRIX", "SLOTS OF EACH"))
    yield f"this host: {format_size(study.facts.memory)}, {study.facts.cores} cores"


def _line(label: str, text: str) -> Iterator[str]:
    return labelled(label, text, _LABEL)
