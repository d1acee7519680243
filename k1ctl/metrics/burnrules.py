"""Rules for the objectives of ``[slo]``: what failed of what ended in each window, and when that is no chance."""

from __future__ import annotations

from k1ctl.metrics.alertrules import OWN, Alert, Case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.slo.objectives import Rule

_LABEL = {"build": "target", "upload": "target", "test": "device", "run": "kind"}
_BAD, _EVENTS = "k1:slo_bad:increase", "k1:slo_events:increase"
DAY = 86400.0
STEP, EVALUATED = 120.0, 3600.0  # s, in cases: between two samples, and two evaluations (a day of them takes a while)
FEW = 10  # ends of a day below which a quantile says nothing


def records(config: Config) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(Name, expression, labels) of the recording rules: bad and all ends of each objective by success."""
    for rule in _by_success(config):
        for window in sorted({seconds for pair in _pairs(rule) for seconds in pair[1:3]}):
            every = _increase(rule, _results(rule, good=True, bad=True), window)
            bad = _increase(rule, _results(rule, good=False, bad=True), window)
            yield f"{_EVENTS}{short(window)}", every, {"objective": rule.name}
            yield f"{_BAD}{short(window)}", bad, {"objective": rule.name}


def alerts(config: Config) -> Iterator[Alert]:
    """An alert for each pair of windows of each objective by success, and for each objective by time."""
    if not config.get("alerts", "burn", "on"):
        return
    lasting = float(config.get("alerts", "burn", "for"))
    for rule in _by_success(config):
        for pair in _pairs(rule):
            yield _burn(rule, *pair, lasting)
    for rule in _by_time(config):
        yield _slow(rule, lasting)


def _by_success(config: Config) -> list[Rule]:
    from k1ctl.slo.objectives import rules

    return [rule for rule in rules(config) if not rule.within and rule.kind in _LABEL]


def _by_time(config: Config) -> list[Rule]:
    from k1ctl.slo.objectives import rules

    return [rule for rule in rules(config) if rule.within]


def _pairs(rule: Rule) -> list[tuple[str, float, float, float]]:
    from k1ctl.slo.burn import pairs

    return pairs(rule.allowed)


def _results(rule: Rule, *, good: bool, bad: bool) -> str:
    from k1ctl.tally.kinds import RESULTS, verdict

    wanted = [r for r in RESULTS if (good and verdict(rule.kind, r) > 0) or (bad and verdict(rule.kind, r) < 0)]
    return "|".join(wanted)


def _increase(rule: Rule, results: str, window: float) -> str:
    of = f", {_LABEL[rule.kind]}={quoted(rule.of)}" if rule.of else ""
    return f'sum by (job, instance) (increase(k1_{rule.kind}s_total{{result=~"{results}"{of}}}[{short(window)}]))'


def _burn(rule: Rule, name: str, long: float, brief: float, factor: float, lasting: float) -> Alert:
    from k1ctl.slo.binomial import fewest
    from k1ctl.slo.burn import ENOUGH, LEVEL, PAIRS

    share = round(factor * rule.allowed, 6)
    least = fewest(rule.allowed, LEVEL) if long == PAIRS[-1][1] else ENOUGH
    which = f"{{objective={quoted(rule.name)}}}"
    bad, events = f"{_BAD}{short(long)}{which}", f"{_EVENTS}{short(long)}{which}"
    now = f"{_BAD}{short(brief)}{which} / {_EVENTS}{short(brief)}{which}"
    expr = f"{bad} / {events} >= {share:g}\nand {events} >= {least}\nand {bad} > {chance(events, rule.allowed)}"
    return Alert(
        f"K1ErrorBudgetBurns{name.capitalize()}",
        f"{expr}\nand {now} >= {share:g}",
        lasting=lasting,
        severity="critical" if factor > 1 else "warning",
        labels={"objective": rule.name, "pair": name},
        summary="{{ $labels.objective }}: {{ $value | humanizePercentage }} failed within " + short(long),
        advice="k1ctl slo; k1ctl events query --failed",
        cases=_burn_cases(rule, name, long, lasting, least),
    )


def chance(events: str, allowed: float) -> str:
    """More failures than this are rarer than 1 in 100 where a share ``allowed`` fails: an upper bound of the binomial's
    99th percentile, of which more than one event is never given away (0.01 <= allowed <= 0.5)."""
    return f"{allowed:g} * {events} + 2.33 * sqrt({round(allowed * (1 - allowed), 9):g} * {events}) + 1.2"


def _burn_cases(rule: Rule, pair: str, long: float, lasting: float, least: int) -> list[Case]:
    """All that ends fails, or nothing does; too few, all failed. Counters rise for the whole of the long window."""
    of = f", {_LABEL[rule.kind]}={quoted(rule.of or 'fw')}"
    done, failed = (f'k1_{rule.kind}s_total{{{OWN}, result="{result}"{of}}}' for result in ("done", "failed"))
    fires = ({"job": "k1ctl", "instance": "h", "objective": rule.name, "pair": pair},)
    at = _late(long + lasting)
    steps = int(at // STEP)
    few = f"0+0x{steps - 1} {max(1, least - 2)}+0x1"
    return [
        Case(at, {failed: f"0+1x{steps}", done: f"0+0x{steps}"}, fires, "100%"),
        Case(at, {failed: f"0+0x{steps}", done: f"0+1x{steps}"}),
        Case(at, {failed: few, done: f"0+0x{steps}"}),
    ]


def _late(seconds: float) -> float:
    """The first time at which rules are evaluated that is a whole interval later than this."""
    return (seconds // EVALUATED + 1 + (seconds % EVALUATED > 0)) * EVALUATED


def _slow(rule: Rule, lasting: float) -> Alert:
    name = f"k1_{rule.kind}_duration_seconds"
    of = f"{{{_LABEL[rule.kind]}={quoted(rule.of)}}}" if rule.of and rule.kind in _LABEL else ""
    day = short(DAY)
    quantile = f"histogram_quantile({rule.target:g}, sum by (job, instance, le) (increase({name}_bucket{of}[{day}])))"
    count = f"sum by (job, instance) (increase({name}_count{of}[{day}])) >= {FEW}"
    own = f", {_LABEL[rule.kind]}={quoted(rule.of or 'fw')}" if rule.kind in _LABEL else ""
    under, over = f"{rule.within / 2:g}", f"{rule.within * 10:g}"

    at = _late(DAY + lasting)
    steps = int(at // STEP)

    def series(fast: int, slow: int) -> dict[str, str]:
        counts = {under: fast, f"{rule.within:g}": fast, over: fast + slow, "+Inf": fast + slow}
        found = {f'{name}_bucket{{{OWN}{own}, le="{le}"}}': f"0+{rise}x{steps}" for le, rise in counts.items()}
        return {**found, f"{name}_count{{{OWN}{own}}}": f"0+{fast + slow}x{steps}"}

    fires = ({"job": "k1ctl", "instance": "h", "objective": rule.name},)
    return Alert(
        "K1ObjectiveSlow",
        f"{quantile} > {rule.within:g}\nand {count}",
        lasting=lasting,
        labels={"objective": rule.name},
        summary=f"{rule.name}: {rule.target:.3g} of a day's {rule.kind}s took longer than {rule.within:g} s",
        advice="k1ctl slo; k1ctl queue stats",
        cases=[Case(at, series(0, 1), fires), Case(at, series(1, 0))],
    )


def quoted(text: str) -> str:
    """A name that the user chose as PromQL and series in cases have it: JSON's strings are of both."""
    import json

    return json.dumps(text, ensure_ascii=False)


def short(seconds: float) -> str:
    """A duration as Prometheus has it: ``1d``, ``6h``, ``5m``, ``90s``."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{round(seconds * 1000)}ms"
