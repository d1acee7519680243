"""`k1ctl budget`: what may be spent, what was, and which key and model to use now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Subcommands, purpose
from k1ctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from k1ctl.budget.transcripts import UsageReader

COMMANDS = ("keys", "github", "sync")  # each in the package or module of its name beside this one


@purpose("Share", example="k1ctl budget keys next --tokens 20k")
@click.group(
    cls=Subcommands,
    package=__name__,
    names=COMMANDS,
    short_help="What may be spent, and which key and model to use now.",
)
def budget() -> None:
    """What may be spent, what was, and which key and model to use now.

    \b
    Examples:
      k1ctl budget keys list
      k1ctl budget keys next --tokens 20k
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return budget


@hookimpl
def k1ctl_usage_readers() -> list[UsageReader]:
    from k1ctl.budget.transcripts_claude import ClaudeCode
    from k1ctl.budget.transcripts_codex import Codex

    return [ClaudeCode(), Codex()]
