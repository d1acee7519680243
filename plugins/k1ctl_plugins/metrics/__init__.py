"""``k1ctl metrics``: samples for a monitoring stack."""

from __future__ import annotations

import click

from k1ctl.cli import purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl


@purpose("Look", example="k1ctl metrics")
@click.command(short_help="Samples for a monitoring stack.")
def metrics() -> None:
    """Samples for a monitoring stack.

    Example: k1ctl metrics
    """
    raise K1ctlError("k1ctl metrics is not there yet")


@hookimpl
def k1ctl_command() -> click.Command:
    return metrics
