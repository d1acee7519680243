"""``k1ctl why``: why something waits, was refused or failed."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl


@purpose("Look", example="k1ctl why")
@click.command(short_help="Why something waits, was refused or failed.")
def why() -> None:
    """Why something waits, was refused or failed.

    Example: k1ctl why
    """
    raise K1ctlError("k1ctl why is not there yet")


@hookimpl
def k1ctl_command() -> click.Command:
    return why
