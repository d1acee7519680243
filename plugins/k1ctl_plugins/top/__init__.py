"""``k1ctl top``: the live view of a terminal."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl


@purpose("Look", example="k1ctl top")
@click.command(short_help="The live view of a terminal.")
def top() -> None:
    """The live view of a terminal.

    Example: k1ctl top
    """
    raise K1ctlError("k1ctl top is not there yet")


@hookimpl
def k1ctl_command() -> click.Command:
    return top
