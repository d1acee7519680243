"""The command line: a group that imports only the command it was asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from k1ctl import __version__
from k1ctl.errors import EXIT_CODES
from k1ctl.plugins import PluginError, Plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

    C = TypeVar("C", bound=click.Command)

PURPOSES = ("Share", "Work", "Look", "Set up", "Try")  # the headings of `k1ctl --help`, in this order
OTHERS = "Others"


class Context:
    """What every command gets as ``ctx.obj``: the plugins, and the workspace and configuration once asked for."""

    def __init__(self, plugins: Plugins, root: str | None = None) -> None:
        self.plugins, self.root = plugins, root
        self._workspace: Workspace | None = None
        self._config: Config | None = None

    @property
    def workspace(self) -> Workspace:
        """The worktree of this call and its root. Raises ConfigError outside a repository without a given root."""
        if self._workspace is None:
            from k1ctl.workspace import resolve

            self._workspace = resolve(self.root)
        return self._workspace

    @property
    def config(self) -> Config:
        """The configuration of the root. Raises ConfigError with file, line and key."""
        if self._config is None:
            from k1ctl.config import load

            self._config = load(self.workspace)
        return self._config


pass_context = click.make_pass_decorator(Context)


def purpose(title: str, example: str = "") -> Callable[[C], C]:
    """Decorate a plugin's command with the heading that `k1ctl --help` lists it under, one of `PURPOSES`.

    A command without one, or with a heading that is not among them, stands under "Others". ``example`` is a call of
    it, shown with those of other commands at the end.
    """

    def mark(command: C) -> C:
        if not isinstance(command, click.Command):
            raise TypeError("purpose belongs above @click.command")
        vars(command).update(k1ctl_purpose=title, k1ctl_example=example)
        return command

    return mark


class Subcommands(click.Group):
    """A group whose every subcommand NAME is of that name in the module, or package, NAME of ``package``. Only the one
    that was asked for is imported; help shows them in the order of ``names``."""

    def __init__(self, *args: Any, package: str = "", names: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.names = package, names

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.names:
            return None
        from importlib import import_module

        command = getattr(import_module(f"{self.package}.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


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

            from k1ctl.discovery import entry_points

            rule = os.environ.get("K1CTL_PLUGINS")
            if rule and args[0] in entry_points():
                ctx.fail(f"Plugin {args[0]} is left out by K1CTL_PLUGINS={rule}.")
            near = get_close_matches(args[0], self.plugins.targets, 1)
            hint = f" Did you mean {near[0]!r}?" if near else " See k1ctl --help."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def _listed(self, ctx: click.Context) -> tuple[dict[str, list[click.Command]], list[PluginError]]:
        """({heading: its commands}, the plugins that did not load); a plugin without a command is in neither."""
        if "k1ctl.listed" in ctx.meta:
            return ctx.meta["k1ctl.listed"]  # type: ignore[no-any-return]
        groups: dict[str, list[click.Command]] = {title: [] for title in (*PURPOSES, OTHERS)}
        broken: list[PluginError] = []
        for name in self.list_commands(ctx):
            try:
                command = self.plugins.command(name)
            except PluginError as exc:
                if exc.code != "no-command":
                    broken.append(exc)
                continue
            title = vars(command).get("k1ctl_purpose", OTHERS)
            if not command.hidden:
                groups[title if title in groups else OTHERS].append(command)
        ctx.meta["k1ctl.listed"] = groups, broken
        return groups, broken

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups, broken = self._listed(ctx)
        width = max((len(str(c.name)) for commands in groups.values() for c in commands), default=0)
        for title, commands in groups.items():
            if commands:
                limit = formatter.width - width - 4
                rows = [(str(c.name).ljust(width), c.get_short_help_str(limit=limit)) for c in commands]
                with formatter.section(title):
                    formatter.write_dl(rows)
        if broken:
            with formatter.section("Not loaded"):
                formatter.write_dl([(str(exc.details["plugin"]).ljust(width), exc.message) for exc in broken])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [command for group in self._listed(ctx)[0].values() for command in group]
        examples = [text for text in (vars(c).get("k1ctl_example") for c in commands) if text]
        if examples:
            with formatter.section("Examples"):
                for text in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{text}\n")
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
