"""``k1ctl device rollback``: put the last image that passed its soak back on."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, put, say
from k1ctl.units import format_size


@click.command(short_help="Put the last image that passed its soak back on the device.")
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="Show what is known of the device's images, and change nothing.")
@click.option("--to", metavar="ID", default="", help="This image instead of the last one; it must have passed a soak.")
@click.option("--soak", type=DURATION, metavar="D", help="Watch it for D (default: the device's soak, else as before).")
@click.option("--via", metavar="auto|ota|usb", default="auto", show_default=True, help="As in k1ctl upload.")
@click.option("--force", is_flag=True, help="Also when the device runs that image already.")
@click.option("--wait-limit", type=DURATION, metavar="D", help="Wait in line at most D; then exit 75.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent.")
@json_option
@pass_context
def rollback(context: Context, /, name: str | None, listing: bool, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Put the last image that passed its soak back on the device, and see that it passes again.

    It is an upload that stands before all others in line. It goes over the network, or over USB where the device does
    not answer, or crashes, and is the only board there. A pause that an incident made ends for it; where a person
    paused or disabled the device it is refused. An image passes when it is uploaded with a soak (`upload --soak 20s`,
    or `soak` of the device). Exit codes: those of `upload`; 1 the device runs that image already; 65 no image has
    passed, or it is not kept any more; 75 also when the device is out of service.

    \b
    Example:
      k1ctl device rollback
      k1ctl device rollback k1 --list
      k1ctl device rollback k1 --to 9f3c2a11 --soak 1m
    """
    from k1ctl_plugins.device.rollback import flow, text

    if listing:
        found = flow.listed(context.workspace, context.config, name)
        emit_json({"ok": True, **found}) if as_json else put(text.sheet(found))
        return 0
    plan = flow.make_plan(
        context.workspace,
        context.config,
        name,
        to=options["to"],
        soak=options["soak"],
        via=options["via"],
        force=options["force"],
    )
    if dry_run:
        facts = {"ok": True, "dry_run": True, **plan.document()}
        emit_json(facts) if as_json else put(text.planned(plan.document()))
        return 0
    try:
        done = flow.roll_back(context.workspace, context.config, plan, wait_limit=options["wait_limit"])
    except flow.ToldError as exc:
        if as_json:
            raise
        if exc.more:
            say(exc.more)
        return exc.exit_code
    if as_json:
        emit_json({"ok": True, **done})
        return 0
    way = " over USB" if done.get("transport") == "usb" else ""
    seen = (done.get("verification") or {}).get("message", "")
    put(f"rolled back: {done['artifact']} on {done['device']}{way}, {format_size(done['bytes'])}; {seen}")
    return 0
