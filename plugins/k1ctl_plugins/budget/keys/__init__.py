"""``k1ctl budget keys``: which key to use now, and what became of it."""

from __future__ import annotations

import click

from k1ctl.cli import Subcommands

COMMANDS = ("list", "next", "report")  # each in the module of its name beside this one


@click.group(
    cls=Subcommands, package=__name__, names=COMMANDS, short_help="Take turns with the keys of several accounts."
)
def keys() -> None:
    """Take turns with the keys of several accounts, each below its limits. Keys are named, never shown.

    \b
    Examples:
      k1ctl budget keys list
      k1ctl budget keys next --tokens 20k
      k1ctl budget keys report team-a-1 --status 429 --retry-after 30
    """
