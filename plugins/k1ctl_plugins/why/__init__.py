"""``k1ctl why``: why something waits, was refused or failed."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option


@purpose("Look", example="k1ctl why")
@click.command(short_help="Why something waits, was refused or failed.")
@click.argument("what", metavar="[WORKSPACE|TICKET|RUN]", default="")
@json_option
@pass_context
def why(context: Context, what: str, as_json: bool) -> None:
    """Tell why something waits, was refused or failed: the reason that binds, what stands behind it, what proves it.

    WHAT is a workspace (its name or a path in it; left out: this one), a ticket's number, a run's id or the beginning
    of one, `last` for the newest run, or a resource, device or target: why is device:k1 busy? No device is asked and
    nothing is waited for. Exit code 0: it was answered, whatever the answer.

    \b
    Example:
      k1ctl why
      k1ctl why oslo
      k1ctl why 12
      k1ctl why device:k1 --json | jq -r .answer
    """
    from k1ctl_plugins.why.answer import answer
    from k1ctl_plugins.why.resolve import resolve
    from k1ctl_plugins.why.text import show

    found = answer(context.plugins, context.workspace, context.config, resolve(context.workspace, context.config, what))
    if as_json:
        emit_json({"ok": True, **found.document()})
    else:
        show(found, context.workspace)


@hookimpl
def k1ctl_command() -> click.Command:
    return why
