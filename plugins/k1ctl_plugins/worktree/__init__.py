"""``k1ctl worktree``: make a worktree, set it up, and see which there are."""

from __future__ import annotations

import click

from k1ctl.cli import Subcommands, purpose
from k1ctl.hookspecs import hookimpl

# each in the module of its name beside this one
COMMANDS = ("add", "doctor", "du", "list", "ports", "repair", "setup", "show", "which")


@purpose("Work", example="k1ctl worktree add oslo")
@click.group(
    cls=Subcommands,
    package=__name__,
    names=sorted(COMMANDS),
    short_help="Make worktrees, set them up, look after them.",
)
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
