"""``k1ctl config``: what is set, where it comes from, what it means, and how to change it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say, style, table

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.config_change import Change
    from k1ctl.errors import ConfigError
    from k1ctl.workspace import Workspace


@purpose("Look", example="k1ctl config set devices.k1.host k1.local")
@click.group(short_help="Show and change what is set, and where it comes from.")
def config() -> None:
    """Show the configuration, every value with its origin, and change it.

    A value comes from K1CTL_* in the environment, else from ops/k1ctl.toml, else it is the default.

    \b
    Examples:
      k1ctl config show --changed
      k1ctl config set devices.k1.host k1.local
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


_rewrite = click.option("--rewrite", is_flag=True, help="Where one line will not do: write all anew, without comments.")
_dry_run = click.option("--dry-run", is_flag=True, help="Change nothing; print the difference.")


@config.command("set", short_help="Set one value in the file; comments stay.")
@click.argument("key")
@click.argument("words", metavar="VALUE...", nargs=-1, required=True)
@_rewrite
@_dry_run
@json_option
@pass_context
def set_value(ctx: Context, key: str, words: tuple[str, ...], rewrite: bool, dry_run: bool, as_json: bool) -> None:
    """Set one value in ops/k1ctl.toml; one line changes, and all others stay, comments too.

    KEY is dotted as in the file; a name with a dot in it stands in quotes. VALUE is checked first; durations and
    sizes stay as written (10m, 4M). A list takes one VALUE an item, or one with commas or in TOML's brackets. A VALUE
    that begins with - stands behind --. Below plugins. a VALUE that is TOML is taken as such, any other as text.

    \b
    Examples:
      k1ctl config set queue.slots.device:k1 1
      k1ctl config set worktree.copy .env '.env.*' --dry-run
    """
    from k1ctl.config_change import set_setting

    change = set_setting(ctx.workspace, key, words, rewrite=rewrite, dry_run=dry_run)
    _tell(change, f"{key} is set in line {change.line}", f"{key} has this value already", dry_run, as_json)


@config.command(short_help="Take one value out of the file; comments stay.")
@click.argument("key")
@_rewrite
@_dry_run
@json_option
@pass_context
def unset(ctx: Context, key: str, rewrite: bool, dry_run: bool, as_json: bool) -> None:
    """Take one value out of ops/k1ctl.toml, so that its default holds; comments stay.

    KEY may also be a device or target as a whole, or something in the file that is no setting.

    \b
    Examples:
      k1ctl config unset queue.park
      k1ctl config unset devices.k1 --dry-run
    """
    from k1ctl.config_change import unset_setting

    change = unset_setting(ctx.workspace, key, rewrite=rewrite, dry_run=dry_run)
    _tell(change, f"{key} is taken out", f"{key} is not set there", dry_run, as_json)


@config.command(short_help="Edit the file; what is wrong never gets in.")
@_dry_run
@json_option
@pass_context
def edit(ctx: Context, dry_run: bool, as_json: bool) -> None:
    """Edit a copy of ops/k1ctl.toml with VISUAL or EDITOR and take it over when it is right.

    What is wrong is told with its line, and on a terminal you may go on editing; else, exit 78 names the copy.

    Example: EDITOR=nano k1ctl config edit
    """
    from k1ctl_plugins.config import editor

    ask = _edit_again if sys.stdin.isatty() and sys.stderr.isatty() else None
    change = editor.edit(ctx.workspace, ask, dry_run=dry_run)
    _tell(change, f"{change.path} is changed", "nothing was changed", dry_run, as_json)


def _edit_again(wrong: ConfigError) -> bool:
    say(f"{style('error', 'red', 'bold', stream=sys.stderr)}: {wrong.message}")
    return click.confirm("Edit again?", default=True, err=True)


def _tell(change: Change, done: str, nothing: str, dry_run: bool, as_json: bool) -> None:
    for note in change.notes:
        say(note)
    if as_json:
        emit_json(change.document() | {"dry_run": dry_run})
        return
    if dry_run:
        put(change.diff().rstrip("\n")) if change.diff() else say(nothing)
    else:
        say(done if change.written else nothing)


@hookimpl
def k1ctl_command() -> click.Command:
    return config


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.config.checks import checks

    return checks(workspace, config)
