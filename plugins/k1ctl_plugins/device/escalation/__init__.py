"""``k1ctl device escalation``: how far a device's trouble has come, and who was told."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put, say


@click.command(short_help="Show how far a device's trouble has come, why, and what comes next.")
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Ask the devices, go on with the ladder, tell who is to be told: for cron.")
@click.option("--close", "closed", is_flag=True, help="End the escalation of NAME; its queue is resumed.")
@click.option("--reason", default="", help="With --close: why; others see it.")
@click.option("--dry-run", is_flag=True, help="With --close: say what would be done.")
@json_option
@pass_context
def escalation(
    context: Context, name: str | None, check: bool, closed: bool, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Show how far a device's trouble has come, why, and what comes next; without NAME, of every device.

    Failed uploads and tests, and a device that does not answer, climb a ladder: automatic retry, a prompt for the
    agent (prompt.md in the failed run's folder), a person (`k1ctl notify`), an incident, which pauses the device's
    queue until it answers. The rules are [escalation] in ops/k1ctl.toml; docs/escalation.md tells all of it.

    --check prints nothing and exits with 0 whatever it finds; with --json it prints what was found.

    \b
    Example:
      k1ctl device escalation k1
      * * * * * cd /path/to/root && k1ctl device escalation --check
      k1ctl device escalation k1 --close --reason "power supply replaced"
    """
    from k1ctl_plugins.device.escalation import flow, text

    if check and closed:
        raise UsageError("--check and --close exclude each other")
    if (reason or dry_run) and not closed:
        raise UsageError("--reason and --dry-run go with --close")
    if closed:
        done = flow.close(context.workspace, context.config, name, reason, dry_run=dry_run)
        if as_json:
            emit_json({"ok": True, **done})
        else:
            say(text.closed(done))
        return
    names = flow.names(context.config, name)
    if check:
        flow.check_all(context.workspace, context.config, context.plugins, names)
    rows = [flow.document(context.workspace, context.config, each) for each in names]
    if as_json:
        emit_json({"ok": True, "devices": rows})
    elif not check:
        for row in rows:
            for line in text.lines(row):
                put(line)
