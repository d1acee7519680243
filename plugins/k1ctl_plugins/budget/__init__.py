"""`k1ctl budget`: what may be spent, what was, and which key and model to use now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Subcommands, purpose
from k1ctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from k1ctl.budget.transcripts import UsageReader
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.errors import K1ctlError
    from k1ctl.reasons import Reason, Subject
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace

COMMANDS = (
    *("status", "set", "reserve", "settle", "release", "extend", "run", "check", "history", "verify", "export"),
    *("keys", "github", "model", "sync"),
)  # each in the package or module of its name beside this one


@purpose("Share", example="k1ctl budget status")
@click.group(
    cls=Subcommands,
    package=__name__,
    names=COMMANDS,
    short_help="What may be spent, what was, and which key and model to use now.",
)
def budget() -> None:
    """What may be spent, what was, and which key and model to use now.

    \b
    Examples:
      k1ctl budget set --day 3M --agent-day 500k --task 2M
      k1ctl budget status
      k1ctl budget run --estimate 50k --agent A --task T -- ./agent.sh
      k1ctl budget keys next --tokens 20k
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return budget


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.budget.samples import samples

    return samples(workspace, config)


@hookimpl
def k1ctl_usage_readers() -> list[UsageReader]:
    from k1ctl.budget.transcripts_claude import ClaudeCode
    from k1ctl.budget.transcripts_codex import Codex

    return [ClaudeCode(), Codex()]


@hookimpl
def k1ctl_reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason | K1ctlError]:
    from k1ctl_plugins.budget.reasons import reasons

    return reasons(workspace, config, subject)


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.budget.checks import checks

    return checks(workspace, config)
