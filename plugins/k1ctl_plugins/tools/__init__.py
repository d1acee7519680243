"""``k1ctl tools``: PlatformIO and esptool for hosts that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import json_option

if TYPE_CHECKING:
    from typing import Any

    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


@hookimpl
def k1ctl_command() -> click.Command:
    return tools


@purpose("Set up")
@click.group()
def tools() -> None:
    """Install and inspect the build tools that k1ctl brings itself.

    They live in the user's cache (K1CTL_CACHE_DIR, default ~/.cache/k1ctl) and are used when no other ones are found.

    Example: k1ctl tools install
    """


@tools.command(short_help="Install PlatformIO and the SCons it wants, or esptool, from PyPI.")
@click.argument("tool", type=click.Choice(("platformio", "esptool")), default="platformio")
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
@json_option
def install(tool: str, dry_run: bool, as_json: bool) -> None:
    """Install PlatformIO with the SCons it wants, or esptool, from PyPI, into a virtual environment of its own.

    Does nothing when it is there. esptool is for `upload --via usb`.

    \b
    Example:
      k1ctl tools install --json
      k1ctl tools install esptool
    """
    from k1ctl_plugins.tools import report

    if tool == "esptool":
        document = report.plan_esptool() if dry_run else report.install_esptool()
    else:
        document = report.plan() if dry_run else report.install_tools()
    _show(document, as_json)


@tools.command(short_help="Show which pio and esptool are used, and why.")
@json_option
@pass_context
def status(ctx: Context, as_json: bool) -> None:
    """Show which pio and esptool are used and why, and the tools environment; exit 1 when there is no pio.

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


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.tools.checks import checks

    return checks(workspace, config)
