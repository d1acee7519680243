"""``k1ctl device logs``: what the consoles of a device kept."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, put, say, table


@click.command(short_help="Print what the device said on its serial port.")
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="List them, do not print them.")
@click.option("--last", is_flag=True, help="Only those of the last session.")
@click.option("--since", type=DURATION, metavar="D", help="Only those written to in the last D.")
@click.option("--follow", "-f", is_flag=True, help="Print what comes, too, also of later sessions, until ^C.")
@json_option
@pass_context
def logs(
    context: Context, name: str | None, listed: bool, last: bool, since: float | None, follow: bool, as_json: bool
) -> int:
    """Print what the device said on its serial port, as the consoles of all workspaces kept it.

    Whoever has no console of his own because another has it, may watch with --follow. A session is a file of
    ops/device/NAME.console/; [console] keep and limit say how many are kept and how large they get.

    \b
    Example:
      k1ctl device logs --last
      k1ctl device logs k1 --since 1h | grep -a 'Guru Meditation'
      k1ctl device logs --list --json | jq -r '.logs[-1].path'
      k1ctl device logs --last --follow
    """
    from k1ctl.errors import UsageError
    from k1ctl_plugins.device.logs import flow

    if follow and (listed or as_json):
        raise UsageError("--follow prints what comes; --list and --json print one answer")
    place, rows, others = flow.chosen(context.workspace, context.config, name, last=last, since=since)
    if as_json:
        emit_json({"ok": True, "folder": place, "logs": [row.document() for row in rows]})
    elif listed:
        cells = [(r.started_at, r.bytes, "open" if r.open else "", r.path) for r in rows]
        put(table(cells, ("STARTED", "BYTES", "", "PATH")))
    else:
        if not rows and not follow:
            say(f"nothing is kept in {place}; k1ctl device console keeps what it shows")
        flow.show(place, rows, others, follow=follow)
    return 0
