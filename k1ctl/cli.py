"""The command line: a group that imports only the command it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl import __version__
from k1ctl.errors import EXIT_CODES
from k1ctl.plugins import PluginError, Plugins

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


class Context:
    """What every command gets as ``ctx.obj``: the plugins, and the workspace and configuration once asked for."""

    def __init__(self, plugins: Plugins, root: str | None = None) -> None:
        self.plugins, self.root = plugins, root
        self._workspace: Workspace | None = None
        self._config: Config | None = None

    @property
    def workspace(self) -> Workspace:
        """Raises ConfigError outside a repository without a given root."""
        if self._workspace is None:
            from k1ctl.workspace import resolve

            self._workspace = resolve(self.root)
        return self._workspace

    @property
    def config(self) -> Config:
        """Raises ConfigError."""
        if self._config is None:
            from k1ctl.config import load

            self._config = load(self.workspace)
        return self._config


pass_context = click.make_pass_decorator(Context)


class PluginGroup(click.Group):
    """Looks commands up among the plugins."""

    def __init__(self, *args: Any, plugins: Plugins | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plugins = plugins or Plugins()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.plugins.targets)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.plugins.command(cmd_name) if cmd_name in self.plugins.targets else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.plugins.targets:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.plugins.targets, 1)
            hint = f" Did you mean {near[0]!r}?" if near else " See k1ctl --help."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.plugins.command(name)
            except PluginError as exc:
                rows.append((name, f"[{exc.message}]"))
            else:
                if not command.hidden:
                    rows.append((name, command.get_short_help_str(limit=formatter.width - 16)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in EXIT_CODES.items()])


@click.group(
    cls=PluginGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Let many coding agents share one device, its build slots and one machine.\n\n"
    "Start with `k1ctl demo` to see it work, or `k1ctl init` in a repository.",
)
@click.option("--root", metavar="FOLDER", help="The main checkout whose ops/ is used (default: found through git).")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, root: str | None) -> None:
    assert isinstance(ctx.command, PluginGroup)
    ctx.obj = Context(ctx.command.plugins, root)
