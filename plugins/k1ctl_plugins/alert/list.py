"""``k1ctl alert list``: what fires, and what is about to."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option


@click.command("list", short_help="Show what fires and what is about to, as the last check found it.")
@click.option("--all", "whole", is_flag=True, help="Also what is over since less than a day.")
@json_option
@pass_context
def list_(context: Context, whole: bool, as_json: bool) -> None:
    """Show what fires and what is about to, as the last `k1ctl alert check` found it. Looks at nothing itself.

    \b
    Example:
      k1ctl alert list --all
      k1ctl alert list --json | jq -r '.alerts[].key'
    """
    from k1ctl_plugins.alert import report

    found = report.listed(context.workspace, whole=whole)
    if as_json:
        emit_json(found)
    else:
        report.show(found, gap=float(context.config.get("alerts", "gap")))


list = list_  # the name that the group looks for
