"""``k1ctl tools``: PlatformIO for hosts that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import json_option

if TYPE_CHECKING:
    from typing import Any


@hookimpl
def k1ctl_command() -> click.Command:
    return tools


@purpose("Set up")
@click.group()
def tools() -> None:
    """Install and inspect the build tools that k1ctl brings itself.

    They live in the user's cache (K1CTL_CACHE_DIR, default ~/.cache/k1ctl) and are used when no other pio is found.

    Example: k1ctl tools install
    """


@tools.command(short_help="Install PlatformIO and the SCons it wants, from PyPI.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
@json_option
def install(dry_run: bool, as_json: bool) -> None:
    """Install PlatformIO and the SCons it wants, from PyPI, into a virtual environment of their own.

    Does nothing when they are there.

    Example: k1ctl tools install --json
    """
    from k1ctl_plugins.tools.report import install_tools, plan

    document = plan() if dry_run else install_tools()
    _show(document, as_json)


@tools.command()
@json_option
@pass_context
def status(ctx: Context, as_json: bool) -> None:
    """Show which pio is used and why, and the tools environment; exit 1 when there is no pio.

    Example: k1ctl tools status --json
    """
    from k1ctl_plugins.tools.report import tools_status

    document = tools_status(ctx)
    _show(document, as_json)
    if not document["pio"]:
        click.get_current_context().exit(1)


def _show(document: dict[str, Any], as_json: bool) -> None:
    from k1ctl.output import emit_json, put

    if as_json:
        emit_json({k: v for k, v in document.items() if k != "text"})
    else:
        put(document["text"])
