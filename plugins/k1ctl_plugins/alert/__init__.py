"""``k1ctl alert``: what is wrong for longer than it may be."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl


@purpose("Look", example="k1ctl alert")
@click.command(short_help="What is wrong for longer than it may be.")
def alert() -> None:
    """What is wrong for longer than it may be.

    Example: k1ctl alert
    """
    raise K1ctlError("k1ctl alert is not there yet")


@hookimpl
def k1ctl_command() -> click.Command:
    return alert
