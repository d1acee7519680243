"""``k1ctl capacity release``: a reservation is not needed any more."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, say


@click.command(short_help="Give a reservation back.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Tell what would be given back; change nothing.")
@json_option
@pass_context
def release(context: Context, ids: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Give reservations back before their deadline.

    What a run was promised ends with the run: `k1ctl queue cancel RUN` ends it.

    \b
    Example:
      k1ctl capacity release "$id"
    """
    from k1ctl.capacity import promises, reservations

    place, released = promises.folder(), []
    for each in ids:
        released.append(reservations.release(place, each, dry_run=dry_run))
        if not as_json:
            verb = "would be given back" if dry_run else "given back"
            say(f"k1ctl: {verb}: {released[-1].need} ({released[-1].id}, {released[-1].what})")
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, "released": [promise.document() for promise in released]})
