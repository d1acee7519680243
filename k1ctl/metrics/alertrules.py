"""Alert rules for Prometheus, with the limits of ``[alerts]`` and ``[slo]``, each with cases on both sides of it.

What `k1ctl alert check` decides from files these decide from samples, for who has Prometheus anyway. Burning error
budgets go by events: few builds an hour tell nothing by a share alone (`k1ctl.slo.burn` has the pairs of windows; one
whose threshold would be above 1 makes no rule). PromQL has no binomial distribution: `chance` bounds its tail.
"""

from __future__ import annotations

from k1ctl.metrics.aliases import AGENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.config import Config

STEP = 60.0  # s, in cases: between two samples, and two evaluations
OWN = 'job="k1ctl", instance="h"'  # of the series in cases


class Case:
    """Series, and what an alert does ``at`` so many seconds: ``fires`` are the labels of each alert that fires, with
    ``value``, as its text has it; () where none does."""

    __slots__ = ("at", "fires", "series", "value")

    def __init__(
        self, at: float, series: dict[str, str], fires: tuple[dict[str, str], ...] = (), value: str = ""
    ) -> None:
        self.at, self.series, self.fires, self.value = at, series, fires, value


class Alert:
    """One rule: fires when ``expr`` has held for ``lasting`` seconds. ``summary`` says what is wrong, ``advice`` what
    to do; ``labels`` are its own beside the severity."""

    __slots__ = ("advice", "cases", "expr", "labels", "lasting", "name", "severity", "summary")

    def __init__(
        self,
        name: str,
        expr: str,
        *,
        summary: str,
        advice: str,
        cases: list[Case],
        lasting: float = 0.0,
        severity: str = "warning",
        labels: dict[str, str] | None = None,
    ) -> None:
        self.name, self.expr, self.summary, self.advice, self.cases = name, expr, summary, advice, cases
        self.lasting, self.severity, self.labels = lasting, severity, labels or {}


def alerts(config: Config) -> Iterator[Alert]:
    """The alerts of a configuration; those of ``[alerts.NAME] on = false`` are left out."""

    def given(name: str) -> dict[str, Any]:
        return config.section("alerts", name)

    makers = {"queue": _queue, "success": _success, "disk": _disk, "device": _device, "budget": _budget, "host": _host}
    for name, make in makers.items():
        if given(name)["on"]:
            yield make(given(name))
    if given("exporter")["on"]:
        yield from _exporter(given("exporter"), float(config.get("metrics", "period")))


def held(values: int | float, seconds: float, *, before: int | float | None = None, ahead: int = 0) -> str:
    """A series in steps of a minute: ``ahead`` times the value ``before``, then ``values`` for ``seconds`` and more."""
    steps = int(seconds // 60) + 3
    text = f"{values:g}+0x{steps}"
    return text if before is None else f"{before:g}+0x{ahead - 1} {text}"


def _queue(given: dict[str, Any]) -> Alert:
    limit, lasting = given["limit"], float(given["for"])
    name = f'k1_queue_waiting{{{OWN}, resource="device:k1"}}'
    fires = ({"job": "k1ctl", "instance": "h", "resource": "device:k1"},)
    over, at = {name: held(limit + 1, lasting)}, {name: held(limit, lasting)}
    cases = [Case(lasting + 60, over, fires, f"{limit + 1}"), Case(lasting + 60, at)]
    if lasting >= 120:
        cases.append(Case(lasting - 60, over))
    return Alert(
        "K1QueueLong",
        f"k1_queue_waiting > {limit}",
        lasting=lasting,
        summary="{{ $value }} wait for {{ $labels.resource }}",
        advice="k1ctl queue list; k1ctl why TICKET",
        cases=cases,
    )


def _success(given: dict[str, Any]) -> Alert:
    limit, events, lasting = float(given["limit"]), given["events"], float(given["for"])
    good, bad = (f'k1_recent_outcomes{{{OWN}, kind="build", verdict="{verdict}"}}' for verdict in ("good", "bad"))
    kinds = "|".join(AGENTS)

    def total(verdict: str) -> str:
        return f'sum by (job, instance) (k1_recent_outcomes{{kind=~"{kinds}", verdict=~"{verdict}"}})'

    fires = ({"job": "k1ctl", "instance": "h"},)
    low = {good: held(0, lasting), bad: held(events, lasting)}
    few = {good: held(0, lasting), bad: held(events - 1, lasting)}
    well = {good: held(events, lasting), bad: held(0, lasting)}
    at = lasting + 60
    return Alert(
        "K1SuccessLow",
        f"{total('good')} / {total('good|bad')} < {limit:g}\nand {total('good|bad')} >= {events}",
        lasting=lasting,
        summary="only {{ $value | humanizePercentage }} of builds, uploads and tests went well lately",
        advice="k1ctl events query --failed; k1ctl slo",
        cases=[*([Case(at, low, fires, "0%")] if limit > 0 else []), Case(at, few), Case(at, well)],
    )


def _disk(given: dict[str, Any]) -> Alert:
    limit, lasting = given["limit"] / 100, float(given["for"])
    name = f"k1_disk_used_ratio{{{OWN}}}"
    fires = ({"job": "k1ctl", "instance": "h"},)
    over, at = {name: held(limit + 0.01, lasting)}, {name: held(limit, lasting)}
    value = f"{round(limit * 100 + 1, 2):g}%"
    return Alert(
        "K1DiskFull",
        f"k1_disk_used_ratio > {limit:g}",
        lasting=lasting,
        summary="the disk of the root is at {{ $value | humanizePercentage }}",
        advice="k1ctl archive run --dry-run shows what could go",
        cases=[Case(lasting + 60, over, fires, value), Case(lasting + 60, at)],
    )


def _device(given: dict[str, Any]) -> Alert:
    lasting, age = float(given["for"]), float(given["age"])
    labels = f'{OWN}, device="k1"'
    up, probed = f"k1_device_up{{{labels}}}", f"k1_device_probed_at_seconds{{{labels}}}"
    fires = ({"job": "k1ctl", "instance": "h", "device": "k1"},)
    at, steps = lasting + 60, int(lasting // 60) + 3
    fresh = {up: held(0, lasting), probed: f"0+60x{steps}"}
    cases = [Case(at, fresh, fires), Case(at, {up: held(1, lasting), probed: f"0+60x{steps}"})]
    stale = int((age + lasting) // 60) + 3
    cases.append(Case(age + lasting + 60, {up: f"0+0x{stale}", probed: f"0+0x{stale}"}))
    return Alert(
        "K1DeviceOffline",
        f"k1_device_up == 0\nand time() - k1_device_probed_at_seconds < {age:g}",
        lasting=lasting,
        severity="critical",
        summary="{{ $labels.device }} does not answer, or another device does",
        advice="k1ctl device health {{ $labels.device }}",
        cases=cases,
    )


def _budget(given: dict[str, Any]) -> Alert:
    limit, lasting = given["limit"] / 100, float(given["for"])

    def share(unit: str) -> str:
        used = f"k1_budget_spent_{unit} + k1_budget_held_{unit}"
        return f'label_replace(({used}) / (k1_budget_limit_{unit} > 0), "unit", "{unit}", "", "")'

    labels = f'{OWN}, scope="day", name=""'

    def series(spent: float) -> dict[str, str]:
        return {
            f"k1_budget_spent_tokens{{{labels}}}": held(spent, lasting),
            f"k1_budget_held_tokens{{{labels}}}": held(0, lasting),
            f"k1_budget_limit_tokens{{{labels}}}": held(100, lasting),
        }

    fires = ({"job": "k1ctl", "instance": "h", "scope": "day", "unit": "tokens"},)
    at, over = lasting + 60, round(limit * 100) + 1
    return Alert(
        "K1BudgetNearlySpent",
        f"({share('tokens')} > {limit:g})\nor ({share('dollars')} > {limit:g})",
        lasting=lasting,
        summary="{{ $value | humanizePercentage }} of the {{ $labels.scope }}'s budget {{ $labels.name }} is gone",
        advice="k1ctl budget status",
        cases=[Case(at, series(over), fires, f"{over}%"), Case(at, series(over - 1))],
    )


def _host(given: dict[str, Any]) -> Alert:
    lasting, mark = float(given["for"]), 0.05 if given["level"] == "crit" else 0.0
    share = "full" if given["level"] == "crit" else "some"
    mark = mark or 0.10  # the marks of `host health`: full above 5 % is critical, some above 10 % a warning
    stalled = f'k1_host_stalled_ratio{{resource="memory", share="{share}"}}'
    name = f'k1_host_stalled_ratio{{{OWN}, resource="memory", share="{share}"}}'
    level = f"k1_host_memory_level{{{OWN}}}"
    fires = ({"job": "k1ctl", "instance": "h"},)
    at = lasting + 60
    return Alert(
        "K1HostStalls",
        f"sum by (job, instance) ({stalled}) > {mark:g}\nor sum by (job, instance) (k1_host_memory_level) >= 3",
        lasting=lasting,
        severity="critical",
        summary="work waits for memory on {{ $labels.instance }}",
        advice="k1ctl host health; k1ctl capacity show",
        cases=[
            Case(at, {name: held(mark + 0.01, lasting)}, fires),
            Case(at, {level: held(3, lasting)}, fires),
            Case(at, {name: held(mark, lasting), level: held(2, lasting)}),
        ],
    )


def _exporter(given: dict[str, Any], period: float) -> Iterator[Alert]:
    lasting = float(given["for"])
    told, often = f"k1_exported_at_seconds{{{OWN}}}", f"k1_export_period_seconds{{{OWN}}}"
    steps = int((3 * period + lasting) // 60) + 3
    still, late = {told: f"0+0x{steps}", often: f"{period:g}+0x{steps}"}, -(-(2 * period + lasting) // 60) * 60 + 60
    fires = ({"job": "k1ctl", "instance": "h"},)
    yield Alert(
        "K1ExporterStale",
        "time() - k1_exported_at_seconds > 2 * k1_export_period_seconds",
        lasting=lasting,
        summary="the samples of {{ $labels.instance }} are old: `k1ctl metrics write` does not run",
        advice="look at the cron job; every other alert judges old samples",
        cases=[Case(late, still, fires), Case(2 * period // 60 * 60, still)],
    )
    yield Alert(
        "K1ExporterAbsent",
        "absent(k1_exported_at_seconds)",
        lasting=300.0,
        severity="critical",
        summary="nobody tells samples of k1ctl",
        advice="k1ctl metrics serve, or k1ctl metrics write from cron",
        cases=[Case(360, {f"up{{{OWN}}}": "0+0x8"}, ({},)), Case(360, {told: "0+60x8"})],
    )
    name = f'k1_collector_up{{{OWN}, plugin="queue"}}'
    yield Alert(
        "K1CollectorFailed",
        "k1_collector_up == 0",
        lasting=300.0,
        summary="plugin {{ $labels.plugin }} tells no samples",
        advice="k1ctl metrics print says why, on stderr",
        cases=[
            Case(360, {name: "0+0x8"}, ({"job": "k1ctl", "instance": "h", "plugin": "queue"},)),
            Case(360, {name: "1+0x8"}),
        ],
    )
