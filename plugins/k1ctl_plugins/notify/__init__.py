"""`k1ctl notify`: the channels over which people are told of a device's trouble, and a try of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.notify import Channel
    from k1ctl.workspace import Workspace


@purpose("Look", example="k1ctl notify test")
@click.group(short_help="See and try the channels over which people are told.")
def notify() -> None:
    """See and try the channels over which people are told of a device's trouble: a command of yours, apprise, plugins.

    When they are told, and what a command gets: docs/escalation.md.

    \b
    Example:
      k1ctl notify list
      k1ctl notify test
    """


@notify.command("list")
@json_option
@pass_context
def list_(context: Context, as_json: bool) -> None:
    """List the channels that are configured, and whether each can work.

    \b
    Example:
      k1ctl notify list --json | jq -r '.channels[] | select(.ok | not) | .message'
    """
    from k1ctl_plugins.notify import report

    rows = report.rows(context.plugins, context.workspace, context.config)
    if as_json:
        emit_json({"ok": True, "channels": rows})
        return
    if not rows:
        say(report.NOBODY)
        return
    cells = [(r["channel"] or "-", r["plugin"], "ok" if r["ok"] else r["message"], r["about"]) for r in rows]
    put(table(cells, ("CHANNEL", "PLUGIN", "STATUS", "ABOUT")))


@notify.command()
@click.option("--dry-run", is_flag=True, help="Check every channel and send nothing.")
@json_option
@pass_context
def test(context: Context, dry_run: bool, as_json: bool) -> int:
    """Send a notification for trying through every channel, and say what became of each.

    Exit codes: 0 all sent; 1 one failed; 78 no channel is configured. What a command prints is passed on to stderr.

    \b
    Example:
      k1ctl notify test --json
    """
    from k1ctl_plugins.notify import report

    rows = report.try_all(context.plugins, context.workspace, context.config, dry_run=dry_run)
    failed = report.failure(rows)
    if as_json:
        document = {"dry_run": dry_run, "channels": rows}
        emit_json({**failed.document(), **document} if failed else {"ok": True, **document})
    else:
        for row in rows:
            put(report.line(row))
    return failed.exit_code if failed else 0


@hookimpl
def k1ctl_notify(workspace: Workspace, config: Config) -> list[Channel]:
    from k1ctl_plugins.notify.channels import configured

    return configured(workspace, config)


@hookimpl
def k1ctl_command() -> click.Command:
    return notify


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.notify.checks import checks

    return checks(workspace, config)
