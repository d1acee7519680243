"""`k1ctl capacity`: how many agents fit, whether this one may start, and what binds."""

from __future__ import annotations

import os
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

COMMANDS = (
    "show",
    "check",
    "run",
    "list",
    "release",
    "baseline",
    "stress",
    "plan",
    "forecast",
)  # each in the package or module of its name beside this one


@purpose("Share", example="k1ctl capacity show")
@click.group(
    cls=Subcommands,
    package=__name__,
    names=COMMANDS,
    short_help="How many agents fit, whether one more may start, and what binds.",
)
def capacity() -> None:
    """How many agents fit on this host, whether one more may start, and what binds.

    \b
    Examples:
      k1ctl capacity show
      k1ctl capacity check --need mem=4G
      k1ctl capacity run --need mem=2G --mem-limit 2G -- npm test
    """
    from k1ctl.workspace import host_dir

    try:
        left = os.listdir(os.path.join(host_dir(), "capacity", "limited"))
    except OSError:
        return
    if left:
        from k1ctl.capacity import watched

        if watched.forsaken():
            from k1ctl.capacity.leash import rearm

            rearm()


@hookimpl
def k1ctl_command() -> click.Command:
    return capacity


@hookimpl
def k1ctl_samples(config: Config) -> list[Family]:
    from k1ctl_plugins.capacity.samples import samples

    return samples(config)


@hookimpl
def k1ctl_reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    from k1ctl_plugins.capacity.reasons import reasons

    return reasons(workspace, config, subject)


@hookimpl
def k1ctl_checks(config: Config) -> list[Check]:
    from k1ctl_plugins.capacity.checks import checks

    return checks(config)
