"""`k1ctl upload`: put what this workspace built on the device, in turn, and say what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say
from k1ctl.queue.names import PRIORITIES
from k1ctl.units import format_size

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.reasons import Reason, Subject
    from k1ctl.samples import Family
    from k1ctl.transports import Transport
    from k1ctl.workspace import Workspace


@purpose("Work", example="k1ctl upload --build")
@click.command(short_help="Flash a build over the network or USB and tell what became of it.")
@click.argument("target", required=False)
@click.option("--device", metavar="NAME", help="Device, group, or any (default: the target's, else [defaults] device).")
@click.option("--artifact", metavar="ID|PATH", default="", help="What to send (default: the newest build).")
@click.option("--build", "build_first", is_flag=True, help="Build the target first.")
@click.option("--filesystem", is_flag=True, help="Send a filesystem (LittleFS, SPIFFS, FAT), not the app.")
@click.option("--force", is_flag=True, help="With --filesystem: also what does not look like one.")
@click.option("--interface", metavar="NAME|IP", default="", help="Interface or own address it connects back to.")
@click.option(
    "--via", metavar="auto|ota|usb", default="auto", show_default=True, help="Over the network, or a USB cable."
)
@click.option("--full", is_flag=True, help="With --via usb: also bootloader and partition table.")
@click.option("--soak", type=DURATION, metavar="D", help="Watch it for D afterwards (default: the device's soak).")
@click.option("--wait", "take_up", metavar="RUN", help="Take up an upload that goes on without its caller.")
@click.option("--wait-limit", type=DURATION, metavar="D", help="Wait in line at most D; then exit 75.")
@click.option("--priority", type=click.Choice(tuple(PRIORITIES)), default="normal", show_default=True)
@click.option("--dry-run", is_flag=True, help="Check the image and say what would be sent where.")
@json_option
@pass_context
def upload(context: Context, /, take_up: str | None, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Send a build to the device, report installed, refused or unknown, and see that the device is well with it.

    It goes over the network; over USB with --via usb, or where the device did not answer on the network, or is known
    to crash, and is the only board on USB. The image is checked and fixed before the call stands in line. Once the
    device takes it, the upload goes on even when this call is killed; --wait RUN takes it up again. Afterwards the
    device has to be back within its boot_timeout, as the same one; with --soak it is watched: no restart, no fps
    below its fps_min. Exit codes: 0 installed and well, 1 refused (the image or the login), or installed and not
    well, 65 wrong image or device, 69 unreachable or not back, 75 still in line, 76 unknown, 77 the soak did not take
    place, 78 bad configuration.

    \b
    Example:
      k1ctl upload --build
      k1ctl upload fw --device k1 --artifact 9f3c2a11
      k1ctl upload --device any
      k1ctl upload --soak 20s
      k1ctl upload --filesystem --build
      k1ctl upload --via usb --full
      k1ctl upload --wait 20260103-101500.123-9f3c
    """
    from k1ctl_plugins.upload import flow, verification

    workspace, config = context.workspace, context.config
    if take_up:
        if dry_run or any(value for name, value in options.items() if name not in ("priority", "via")):
            raise UsageError("--wait takes up what was called before; it goes with no other option but --json")
        done = flow.take_up(workspace, take_up)
    else:
        plan = flow.make_plan(workspace, config, context.plugins, dry_run=dry_run, **options)
        for warning in plan.warnings:
            say(f"warning: {warning}")
        if dry_run:
            about = {"ok": True, "dry_run": True, "workspace": workspace.name}
            facts = {**about, **plan.document(), "warnings": plan.warnings}
            to = "; or to ".join(f"{way.device['name']} {way.transport.about}" for way in plan.ways.open)
            emit_json(facts) if as_json else put(f"would send {facts['image']} to {to}")
            return 0
        done = flow.upload(workspace, config, plan)
    if as_json:
        emit_json({"ok": True, **done})
        return 0
    what = "the filesystem image " if done.get("image_kind") == "filesystem" else ""
    way = " over USB" if done.get("transport") == "usb" else ""
    seen = verification.text(done)
    told = f"installed: {what}{done['artifact']} on {done['device']}{way}, {format_size(done['bytes'])}"
    put(f"{told}; {seen}" if seen else told)
    if not seen and (found := done.get("verification")):
        say(f"warning: {done['device']} took the image and was not verified: {found['message']}")
    return 0


@hookimpl
def k1ctl_transports() -> list[Transport]:
    from k1ctl_plugins.upload.transports import OtaTransport, UsbTransport

    return [OtaTransport(), UsbTransport()]


@hookimpl
def k1ctl_command() -> click.Command:
    return upload


@hookimpl
def k1ctl_samples(workspace: Workspace) -> list[Family]:
    from k1ctl_plugins.upload.samples import samples

    return samples(workspace)


@hookimpl
def k1ctl_reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    from k1ctl_plugins.upload.reasons import reasons

    return reasons(workspace, config, subject)
