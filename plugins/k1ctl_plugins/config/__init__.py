"""``k1ctl config``: what is set, where it comes from, and what it means."""

from __future__ import annotations

import os

import click

from k1ctl.cli import Context, pass_context
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say, table


@click.group()
def config() -> None:
    """Show the configuration: every value with its origin.

    A value comes from K1CTL_* in the environment, else from ops/k1ctl.toml, else it is the default.

    \b
    Examples:
      k1ctl config show --changed
      k1ctl config get devices.k1.host
      K1CTL_QUEUE_PARK=5m k1ctl config get queue.park
    """


@config.command()
@click.option("--changed", is_flag=True, help="Leave out what has its default.")
@json_option
@pass_context
def show(ctx: Context, changed: bool, as_json: bool) -> None:
    """Print every value, its origin and its meaning.

    Durations are in seconds and sizes in bytes under --json; --changed leaves the defaults out.

    Example: k1ctl config show --changed --json
    """
    from k1ctl.config import unknown_variables
    from k1ctl_plugins.config.listing import readable, rows

    found = [row for row in rows(ctx.config) if not (changed and row["origin"] == "default")]
    for name, near in unknown_variables(ctx.config, os.environ):
        say(f"{name} is no setting" + (f"; did you mean {near}?" if near else ""))
    if as_json:
        emit_json({"ok": True, "file": ctx.config.path, "exists": os.path.exists(ctx.config.path), "settings": found})
        return
    if not os.path.exists(ctx.config.path):
        say(f"there is no {ctx.config.path} yet; k1ctl init writes one")
    put(
        table(
            [(r["key"], readable(r), r["origin"], r["about"]) for r in found], ("SETTING", "VALUE", "ORIGIN", "MEANING")
        )
    )


@config.command("get")
@click.argument("key")
@json_option
@pass_context
def get_value(ctx: Context, key: str, as_json: bool) -> None:
    """Print one value: durations in seconds, sizes in bytes, a list one item a line.

    KEY is dotted as in the file; a name with a dot in it stands in quotes.

    \b
    Examples:
      k1ctl config get ota.attempts
      k1ctl config get queue.slots.device:k1
    """
    from k1ctl_plugins.config.listing import plain, row_of

    row = row_of(ctx.config, key)
    if as_json:
        emit_json({"ok": True, **row})
    else:
        put(plain(row["value"]))


@config.command()
@json_option
@pass_context
def path(ctx: Context, as_json: bool) -> None:
    """Print where the configuration file is, or would be.

    Example: $EDITOR "$(k1ctl config path)"
    """
    file = ctx.workspace.config_file
    if as_json:
        emit_json({"ok": True, "file": file, "exists": os.path.exists(file)})
    else:
        put(file)


@hookimpl
def k1ctl_command() -> click.Command:
    return config
