"""`k1ctl device`: what is on the desk, whether it is well, and what it says."""

from __future__ import annotations

from importlib import import_module

import click

from k1ctl.cli import purpose
from k1ctl.hookspecs import hookimpl

# subcommand: the package beside this module that has it, under its own name
COMMANDS = {
    "console": "console",
    "disable": "disable",
    "discover": "discover",
    "enable": "enable",
    "escalation": "escalation",
    "health": "health",
    "info": "info",
    "list": "list",
    "logs": "logs",
    "metrics": "metrics",
    "rollback": "rollback",
    "test": "test",
    "watch": "watch",
}


class Subcommands(click.Group):
    """Imports only the subcommand that was asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        package = import_module(f"k1ctl_plugins.device.{COMMANDS[cmd_name]}")
        command = getattr(package, cmd_name)
        assert isinstance(command, click.Command)
        return command


@purpose("Look", example="k1ctl device health --wait 60s")
@click.group(cls=Subcommands, short_help="Ask a device whether it is there, the right one, and well.")
def device() -> None:
    """Ask a device whether it is there, the right one, and well.

    \b
    Example:
      k1ctl device health k1
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return device
