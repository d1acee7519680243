"""``k1ctl device info``: one device as the network, mDNS and USB show it, and where they contradict each other."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, put, say


@click.command(short_help="Tell all that is known of a device, and where its views contradict each other.")
@click.argument("name", required=False)
@click.option(
    "--interface", default="", metavar="NAME|IP", help="Listen on this interface (default: the device's own)."
)
@click.option("--timeout", type=DURATION, default=3.0, metavar="D", help="How long to listen to mDNS (default: 3s).")
@click.option("--max-age", type=DURATION, metavar="D", help="An answer that old will do (default: [device] window).")
@json_option
@pass_context
def info(
    context: Context, name: str | None, interface: str, timeout: float, max_age: float | None, as_json: bool
) -> int:
    """Tell all that is known of a device: what it says over HTTP, what mDNS announces of it, its USB port, the image
    that was put on it, and who has it in the queue.

    Views that contradict the configuration are told: another address, another MAC on USB, another identity. A view
    that is missing says why. Exit codes: 0; 65 another device is in its place, or something that is no K1; 69 no view
    shows it.

    \b
    Example:
      k1ctl device info
      k1ctl device info k2 --interface en0
      k1ctl device info --json | jq '.contradictions'
    """
    from k1ctl_plugins.device.info import flow, text

    found = flow.info(
        context.workspace, context.config, name, interface=interface, seconds=timeout, max_age=max_age or 0.0
    )
    if as_json:
        emit_json(found.document())
        return found.exit_code
    put(text.sheet(found))
    for hint in found.hints():
        say(hint)
    return found.exit_code
