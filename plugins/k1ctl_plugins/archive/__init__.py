"""`k1ctl archive`: save worktrees so that nothing is lost, remove the idle ones, bring them back."""

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


@purpose("Work", example="k1ctl archive list")
@click.group(
    cls=Subcommands,
    package=__name__,
    names=COMMANDS,
    short_help="Save worktrees, remove the idle ones, bring them back.",
)
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
def k1ctl_samples(workspace: Workspace) -> list[Family]:
    from k1ctl_plugins.archive.samples import samples

    return samples(workspace)


@hookimpl
def k1ctl_archive_store(workspace: Workspace, config: Config) -> list[Store]:
    if not config.names("stores"):
        return []
    from k1ctl_plugins.archive.stores import configured

    return configured(config)


@hookimpl
def k1ctl_reasons(subject: Subject) -> list[Reason]:
    from k1ctl_plugins.archive.reasons import reasons

    return reasons(subject)


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.archive.checks import checks

    return checks(workspace, config)
