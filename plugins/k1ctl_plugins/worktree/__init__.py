"""``k1ctl worktree``: make a worktree, set it up, and see which there are."""

from __future__ import annotations

from importlib import import_module

import click

from k1ctl.cli import purpose
from k1ctl.hookspecs import hookimpl

# each in the module of its name beside this one
COMMANDS = ("add", "doctor", "du", "list", "ports", "repair", "setup", "show", "which")


class Subcommands(click.Group):
    """Imports only the subcommand that was asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"k1ctl_plugins.worktree.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@purpose("Work", example="k1ctl worktree add oslo")
@click.group(cls=Subcommands, short_help="Make worktrees, set them up, look after them.")
def worktree() -> None:
    """Make worktrees, set them up, list them, see what they take and what is wrong with them.

    \b
    Examples:
      k1ctl worktree add oslo --base origin/main
      k1ctl worktree setup --json
      k1ctl worktree list
      k1ctl worktree doctor --all
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return worktree
