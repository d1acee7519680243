"""``k1ctl device discover``: which boards are in the network and on USB, and which of them are configured."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put, say


@click.command(short_help="Find boards in the network and on USB, and say which are configured.")
@click.option("--interface", default="", metavar="NAME|IP", help="Listen on this interface only (default: on all).")
@click.option(
    "--timeout", type=DURATION, default=3.0, metavar="D", help="How long to listen to the network (default: 3s)."
)
@click.option("--usb-only", is_flag=True, help="Look at the serial ports only.")
@click.option("--mdns-only", is_flag=True, help="Listen to the network only.")
@click.option("--toml", "as_toml", is_flag=True, help="Print sections of ops/k1ctl.toml for the boards that are new.")
@json_option
@pass_context
def discover(
    context: Context,
    interface: str,
    timeout: float,
    usb_only: bool,
    mdns_only: bool,
    as_toml: bool,
    as_json: bool,
) -> int:
    """Find the boards in the network and on USB, each once, and say which configured device each is.

    The network is listened to by mDNS (pip install 'k1ctl[mdns]'); each board that answers is asked over HTTP for its
    MAC. USB ports are known by 303A:1001 and by the MAC they tell, never by their path. Both views of a board are
    joined by its MAC, and only that makes it a configured device. Nothing is changed anywhere; nothing found is no
    failure.

    \b
    Example:
      k1ctl device discover
      k1ctl device discover --interface en0 --timeout 5s
      k1ctl device discover --toml >> ops/k1ctl.toml
      k1ctl device discover --usb-only --json | jq '.boards[].usb_port'
    """
    from k1ctl_plugins.device.discover import flow, text

    if usb_only and mdns_only:
        raise UsageError("--usb-only and --mdns-only exclude each other")
    if as_toml and as_json:
        raise UsageError("--toml and --json exclude each other", hint="the JSON has a `toml` for each new board")
    found = flow.discover(context.config, interface=interface, seconds=timeout, usb=not mdns_only, mdns=not usb_only)
    if as_json:
        emit_json(found.document())
        return 0
    for line in found.talk():
        say(line)
    if as_toml:
        put("\n".join(toml for board in found.boards if (toml := found.sections.get(board))).rstrip())
    elif found.boards:
        put(text.boards(found.boards))
    return 0
