"""`k1ctl archive`: save worktrees so that nothing is lost, remove the idle ones, bring them back."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from k1ctl.cli import purpose
from k1ctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.stores import Store
    from k1ctl.workspace import Workspace

COMMANDS: tuple[str, ...] = (
    "list",
    "pull",
    "purge",
    "push",
    "restore",
    "run",
    "save",
    "schedule",
    "show",
    "verify",
)  # each in the package or module of its name beside this one


class Subcommands(click.Group):
    """Imports only the subcommand that was asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"k1ctl_plugins.archive.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@purpose("Work", example="k1ctl archive list")
@click.group(cls=Subcommands, short_help="Save worktrees, remove the idle ones, bring them back.")
def archive() -> None:
    """Save worktrees so that nothing of them is lost, remove the idle ones, and bring them back with one command.

    \b
    Examples:
      k1ctl archive run --older-than 7d --dry-run
      k1ctl archive list
      k1ctl archive restore oslo
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return archive


@hookimpl
def k1ctl_archive_store(workspace: Workspace, config: Config) -> list[Store]:
    if not config.names("stores"):
        return []
    from k1ctl_plugins.archive.stores import configured

    return configured(config)
