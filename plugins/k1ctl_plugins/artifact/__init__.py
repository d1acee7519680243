"""`k1ctl artifact`: list, keep, drop and copy what builds made."""

from __future__ import annotations

from importlib import import_module

import click

from k1ctl.cli import purpose
from k1ctl.hookspecs import hookimpl

COMMANDS = (
    "list",
    "show",
    "pin",
    "unpin",
    "prune",
    "push",
    "pull",
)  # each in the package or module of its name beside this one


class Subcommands(click.Group):
    """Imports only the subcommand that was asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"k1ctl_plugins.artifact.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@purpose("Build", example="k1ctl artifact list")
@click.group(cls=Subcommands, short_help="List, keep, drop and copy what builds made.")
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
