"""``k1ctl alert silence``: nobody is told of an alert for a while."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, say


@click.command(short_help="Tell nobody of an alert for a while.")
@click.argument("name")
@click.option("--for", "seconds", type=DURATION, required=True, metavar="TIME", help="How long; 0 ends a silence.")
@click.option("--reason", default="", help="Why; others see it.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@pass_context
def silence(context: Context, name: str, seconds: float, reason: str, dry_run: bool, as_json: bool) -> None:
    """Tell nobody of an alert for a while. It is looked at and shown all the same, and what still fires when the
    silence is over is told then. NAME is a rule (disk), or one alert of it (device/k1), which need not be there yet.

    \b
    Example:
      k1ctl alert silence disk --for 2h --reason "archiving"
      k1ctl alert silence disk --for 0
    """
    from k1ctl.alerts import silences
    from k1ctl.units import format_duration

    done = silences.silence(context.workspace, name, seconds, reason, dry_run=dry_run)
    if as_json:
        emit_json({"ok": True, **done})
    elif seconds:
        yet = "" if done["known"] else " (no such alert yet)"
        say(f"{name} {'would be' if dry_run else 'is'} silent for {format_duration(seconds)}{yet}")
    else:
        verb = "would be heard" if dry_run else "is heard"
        say(f"{name} {verb} again" if done["changed"] else f"{name} is not silenced")
