"""``k1ctl top``: the live view of a terminal."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import say

_LEAST = 0.2  # s between two looks


@purpose("Look", example="k1ctl top")
@click.command(short_help="Watch workspaces, queue, devices and host live, in a terminal.")
@click.option("--interval", type=DURATION, default=2.0, metavar="D", help="Look so often where no event tells of news.")
@click.option("--plain", is_flag=True, help="Draw the screen of `k1ctl status` anew instead.")
@pass_context
def top(context: Context, interval: float, plain: bool) -> int:
    """Watch live what runs, waits and fails: a tile for each workspace, the queue, slots, devices, the host with its
    last minutes, the budget, and events as they come.

    It is drawn anew at every event, and every --interval (default 2s) without. Like `k1ctl status` it reads files
    alone. Keys: arrows and Tab choose a workspace or a ticket; l opens the log of its run, w says why it waits or
    failed, c cancels its ticket (it asks first), b bumps it; / filters the events, p holds the picture, n goes to the
    next that is busy or failed, s sorts, ? tells all keys, q ends.

    It needs the extra `top` (pip install 'k1ctl[top]'); without it, the screen of `k1ctl status` is drawn anew.

    \b
    Examples:
      k1ctl top
      k1ctl top --plain --interval 5s
    """
    import sys
    from importlib.util import find_spec

    from k1ctl.overview.watch import Looks

    if interval < _LEAST:
        raise UsageError(f"--interval is {_LEAST:g} s at least", hint="k1ctl top --interval 2s")
    _check_terminal()
    workspace = context.workspace
    if plain or find_spec("textual") is None or not sys.stderr.isatty():  # textual draws on stderr
        from k1ctl.overview.watch import watch

        if not plain and sys.stderr.isatty():
            say("k1ctl top shows more with textual: pip install 'k1ctl[top]'")
        watch(Looks(workspace), interval)
        return 0
    from k1ctl_plugins.top.app import TopApp

    app = TopApp(workspace, Looks(workspace), interval)
    try:
        app.run()
    finally:
        app.calls.end()
    if app.fault is not None:
        raise app.fault
    return app.return_code or 0


def _check_terminal() -> None:
    """Raises UsageError where there is no terminal to draw on, or to take keys from."""
    import os
    import sys

    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise UsageError(
            "k1ctl top draws on a terminal, and this is none",
            hint="k1ctl status --watch 2s prints on anything, k1ctl status --json is for programs",
            code="no-terminal",
        )
    if os.environ.get("TERM") == "dumb":
        raise UsageError(
            "k1ctl top draws on the whole screen, and this terminal cannot (TERM=dumb)",
            hint="k1ctl status --json is for programs, k1ctl status for people",
            code="no-terminal",
        )


@hookimpl
def k1ctl_command() -> click.Command:
    return top
