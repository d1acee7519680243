"""`k1ctl device`: what is on the desk, whether it is well, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Subcommands, purpose
from k1ctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.reasons import Reason, Subject
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace

# each in the package of its name beside this module
COMMANDS = (
    "console",
    "disable",
    "discover",
    "enable",
    "escalation",
    "health",
    "info",
    "list",
    "logs",
    "metrics",
    "rollback",
    "test",
    "watch",
)


@purpose("Look", example="k1ctl device health --wait 60s")
@click.group(
    cls=Subcommands,
    package=__name__,
    names=COMMANDS,
    short_help="Find, check, watch and test the devices, and talk to them.",
)
def device() -> None:
    """Find, check, watch and test the devices, and talk to them. A NAME that is left out is [defaults] device.

    \b
    Example:
      k1ctl device list
      k1ctl device health k1 --wait 60s
      k1ctl device discover --toml
      k1ctl device console --reset --for 10s
      k1ctl device test lava --record
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return device


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.device.samples import samples

    return samples(workspace, config)


@hookimpl
def k1ctl_reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    from k1ctl_plugins.device.reasons import reasons

    return reasons(workspace, config, subject)


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.device.checks import checks

    return checks(workspace, config)
