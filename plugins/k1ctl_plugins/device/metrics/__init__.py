"""``k1ctl device metrics``: every figure the device tells, in one call."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.output import clean, emit_json, json_option, put, say


@click.command(short_help="Collect all metrics of the device, with what is missing and why.")
@click.argument("name", required=False)
@click.option("--timeout", type=DURATION, default="30s", show_default=True, metavar="D", help="All of it ends in D.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json", "prom")),
    default="text",
    show_default=True,
    help="prom: the text format of Prometheus, for its textfile collector.",
)
@json_option
@pass_context
def metrics(context: Context, name: str | None, timeout: float, form: str, as_json: bool) -> int:
    """Ask the device for all its metrics, one endpoint after the other, within --timeout.

    What does not answer in its share of the time, makes no sense or is asked too often by others is left out and
    told with its reason; `partial` is true then. Exit codes: 0 also when partial; 65 another device; 69 it does not
    answer at all; 75 it answers 429 to everything, or the one who asks for all does not answer.

    \b
    Example:
      k1ctl device metrics k1
      k1ctl device metrics --json | jq .endpoints
      k1ctl device metrics --format prom > k1.prom
    """
    from k1ctl_plugins.device.metrics import flow

    if as_json and form == "prom":
        raise UsageError("--json and --format prom exclude each other")
    report = flow.collect(context.workspace, context.config, name, timeout)
    if as_json or form == "json":
        emit_json(report)
        return 0
    for row in report["missing"]:
        say(f"missing: {row['path']}: {clean(row['message'])}")
    if form == "prom":
        put(flow.prometheus(report).rstrip("\n"))
        return 0
    for line in flow.lines(report):
        put(line)
    return 0
