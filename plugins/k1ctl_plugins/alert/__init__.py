"""``k1ctl alert``: what is wrong for longer than it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Subcommands, purpose
from k1ctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace

COMMANDS = ("check", "list", "silence")  # each in the module of its name beside this one


@purpose("Look", example="k1ctl alert check --notify")
@click.group(
    cls=Subcommands,
    package=__name__,
    names=COMMANDS,
    short_help="What is wrong for longer than it may be, and who is told.",
)
def alert() -> None:
    """What is wrong for longer than it may be: long lines, failures, full disks, devices that are away, budgets that
    burn. Without a daemon: cron looks, and what it found is kept in ops/alerts. docs/alerts.md has every rule.

    \b
    Examples:
      * * * * * cd /path/to/root && k1ctl alert check --notify
      k1ctl alert list
      k1ctl alert silence disk --for 2h --reason "archiving"
    """


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.alert.samples import families

    return families(workspace, config)


@hookimpl
def k1ctl_command() -> click.Command:
    return alert


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.alert.checks import checks

    return checks(workspace, config)
