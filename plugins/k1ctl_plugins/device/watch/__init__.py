"""``k1ctl device watch``: how devices are, as it changes."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION


@click.command(short_help="Show how devices are, as it changes, and resets that no run explains.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--interval",
    type=DURATION,
    default=2.0,
    metavar="D",
    help="Between two looks (default: 2s; at least [device] window).",
)
@click.option("--for", "seconds", type=DURATION, metavar="D", help="End after D (default: with ^C).")
@click.option("--jsonl", is_flag=True, help="Print a JSON document for each answer.")
@pass_context
def watch(context: Context, names: tuple[str, ...], interval: float, seconds: float | None, jsonl: bool) -> int:
    """Show how devices are, as it changes: frames a second, memory, signal, uptime and resets. Default: all devices.

    On a terminal it is one line a device, else one at each change of state. Devices are asked within the firmware's
    rate limits, through the record that all askers share, so any number of watchers is one. A reset in whose time
    nothing had the device or its console through the queue is told: somebody flashed or reset it past the queue, or it
    crashed or lost power (event device.unexplained-reset). ^C ends it; the exit code is 0.

    \b
    Example:
      k1ctl device watch
      k1ctl device watch k1 --interval 5s --for 10m
      k1ctl device watch --jsonl | jq -r 'select(.reset) | .reset.message'
    """
    from k1ctl_plugins.device.watch import flow, show

    screen = show.Lines() if jsonl else show.screen()
    flow.watch(context.workspace, context.config, names, interval=interval, seconds=seconds, screen=screen)
    return 0
