"""``k1ctl device disable``: put a device out of service."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, say


@click.command(short_help="Put a device out of service: nobody new gets it.")
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; all who wait for it see this.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@pass_context
def disable(context: Context, name: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Put a device out of service: nobody new gets it, and who has it goes on.

    Tickets that may take another device (device:any, a group) do; those for this one keep their places, wait, and end
    by their own limit. An ordinary `queue pause` of it is another thing and stays when it is enabled again.

    \b
    Example:
      k1ctl device disable k1 --reason "the cable is out"
    """
    from k1ctl.queue.folder import queue_folder
    from k1ctl_plugins.device.disable.service import put_out

    folder = queue_folder(context.workspace, context.config)
    done = put_out(context.workspace, context.config, folder, name, reason, dry_run=dry_run)
    if as_json:
        emit_json({"ok": True, **done})
        return
    verb = ("would be" if dry_run else "is") if done["changed"] else "was already"
    now = "" if done["changed"] or dry_run else "; the reason is new"
    say(f"{name} {verb} out of service: {clean(done['reason'])}{now}")
    for each in done["goes_on"]:
        say(f"ticket {each['ticket']} goes on: {clean(each['what'])}")
    if done["waiting"]:
        say(f"{done['waiting']} wait{'s' * (done['waiting'] == 1)} for this device alone")
