"""`k1ctl capacity show` for people: at most 100 columns, short, or with every step of the calculation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.capacity import bounds, formula, limits
from k1ctl.capacity.explain import counted
from k1ctl.capacity.levels import ADMIT, APART, BUILD, KILL, SUSPEND
from k1ctl.capacity.scenarios import TURN_GOAL
from k1ctl.output import style, table
from k1ctl.units import format_size
from k1ctl_plugins.capacity.layout import PARAMETERS, fitted, labelled, parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.capacity.explain import Answer
    from k1ctl.capacity.facts import Facts
    from k1ctl_plugins.capacity.show_state import State

_LABEL = 13  # columns of a line's label
_LEVELS = ("calm", "no agent is let in", "builds and runs wait", "the youngest run pauses", "the youngest run is ended")
_MARKS = ((ADMIT, "agents wait"), (BUILD, "builds wait"), (SUSPEND, "runs pause"), (KILL, "runs are ended"))
_FITS = 14  # rows of busy slots that are shown


def short(answer: Answer, state: State) -> Iterator[str]:
    """The host, what is promised, and how many agents fit."""
    yield from _host(answer.facts, state)
    yield ""
    yield from _queue(state)
    yield ""
    yield from _line("agents", answer.numbers(), "bold")
    yield from _line("binds", f"{answer.binds.name}: {answer.binds.text}")
    if answer.binds_burst.name != answer.binds.name:
        yield from _line("in a burst", f"{answer.binds_burst.name}: {answer.binds_burst.text}")
    steps = bounds.calculation(answer.facts.memory, answer.reserve, answer.per_agent[0])
    yield from _line("formula", f"{answer.by_formula.agents} = {steps}")
    yield from _line("matrix", _beside_the_formula(answer))
    yield from _line("base + slots", _base_and_slots(answer))
    for text in [*map(str, answer.excess), *state.problems]:
        yield from _line("warning", text, "yellow")


def _beside_the_formula(answer: Answer) -> str:
    sizes, agents, kept = (
        ", ".join(f"{n // unit}" for n in numbers)
        for numbers, unit in (
            ([row.memory for row in answer.rows], formula.GIB),
            ([row.agents for row in answer.rows], 1),
            ([row.reserve for row in answer.rows], formula.GIB),
        )
    )
    return f"{_matrix_here(answer)}: {agents} agents at {sizes} GiB, which keep {kept} GiB back"


def _matrix_here(answer: Answer) -> str:
    low, high = answer.matrix_range()
    return f"{low} to {high}" if low != high else f"{low}"


def _base_and_slots(answer: Answer) -> str:
    most, share = answer.fits[-1], answer.odds.get(answer.by_memory)
    slots = f"{most.slots} heavy slot{'s' * (most.slots != 1)}"
    told = f"{answer.by_memory} with {slots}" if most.fits else f"{answer.by_memory}: too few to keep {slots} busy"
    return told if share is None else f"{told} (more than there is: {_share(share)} of the time)"


def full(answer: Answer, state: State) -> Iterator[str]:
    """`short`, then each step with its figures and where they come from."""
    yield from short(answer, state)
    yield from _matrix(answer)
    yield from _two_part(answer)
    yield from _classes(state)
    yield from _turns(answer)
    yield from _bounds(answer)
    if answer.differs:
        yield ""
        yield style("WHERE THE FIGURES DIFFER", "bold")
        for text in answer.differs:
            yield from _line("-", text, indent=2)


def _host(facts: Facts, state: State) -> Iterator[str]:
    words = [
        f"{facts.cores} core{'s' * (facts.cores != 1)}",
        f"{format_size(facts.memory)} of memory ({facts.used_percent:.0f} % in use)",
    ]
    words.append(
        f"{format_size(facts.swap)} of swap ({_percent(facts.swap_used, facts.swap)})" if facts.swap else "no swap"
    )
    if facts.load is not None:
        words.append(f"load {facts.load:.1f}")
    if facts.container:
        words.append(f"limited by its container (cgroup {facts.container.get('version')})")
    if facts.origin != facts.system:
        words.append(f"as {facts.origin} has it")
    yield from _line("host", ", ".join(words))
    shares = [
        f"{name} {figures['some_avg60']:.0f} %" for name, figures in facts.pressure.items() if "some_avg60" in figures
    ]
    words = [f"stalled for {', '.join(shares)} of the last minute"] * bool(shares)
    words += [f"memory pressure {facts.level}"] * bool(facts.level)
    words += [f"thermal {facts.thermal}"] * bool(facts.thermal)
    words += [f"{facts.celsius:.0f} °C"] if facts.celsius is not None else []
    yield from _line("pressure", "; ".join(words) or "not told by the system")
    for gpu in facts.gpus:
        used = "" if gpu.get("used_bytes") is None else f", {format_size(gpu['used_bytes'])} in use"
        told = f" ({gpu['error']})" if gpu.get("error") else f", {format_size(gpu.get('memory_bytes') or 0)}{used}"
        yield from _line("gpu", f"{gpu.get('name') or 'unnamed'}{told}")
    if state.disk is not None:
        yield from _line("disk", f"{format_size(state.disk.free)} free, {state.disk.percent} % in use")
    marks = ", ".join(f"{what} from {state.level.marks[n]:g} %" for n, what in _MARKS if n in state.level.marks)
    told = f"{_LEVELS[state.level.number]}: {state.level.reason}" if state.level.number else "calm"
    if any(n > state.level.number and facts.used_percent >= mark for n, mark in state.level.marks.items()):
        told += f", with memory at {facts.used_percent:.0f} % by this look (a second one, {APART:g} s later, decides)"
    yield from _line("watermark", f"{told}; {marks or 'none is set'}", "yellow" if state.level.number else "")
    yield from _line("promised", _promised(state))


def _promised(state: State) -> str:
    count, waiting = len(state.held), len(state.waiting)
    beyond = f" ({format_size(state.beyond)} of it beyond what was promised)" if state.beyond else ""
    words = [f"{format_size(state.promised)} of memory"] * bool(state.promised)
    words += [f"{format_size(state.seen)}{'' if words else ' of memory'} seen{beyond}"] * bool(words or state.seen)
    words += [f"{limits.called(r['resource'])} {r['text']}" for r in state.resources if r["resource"] != "mem"]
    told = f"{', '.join(words)} in {count} promise{'s' * (count != 1)}" if count else "nothing"
    told += f"; others use {format_size(state.others)}, {format_size(state.free)} may still be promised"
    told += f" (to the first {format_size(state.first)})" if state.first > state.free else ""
    return told + (f"; {waiting} wait{'s' * (waiting == 1)} for room" if waiting else "")


def _queue(state: State) -> Iterator[str]:
    rows = [
        (
            row["resource"],
            row["slots"],
            row["busy"] or "-",
            row["waiting"] or "-",
            format_size(row["bytes_each"]) if row["bytes_each"] else "-",
            _short_origin(row["origin"] or ""),
        )
        for row in state.pools
    ]
    yield fitted(rows, ("RESOURCE", "SLOTS", "BUSY", "WAITING", "A SLOT", "FROM"))


def _short_origin(origin: str) -> str:
    """``default``, ``configured``, or what it was measured from; --explain has the whole."""
    kind = origin.replace(":", " ").partition(" ")[0]
    return origin if kind == "measured" else kind


def _matrix(answer: Answer) -> Iterator[str]:
    yield ""
    yield style("FORMULA AND MATRIX", "bold")
    yield from _line("reserve", f"{format_size(answer.reserve)}: {_reserve_origin(answer)}", indent=2)
    yield from _line("an agent", f"{format_size(answer.per_agent[0])}: {answer.per_agent[1]}", indent=2)
    memory = answer.facts.memory
    rows = [
        (_gib(row.memory), row.agents, _gib(row.reserve), row.formula, _gib(formula.default_reserve(row.memory)))
        for row in answer.rows
    ]
    here = (f"{_gib(memory)} here", _matrix_here(answer), "-", answer.by_formula.agents, _gib(answer.reserve))
    at = sum(row.memory <= memory for row in answer.rows)
    yield table([*rows[:at], here, *rows[at:]], ("RAM", "MATRIX", "RESERVE IT IMPLIES", "FORMULA", "ITS RESERVE"))


def _reserve_origin(answer: Answer) -> str:
    if answer.config.get("capacity", "reserve"):
        return f"configured ({formula.setting('reserve', answer.config)})"
    share = answer.facts.memory * formula.RESERVE_PERCENT // 100
    return f"the larger of {format_size(formula.RESERVE)} and {formula.RESERVE_PERCENT} % ({format_size(share)})"


def _two_part(answer: Answer) -> Iterator[str]:
    yield ""
    yield style("BASE AND SLOTS: base x N + heavy x slots <= RAM - reserve", "bold")
    yield from _line("room", f"{_gib(answer.facts.memory)} - {_gib(answer.reserve)} = {_gib(answer.room)}", indent=2)
    for label, (size, origin) in (("base", answer.base), ("in a burst", answer.burst_base)):
        yield from _line(label, f"{format_size(size)}: {origin}", indent=2)
    for pool in answer.pools:
        text = f"{pool.slots} x {format_size(pool.each)} = {format_size(pool.total)}; {pool.origin}"
        yield from _line(pool.resource, text, indent=2)
    step = -(-len(answer.fits) // _FITS)
    shown = [fit for fit in answer.fits if fit.slots % step == 0 or fit is answer.fits[-1]]
    rows = [(fit.slots, format_size(fit.heavy), fit.agents if fit.fits else f"{fit.agents}: too few") for fit in shown]
    yield table(rows, ("BUSY SLOTS", "TAKE", "AGENTS"))
    odds = "; ".join(f"{counted(n)} {_share(share)}" for n, share in answer.odds.items())
    text = f"of the time they take more than the reserve leaves (simulated, with a seed): {odds}"
    yield from _line("odds", text if odds else "not simulated: too many", indent=2)


def _turns(answer: Answer) -> Iterator[str]:
    turns = answer.turns
    model = turns.model
    yield ""
    yield style("TURNS: think, wait for a slot, build, upload", "bold")
    if answer.parameters:
        yield fitted([parameter(p) for p in answer.parameters], PARAMETERS)
    else:
        builds = ", ".join(f"{kind.name} {kind.slots} slots, {kind.seconds / 60:.3g} min" for kind in model.kinds)
        text = (
            f"the annex's mixed load: {model.think / 60:.3g} min of thinking; {builds}; {model.uploads:.0%} of turns"
            f" upload for {model.upload:.0f} s"
        )
        yield from _line("model", text, indent=2)
    share, room = f"{bounds.BUSY:.0%}", f"{1 - bounds.BUSY:.0%}"
    why = [
        (turns.with_headroom(), f"the most with {room} headroom: slots {share} busy"),
        (turns.knee, f"the knee, {turns.exact_knee:.1f}: each further one adds waiting, and no work"),
        (turns.within_limit(), f"the most of whose turns nine in ten end within {TURN_GOAL / 60:.0f} min"),
    ]
    rows = [
        (n, f"{turns.busy(n):.0%}", f"{turns.of(n).p90 / 60:.1f} min", f"{turns.of(n).upload_p90:.0f} s", text)
        for n, text in sorted(why)
        if n
    ]
    yield fitted(rows, ("AGENTS", "SLOTS BUSY", "TURN P90", "UPLOAD P90", "WHY SO MANY"))


def _classes(state: State) -> Iterator[str]:
    if not state.classes:
        return
    yield ""
    yield style("MEASURED", "bold")
    rows = [
        (one.class_, one.runs, *(format_size(n) for n in (one.p50, one.p95, one.target)), one.confidence)
        for one in state.classes
    ]
    yield fitted(rows, ("CLASS", "RUNS", "P50", "P95", "TO PROMISE", "CONFIDENCE"))


def _bounds(answer: Answer) -> Iterator[str]:
    yield ""
    yield style("BOUNDS", "bold")
    for bound in answer.bounds:
        number = "-" if bound.agents is None else str(bound.agents)
        number += f", burst {bound.burst}" if bound.burst != bound.agents else ""
        marks = ["binds"] * (bound is answer.binds) + [bound.condition] * bool(bound.condition)
        number += f" ({', '.join(marks)})" if marks else ""
        yield from _line(bound.name, f"{number}: {bound.text}", indent=2)


def _line(label: str, text: str, colour: str = "", indent: int = 0) -> Iterator[str]:
    """A labelled text, wrapped, with what follows indented."""
    return labelled(label, text, indent + (_LABEL if label != "-" else 2), colour=colour, indent=indent)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} % in use" if whole else "none"


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _gib(size: int) -> str:
    return f"{size / formula.GIB:.4g} GiB"
