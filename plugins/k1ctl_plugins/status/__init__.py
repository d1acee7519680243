"""``k1ctl status``: one screen of what runs, what waits and what fails."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import LiveLine, emit_json, json_option, put

_LEAST = 0.2  # s between two looks


@purpose("Look", example="k1ctl status")
@click.command(short_help="One screen of what runs, what waits and what fails.")
@click.option("-a", "--all", "every", is_flag=True, help="Cut no list, however long the screen becomes.")
@click.option("--watch", "seconds", type=DURATION, metavar="D", help="Look anew every D until ^C, as 2s.")
@json_option
@pass_context
def status(context: Context, every: bool, seconds: float | None, as_json: bool) -> None:
    """Show on one screen what needs attention, what each workspace does, who holds what and who waits for it, the
    devices, the last builds and uploads, the budget and the host.

    It reads files alone: no device is asked, no git is started, nothing is waited for. What a device says is as old as
    the last look at it (`k1ctl device health` looks). The exit code is 0 also when things are bad: the first line and
    `problems` in JSON say so. With --watch, --json prints a document a line. docs/status.md explains each line.

    \b
    Examples:
      k1ctl status
      k1ctl status --watch 2s
      k1ctl status --json | jq -r '.workspaces.rows[] | select(.state == "waiting") | .name'
    """
    from k1ctl import overview
    from k1ctl.overview import text

    unread = text.first_look(context.workspace)
    line = LiveLine()
    if unread:
        line.update(unread)

    if seconds is not None:
        if seconds < _LEAST:
            raise UsageError(f"--watch looks {_LEAST:g} s apart at least", hint="k1ctl status --watch 2s")
        from k1ctl.overview.watch import Looks, watch

        line.clear()
        watch(Looks(context.workspace), seconds, as_json=as_json, every=every)
        return
    found = overview.look(context.workspace, context.config)
    line.clear()
    if as_json:
        emit_json(found.document())
        return
    width, height = text.size()
    put(text.screen(found, width=width, height=height, every=every))


@hookimpl
def k1ctl_command() -> click.Command:
    return status
