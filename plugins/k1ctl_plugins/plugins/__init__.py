"""``k1ctl plugins``: what is installed, what it adds, and what is wrong with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl.checks import Check


@purpose("Look")
@click.command()
@click.option("--check", is_flag=True, help="Exit 1 when a plugin is broken.")
@json_option
@pass_context
def plugins(ctx: Context, check: bool, as_json: bool) -> int:
    """List the plugins, what they add, and which are broken.

    A plugin is ok, broken (it is loaded to find out), blocked by K1CTL_PLUGINS, or shadowed by one of the same name.

    K1CTL_PLUGINS=a,b lets in a and b beside the built-in ones, none only these; -a shuts out a.
    K1CTL_TRACE_PLUGINS=1 tells on stderr, with any command, what is loaded and called, and the seconds it takes.

    \b
    Examples:
      k1ctl plugins --check
      k1ctl plugins --json | jq -r '.plugins[] | select(.status != "ok") | .name'
    """
    from k1ctl_plugins.plugins.report import broken_error, hints, rows

    rule = os.environ.get("K1CTL_PLUGINS", "")
    found = rows(ctx.plugins)
    failed = broken_error(found) if check else None
    for text in hints(found, rule):
        say(text)
    if as_json:
        document = {"rule": rule, "plugins": found}
        emit_json(document | failed.document() if failed else {"ok": True, **document})
        return failed.exit_code if failed else 0
    cells = []
    for row in found:
        hooks = ", ".join(hook.removeprefix("k1ctl_") for hook in row["hooks"]) or "-"
        status = f"{row['status']}: {row['why']}" if row["why"] else row["status"]
        cells.append((row["name"], row["distribution"], row["version"] or "-", hooks, status))
    put(table(cells, ("NAME", "DISTRIBUTION", "VERSION", "HOOKS", "STATUS")))
    if failed:
        raise failed
    return 0


@hookimpl
def k1ctl_command() -> click.Command:
    return plugins


@hookimpl
def k1ctl_checks() -> list[Check]:
    from k1ctl_plugins.plugins.checks import checks

    return checks()
