"""``k1ctl doctor``: all plugins' checks, with what mends what they find."""

from __future__ import annotations

import sys

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import LiveLine, emit_json, json_option, put, say


@purpose("Look", example="k1ctl doctor")
@click.command(short_help="All plugins' checks, with what mends what they find.")
@click.argument("names", nargs=-1, metavar="[PLUGIN]...")
@click.option("-a", "--all", "every", is_flag=True, help="Show what is in order, too.")
@json_option
@pass_context
def doctor(context: Context, names: tuple[str, ...], every: bool, as_json: bool) -> int:
    """Ask every plugin, or those named, what it finds in order here and what not: worktrees, queue, devices, host,
    budget, archives, events, configuration, scripts, tools. Each finding says why it matters and what mends it.
    Nothing is changed.

    Exit 1 when something endangers work (error), 0 with warnings and notes alone. A plugin that cannot be asked is an
    error. docs/doctor.md lists what is checked.

    \b
    Examples:
      k1ctl doctor
      k1ctl doctor queue device
      k1ctl doctor --json | jq -r '.findings[] | select(.level == "error") | .fix'
    """
    from k1ctl_plugins.doctor import report, rounds

    workspace = context.workspace
    config, found = rounds.settings(lambda: context.config, workspace)
    line = LiveLine()

    def tell(name: str) -> None:
        if line.terminal:
            line.update(f"checking {name} ...")

    try:
        found += rounds.examine(context.plugins, workspace, config, names, tell)
    finally:
        line.clear()
    if as_json:
        emit_json({"root": workspace.root, **report.document(found)})
    else:
        for text in report.text(found, every=every):
            put(text)
        sys.stdout.flush()
        say(report.summary(found))
    return 1 if report.failed(found) else 0


@hookimpl
def k1ctl_command() -> click.Command:
    return doctor
