"""``k1ctl device enable``: put a device into service again."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, say


@click.command(short_help="Put a device into service again.")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@pass_context
def enable(context: Context, name: str, dry_run: bool, as_json: bool) -> None:
    """Undo `device disable`; a `queue pause` of the device stays.

    \b
    Example:
      k1ctl device enable k1
    """
    from k1ctl.queue.folder import queue_folder
    from k1ctl_plugins.device.enable.service import put_in

    folder = queue_folder(context.workspace, context.config)
    done = put_in(context.workspace, context.config, folder, name, dry_run=dry_run)
    if as_json:
        emit_json({"ok": True, **done})
        return
    say(f"{name} {('would be' if dry_run else 'is') if done['changed'] else 'was already'} in service")
    if done["paused"] is not None:
        say(f"device:{name} stays paused; k1ctl queue resume device:{name} ends that")
