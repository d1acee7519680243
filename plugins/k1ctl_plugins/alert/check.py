"""``k1ctl alert check``: look, keep what is so, and tell people."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option

LIMIT = 600.0  # s: what hangs where no alarm reaches it (a dead mount) must not gather a process a minute


@click.command(short_help="Look at everything that has a rule, and tell people what is new: for cron.")
@click.option("--notify", is_flag=True, help="Tell people, over the channels of `k1ctl notify list`.")
@click.option("--dry-run", is_flag=True, help="Say what would fire and be told; keep and send nothing.")
@json_option
@pass_context
def check(context: Context, notify: bool, dry_run: bool, as_json: bool) -> int:
    """Look at everything that has a rule, and keep for how long it is wrong; with --notify tell people of what began to
    fire, all in one message, and when it is over.

    Made for cron, each minute: it prints what changed and nothing else. No device is asked: `k1ctl device escalation
    --check` does that. The rules are [alerts] in ops/k1ctl.toml.

    Exit codes: 0 nothing fires; 1 something does that is not silenced, or the check hung for 10 min (a dead mount) and
    ended itself; 75 another check holds the state, or it cannot be kept.

    \b
    Example:
      * * * * * cd /path/to/root && { k1ctl device escalation --check; k1ctl alert check --notify; }
      k1ctl alert check --dry-run
      k1ctl alert check --json | jq -r '.alerts[] | select(.state == "firing") | .text'
    """
    import faulthandler

    from k1ctl import alerts
    from k1ctl_plugins.alert import report

    plugins = context.plugins if notify else None
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=2)
    try:
        found = alerts.check(context.workspace, context.config, plugins, dry_run=dry_run)
    finally:
        faulthandler.cancel_dump_traceback_later()
    if as_json:
        emit_json(report.document(found, dry_run=dry_run))
    else:
        report.tell(found, dry_run=dry_run)
    return 1 if found.firing else 0
