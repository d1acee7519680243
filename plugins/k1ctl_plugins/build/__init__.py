"""``k1ctl build``: build a target in this worktree, when it is its turn, and keep the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.durations import DURATION
from k1ctl.hookspecs import hookimpl
from k1ctl.output import json_option
from k1ctl.queue.names import PRIORITIES

if TYPE_CHECKING:
    from k1ctl.builds import BuildKind
    from k1ctl.config import Config
    from k1ctl.reasons import Reason, Subject
    from k1ctl.samples import Family
    from k1ctl.setup import SetupStep
    from k1ctl.workspace import Workspace


@hookimpl
def k1ctl_command() -> click.Command:
    return build


@hookimpl
def k1ctl_samples(workspace: Workspace) -> list[Family]:
    from k1ctl_plugins.build.samples import samples

    return samples(workspace)


@hookimpl
def k1ctl_build_kinds() -> list[BuildKind]:
    from k1ctl_plugins.build.command_kind import CommandKind
    from k1ctl_plugins.build.npm_kind import NpmKind
    from k1ctl_plugins.build.platformio_kind import PlatformioKind

    return [PlatformioKind(), NpmKind(), CommandKind()]


@hookimpl
def k1ctl_setup_steps(workspace: Workspace, config: Config) -> list[SetupStep]:
    from k1ctl_plugins.build.platformio_setup import setup_steps

    return setup_steps(workspace, config)


class TargetGroup(click.Group):
    """A command whose words are targets, and which has subcommands: their names are no targets' names."""

    allow_interspersed_args = True  # options may follow the targets

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:
            ctx.meta["build.words"] = args
            return []
        return click.Command.parse_args(self, ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Asked for a subcommand's usage, without the targets: they do not stand before its name."""
        params = super().get_params(ctx)
        return params if ctx.command is self else [p for p in params if not isinstance(p, click.Argument)]

    def invoke(self, ctx: click.Context) -> Any:
        words = ctx.meta.get("build.words")
        if words is None:
            return click.Command.invoke(self, ctx)
        command = self.commands[words[0]]
        with command.make_context(words[0], words[1:], parent=ctx) as own:
            return command.invoke(own)


@purpose("Work", example="k1ctl build fw")
@click.group(
    cls=TargetGroup,
    no_args_is_help=False,
    subcommand_metavar="",
    short_help="Build in this worktree, in a slot, and keep the artifact.",
)
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@click.option("--env", "variant", default="", metavar="E", help="Environment to build (default: the target's).")
@click.option("--release", is_flag=True, help="Optimise as for a release (PlatformIO: release_env or LTO).")
@click.option("--clean", is_flag=True, help="Build anew: remove what earlier builds left, take nothing from caches.")
@click.option("--keep-going", is_flag=True, help="Build the other targets when one failed.")
@click.option("--wait", type=DURATION, metavar="D", help="Wait in line at most D; then exit 75, the place is kept.")
@click.option("--timeout", type=DURATION, metavar="D", help="Stop a build after D (default: build.timeout).")
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
def build(ctx: Context, /, targets: tuple[str, ...], keep_going: bool, **options: Any) -> int:
    """Build each TARGET (default: defaults.target) in this worktree and keep the result as an artifact.

    `all` is every configured target whose project is in this worktree. Each waits for a slot of build:TARGET and for
    other builds of this worktree. A broken build exits 1 with the compiler's own lines; a good one prints sizes,
    warnings and the artifact, which `k1ctl upload` takes.

    \b
    Example:
      k1ctl build fw
      k1ctl build fw --env debug --clean --json
      k1ctl build all --release --keep-going
      k1ctl build log -f
    """
    from k1ctl_plugins.build import several

    chosen = several.choose(ctx, targets)
    if chosen.many:
        return several.many(ctx, chosen, keep_going=keep_going, **options)
    return several.one(ctx, chosen.targets[0], **options)


@build.command("list")
@click.option("--workspace", "name", metavar="W", help="Only builds of this workspace.")
@click.option("--target", metavar="T", help="Only builds of this target.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="How many (0: all kept).")
@json_option
@pass_context
def list_(ctx: Context, name: str | None, target: str | None, limit: int, as_json: bool) -> None:
    """List the builds of this repository's workspaces, the newest first.

    \b
    Example:
      k1ctl build list --target fw --limit 5
      k1ctl build list --json | jq '.builds[] | select(.outcome != "done")'
    """
    from k1ctl_plugins.build import runs

    runs.print_rows(runs.rows(ctx.workspace, name, target, limit), as_json)


@build.command("show")
@click.argument("run", default="latest")
@json_option
@pass_context
def show_(ctx: Context, run: str, as_json: bool) -> None:
    """Show one build: how it went and what it made.

    The record, the manifest of the artifact, warnings and the compiler's error lines.
    RUN is the beginning of a run id; without it, the newest build of this worktree.

    \b
    Example:
      k1ctl build show
      k1ctl build show 20260103-1015 --json
    """
    from k1ctl_plugins.build import runs

    runs.print_facts(runs.facts(ctx.workspace, runs.find(ctx.workspace, run)), as_json)


@build.command("log")
@click.argument("run", default="latest")
@click.option("-f", "--follow", is_flag=True, help="Go on until the build is over.")
@json_option
@pass_context
def log_(ctx: Context, run: str, follow: bool, as_json: bool) -> None:
    """Print what a build's tools said.

    RUN is the beginning of a run id; without it, the newest build of this worktree.

    \b
    Example:
      k1ctl build log | grep warning:
      k1ctl build log 20260103-1015 --follow
    """
    from k1ctl_plugins.build import runs

    runs.print_log(runs.find(ctx.workspace, run), follow=follow, as_json=as_json)


@hookimpl
def k1ctl_reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    from k1ctl_plugins.build.reasons import reasons

    return reasons(workspace, config, subject)
