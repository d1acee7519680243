"""``k1ctl worktree``: make a worktree, set it up, and see which there are."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import clean, emit_json, json_option, say
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.worktree.prepare import Result


COMMANDS = ("add", "list")  # each in the module of its name beside this one; further ones stand below


class Subcommands(click.Group):
    """Imports only the subcommand that was asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(f"k1ctl_plugins.worktree.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@purpose("Work", example="k1ctl worktree add oslo")
@click.group(cls=Subcommands, short_help="Make worktrees, set them up, look after them.")
def worktree() -> None:
    """Make worktrees, set them up, and list them.

    \b
    Examples:
      k1ctl worktree add oslo --base origin/main
      k1ctl worktree setup --json
      k1ctl worktree list
    """


@worktree.command()
@click.option("--unlink/--no-unlink", default=True, help="Remove a .pio or node_modules that links out, or refuse.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@json_option
@pass_context
def setup(ctx: Context, unlink: bool, dry_run: bool, as_json: bool) -> None:
    """Prepare this worktree to work in; run again, it does what is missing.

    It finds the tools, removes a .pio or node_modules that links out of the tree (the link, not its target), copies
    git-ignored .env files from the root, runs npm ci where a lock file is, and does what other plugins add.

    Example: k1ctl worktree setup --dry-run
    """
    ctx.workspace.check_inside()
    document = run_set_up(ctx, ctx.workspace, dry_run=dry_run, unlink=unlink)
    if as_json:
        emit_json(document)


def run_set_up(ctx: Context, workspace: Workspace, *, dry_run: bool = False, unlink: bool = True) -> dict[str, object]:
    """Set up, telling each step as it ends; returns the report. Raises K1ctlError naming the steps that failed."""
    from k1ctl_plugins.worktree.prepare import set_up

    begun = time.monotonic()
    results = set_up(workspace, ctx.config, ctx.plugins, dry_run=dry_run, unlink=unlink, watch=_tell)
    for name, broken in ctx.plugins.broken.items():
        say(f"plugin {name} is left out: {broken.message}")
    seconds = round(time.monotonic() - begun, 3)
    failed = [result.name for result in results if result.status == "failed"]
    facts = {"root": workspace.root, "workspace": workspace.name, "path": workspace.path, "dry_run": dry_run}
    report = {**facts, "setup_seconds": seconds, "steps": [result.document() for result in results]}
    if failed:
        raise K1ctlError(
            f"set-up of {workspace.path} failed: {', '.join(failed)}",
            hint="the other steps are done; mend it and run k1ctl worktree setup there again",
            code="setup-failed",
            failed=failed,
            **report,
        )
    say(f"set up {workspace.path} in {format_duration(seconds)}")
    return {"ok": True, **report}


def _tell(result: Result) -> None:
    say(f"{result.status:<9}  {result.name:<14}  {format_duration(result.seconds):>7}  {clean(result.summary)}")


@hookimpl
def k1ctl_command() -> click.Command:
    return worktree
