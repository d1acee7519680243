"""``k1ctl metrics``: samples for a monitoring stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Subcommands, purpose
from k1ctl.hookspecs import hookimpl

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace

COMMANDS = ("print", "write", "serve", "json", "rules")  # each in the module of its name beside this one


@purpose("Look", example="k1ctl metrics serve")
@click.group(cls=Subcommands, package=__name__, names=COMMANDS, short_help="Samples for a monitoring stack.")
def metrics() -> None:
    """What all plugins know, as samples for Prometheus and what reads its formats.

    Everything is read from files: nothing waits, no device is asked. docs/metrics.md lists the names.

    \b
    Examples:
      k1ctl metrics print
      k1ctl metrics serve
      k1ctl metrics rules --out /etc/prometheus
    """


@hookimpl
def k1ctl_command() -> click.Command:
    return metrics


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.metrics.samples import samples

    return samples(workspace, config)


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.metrics.checks import checks

    return checks(workspace, config)
