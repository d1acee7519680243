"""`k1ctl device`: what is on the desk, whether it is well, and what it says."""

from __future__ import annotations

from importlib import import_module

import click

from k1ctl.cli import purpose
from k1ctl.hookspecs import hookimpl

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


class Subcommands(click.Group):
    """Imports only the subcommand that was asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is a package here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"k1ctl_plugins.device.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@purpose("Look", example="k1ctl device health --wait 60s")
@click.group(cls=Subcommands, short_help="Find, check, watch and test the devices, and talk to them.")
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
