"""``k1ctl capacity forecast``: how many instances a demand needs, and when this host is outgrown."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put

_HISTORY = "history"


class GrowthRate(click.ParamType[Any]):
    """``10%``, ``10%/month``, ``-5%``, or ``history``: a share a month, None for history."""

    name = "growth"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if not isinstance(value, str):
            return float(value)
        text = value.strip().lower().replace(" ", "")
        if text == _HISTORY:
            return _HISTORY
        number = text.removesuffix("/month")
        try:
            rate = float(number.removesuffix("%")) / 100 if number.endswith("%") else float("nan")
        except ValueError:
            rate = float("nan")
        if not -0.9 <= rate <= 2:
            self.fail(f"{value!r} is no growth from -90% to 200%; write 10%/month, -5%/month or history", param, ctx)
        return rate


class Amount(click.ParamType[float]):
    """A number above 0, from ``least`` (0: any) to ``most``."""

    name = "number"

    def __init__(self, most: float, least: float = 0.0) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not (number > 0 and self.least <= number <= self.most):
            span = f"from {self.least:g} to {self.most:g}" if self.least else f"above 0 and up to {self.most:g}"
            self.fail(f"{value!r} is no number {span}", param, ctx)
        return number


@click.command(short_help="Instances that a demand needs, the wait it implies, and when this host is outgrown.")
@click.option(
    "--tasks-per-hour", "tasks", type=Amount(1e6), default=None, help="The demand (default: turns, as usual)."
)
@click.option("--hours-per-task", "hours", type=Amount(1e4), default=None, help="How long an agent works on one.")
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=None, help="Tasks that an instance works on at once."
)
@click.option(
    "--efficiency", type=Amount(1.0, 0.01), default=0.8, show_default=True, help="Share of its time that is used."
)
@click.option("--growth", type=GrowthRate(), default=_HISTORY, show_default=True, help="10%/month, or as in history.")
@click.option("--months", type=click.IntRange(1, 120), default=12, show_default=True, help="Months ahead.")
@click.option("--hosts", type=click.IntRange(1, 1000), default=1, show_default=True, help="Instances there are now.")
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=30,
    show_default=True,
    help="Days of history that the usual load is from.",
)
@click.option("--facts", "facts_file", metavar="FILE", default="", help="Another host: its facts as JSON.")
@json_option
@pass_context
def forecast(
    context: Context,
    tasks: float | None,
    hours: float | None,
    concurrency: int | None,
    efficiency: float,
    growth: float | str,
    months: int,
    hosts: int,
    days: int,
    facts_file: str,
    as_json: bool,
) -> None:
    """How many instances (hosts) a demand needs: ceil(tasks/h x h per task / (concurrency x efficiency)).

    30 % headroom and a peak of twice as much are stated beside it, each by itself; so are the wait that the number
    implies (Erlang C) and what square-root staffing would take. What is not given comes from the usual load: a task is
    then a turn and the thinking before the next, and an instance works on as many as this host carries. The growth is
    that of the builds in the events, from two whole months on.

    \b
    Examples:
      k1ctl capacity forecast
      k1ctl capacity forecast --tasks-per-hour 30 --hours-per-task 0.5 --concurrency 12 --growth 10%/month
      k1ctl capacity forecast --growth history --months 24 --json
    """
    from k1ctl.capacity import facts
    from k1ctl_plugins.capacity import forecast_study, place

    study = forecast_study.Study(
        *place.settings(context),
        facts.from_file(facts_file) if facts_file else facts.read(),
        tasks=tasks,
        hours=hours,
        concurrency=concurrency,
        efficiency=efficiency,
        growth=None if isinstance(growth, str) else growth,
        months=months,
        hosts=hosts,
        days=days,
    )
    if as_json:
        emit_json(study.document())
        return
    from k1ctl_plugins.capacity import forecast_text

    for line in forecast_text.lines(study):
        put(line)
