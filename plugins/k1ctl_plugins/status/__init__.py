"""``k1ctl status``: one screen of what runs, what waits and what fails."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl


@purpose("Look", example="k1ctl status")
@click.command(short_help="One screen of what runs, what waits and what fails.")
def status() -> None:
    """One screen of what runs, what waits and what fails.

    Example: k1ctl status
    """
    raise K1ctlError("k1ctl status is not there yet")


@hookimpl
def k1ctl_command() -> click.Command:
    return status
