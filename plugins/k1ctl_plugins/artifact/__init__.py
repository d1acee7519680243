"""`k1ctl artifact`: list, keep, drop and copy what builds made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Subcommands, purpose
from k1ctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace

COMMANDS = (
    "list",
    "show",
    "pin",
    "unpin",
    "prune",
    "push",
    "pull",
)  # each in the package or module of its name beside this one


@purpose("Work", example="k1ctl artifact list")
@click.group(
    cls=Subcommands, package=__name__, names=COMMANDS, short_help="List, keep, drop and copy what builds made."
)
def artifact() -> None:
    """List, keep, drop and copy what builds made: the artifacts under ops/artifacts.

    \b
    Examples:
      k1ctl artifact list
      k1ctl artifact pin 3f2a91
      k1ctl artifact prune --dry-run
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return artifact


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.artifact.samples import samples

    return samples(workspace, config)
