"""``k1ctl doctor``: all plugins' checks, with what mends what they find."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl


@purpose("Look", example="k1ctl doctor")
@click.command(short_help="All plugins' checks, with what mends what they find.")
def doctor() -> None:
    """All plugins' checks, with what mends what they find.

    Example: k1ctl doctor
    """
    raise K1ctlError("k1ctl doctor is not there yet")


@hookimpl
def k1ctl_command() -> click.Command:
    return doctor
