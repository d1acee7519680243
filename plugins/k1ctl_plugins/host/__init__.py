"""`k1ctl host`: how the host fares."""

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

COMMANDS = ("health", "doctor")  # each in the package or module of its name beside this one


@purpose("Look", example="k1ctl host health")
@click.group(cls=Subcommands, package=__name__, names=COMMANDS, short_help="How the host fares.")
def host() -> None:
    """How the host fares: memory, swap, disk, and what stalls; and what k1ctl can hold a command to here.

    \b
    Examples:
      k1ctl host health --format nagios
      k1ctl host doctor
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return host


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.host.samples import samples

    return samples(workspace, config)


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.host.checks import checks

    return checks(workspace, config)
