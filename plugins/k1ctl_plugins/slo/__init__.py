"""``k1ctl slo``: objectives, and what is left of their error budgets."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl


@purpose("Look", example="k1ctl slo")
@click.command(short_help="Objectives, and what is left of their error budgets.")
def slo() -> None:
    """Objectives, and what is left of their error budgets.

    Example: k1ctl slo
    """
    raise K1ctlError("k1ctl slo is not there yet")


@hookimpl
def k1ctl_command() -> click.Command:
    return slo
