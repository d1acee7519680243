"""``k1ctl device list``: every configured device, how it is, who has it, and what it was sent last."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, put, say


@click.command(short_help="List the configured devices: how each is, who has it, what it was sent last.")
@click.option("--max-age", type=DURATION, metavar="D", help="An answer that old will do (default: [device] window).")
@json_option
@pass_context
def list(context: Context, max_age: float | None, as_json: bool) -> int:
    """List the configured devices: how each is, where, on which USB port, who holds it, how many wait for it, whether
    it is out of service, and the last upload to it.

    All are asked at once, each through the record that all askers share. It never fails because a device does: that is
    a state in its line. The exit code is 0.

    \b
    Example:
      k1ctl device list
      k1ctl device list --max-age 1m --json | jq -r '.devices[] | select(.state == "online") | .device'
    """
    from k1ctl_plugins.device.list import flow

    rows = flow.devices(context.workspace, context.config, max_age=max_age)
    if as_json:
        emit_json({"ok": True, "devices": rows})
    elif rows:
        put(flow.text(rows))
    else:
        say("no device is configured: `k1ctl device discover --toml` finds boards and prints their sections")
    return 0
