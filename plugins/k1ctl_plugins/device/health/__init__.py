"""``k1ctl device health``: is it there, the right one, and well?"""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.nagios import NagiosCommand, format_option
from k1ctl.output import emit_json, json_option, put, say


@click.command(cls=NagiosCommand, short_help="Say whether the device is there, the right one, and well.")
@click.argument("name", required=False)
@click.option("--wait", type=DURATION, metavar="D", help="Ask again until it is there, at most for D.")
@click.option("--max-age", type=DURATION, metavar="D", help="An answer that old will do (default: [device] window).")
@format_option
@json_option
@pass_context
def health(
    context: Context, name: str | None, wait: float | None, max_age: float | None, form: str, as_json: bool
) -> int:
    """Say whether the device is there, the one that is configured, and within its limits.

    One caller asks the device in each [device] window (1s), all others get its answer; so this may be called by as
    many as like. Exit codes: 0 online; 1 degraded: below fps_min, heap_min or rssi_min of its section; 65 another
    device, or no K1; 69 offline, or macOS keeps this program from it; 75 no answer from the one who asks. --wait ends
    as soon as the right device answers, degraded or not.

    \b
    Example:
      k1ctl device health k1
      k1ctl device health --wait 60s && ./run-on-device.sh
      k1ctl device health --max-age 30s --json | jq -r .state
      k1ctl device health --format nagios
    """
    from k1ctl_plugins.device.health import flow, text

    if as_json and form == "nagios":
        raise UsageError("--json and --format nagios exclude each other")
    found = flow.health(context.workspace, context.config, name, wait=wait, max_age=max_age)
    if form == "nagios":
        put(text.nagios(found))
        return text.NAGIOS[found.verdict.state]
    if as_json:
        emit_json(found.document())
    else:
        put(text.line(found))
    if not as_json:
        for hint in text.hints(found):
            say(hint)
    return found.verdict.exit_code
