"""``k1ctl worktree``: make a worktree, set it up, and see which there are."""

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


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.worktree.samples import samples

    return samples(workspace, config)


@hookimpl
def k1ctl_reasons(subject: Subject) -> list[Reason]:
    from k1ctl_plugins.worktree.reasons import reasons

    return reasons(subject)


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.worktree.checks import checks

    return checks(workspace, config)
