"""``k1ctl build``: build a target in this worktree, when it is its turn, and keep the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.hookspecs import hookimpl
from k1ctl.output import json_option
from k1ctl.queue.names import PRIORITIES

if TYPE_CHECKING:
    from k1ctl.builds import BuildKind
    from k1ctl.config import Config
    from k1ctl.setup import SetupStep
    from k1ctl.workspace import Workspace


@hookimpl
def k1ctl_command() -> click.Command:
    return build


@hookimpl
def k1ctl_build_kinds() -> list[BuildKind]:
    from k1ctl_plugins.build.platformio_kind import PlatformioKind

    return [PlatformioKind()]


@hookimpl
def k1ctl_setup_steps(workspace: Workspace, config: Config) -> list[SetupStep]:
    from k1ctl_plugins.build.platformio_setup import setup_steps

    return setup_steps(workspace, config)


@click.command(short_help="Build in this worktree, in a slot, and keep the artifact.")
@click.argument("target", required=False)
@click.option("--env", "variant", default="", metavar="E", help="Environment to build (default: the target's).")
@click.option("--clean", is_flag=True, help="Remove what earlier builds of this environment left first.")
@click.option("--wait", type=DURATION, metavar="D", help="Wait in line at most D; then exit 75, the place is kept.")
@click.option("--timeout", type=DURATION, metavar="D", help="Stop the build after D (default: build.timeout).")
@click.option(
    "--priority",
    type=click.Choice(tuple(PRIORITIES)),
    default="normal",
    show_default=True,
    help="Who goes first.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be run and do nothing.")
@json_option
@pass_context
def build(ctx: Context, /, target: str | None, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Build TARGET (default: defaults.target) in this worktree and keep the result as an artifact.

    Waits for a slot of build:TARGET and for other builds of this worktree. A broken build exits 1 with the
    compiler's own lines; a good one prints sizes, warnings and the artifact, which `k1ctl upload` takes.

    \b
    Example:
      k1ctl build fw
      k1ctl build fw --env debug --clean --json
    """
    from k1ctl_plugins.build import flow, show

    plan = flow.plan(ctx, target, **options)
    if dry_run:
        return show.dry_run(plan, as_json)
    return show.finished(plan, flow.run(plan, show.BuildView(plan)), as_json)
