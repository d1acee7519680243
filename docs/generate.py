"""Write docs/hooks.md, docs/commands.md, completions/ and the files for Prometheus in k1ctl/metrics/data from the code,
and the files shown in docs/writing-plugins.md into it.

``--check`` only says whether they have drifted; names of pages restrict both to these.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

from k1ctl import builds, hookspecs
from k1ctl.cli import Context, cli
from k1ctl.config import Config
from k1ctl.discovery import BUILT_IN, entry_points
from k1ctl.errors import EXIT_CODES
from k1ctl.metrics import rules
from k1ctl.notify import Channel, Notification
from k1ctl.plugins import Plugins
from k1ctl.setup import SetupStep, StepReport
from k1ctl.stores import Store
from k1ctl.transports import Delivery, Transport
from k1ctl.workspace import Workspace
from k1ctl_plugins.completion import script

FOLDER = Path(__file__).parent
NOTE = "<!-- made by docs/generate.py; change the code, then run `make docs` -->"
SHOWN = re.compile(r"(?s)(<!-- from (\S+) -->\n).*?(<!-- end -->)")
TYPES = (
    *(builds.BuildKind, builds.BuildRequest, builds.BuildCommand, builds.BuildReader, builds.BuildResult),
    *(SetupStep, StepReport, Transport, Delivery, Channel, Notification, Store, Context, Workspace, Config),
)
MONITORING = rules.files(Config("", {}, {}))
LANGUAGES = {".py": "python", ".toml": "toml"}


def hooks() -> str:
    """The hook reference: a heading with the exact signature for each hook, its docstring, and who implements it."""
    parts = [
        NOTE,
        "# Hooks",
        "A plugin is a Python module that a distribution names in the entry-point group `k1ctl.plugins`; the entry "
        "point's name is the name of its command. It implements hooks with `k1ctl.hookspecs.hookimpl`, taking any "
        "subset of the arguments. A plugin that cannot be loaded is named in `k1ctl --help` and `k1ctl plugins`, fails "
        "alone and disturbs nobody. [Write a plugin](writing-plugins.md) shows a whole one.",
        '```toml\n[project.entry-points."k1ctl.plugins"]\nhello = "k1ctl_hello"\n```',
    ]
    plugins = Plugins({name: module for name, module in entry_points().items() if module.startswith(BUILT_IN)})
    for name, function in vars(hookspecs).items():
        if name.startswith("k1ctl_"):
            text = inspect.cleandoc(function.__doc__ or "").replace("Example::\n", "Example:\n")
            users = ", ".join(f"`{plugin}`" for plugin in sorted(plugins.targets) if name in plugins.hooks(plugin))
            parts += [f"## {name}{signature(function)}", text, f"Built-in plugins that implement it: {users}."]
    parts += ["# Types", "What hooks and commands are given, and what they return."]
    for kind in TYPES:
        parts += [f"### {kind.__module__}.{kind.__name__}", inspect.cleandoc(kind.__doc__ or ""), *_members(kind)]
    return "\n\n".join(parts) + "\n"


def _members(kind: type) -> list[str]:
    """The public methods and properties of a class that say what they are for, one item of a list each."""
    rows = []
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        told = name if isinstance(member, property) else name + signature(function).replace("(self, ", "(", 1)
        text = " ".join(inspect.cleandoc(function.__doc__).split())
        rows.append(f"- `{told.replace('(self)', '()')}`: {text}")
    return ["\n".join(rows)] if rows else []


def signature(function: Callable[..., object]) -> str:
    """A hook's signature as its heading has it."""
    return str(inspect.signature(function)).replace("'", "")


def commands() -> str:
    """The command reference: the help of every command, as it prints it."""
    names = cli.context_settings["help_option_names"]
    root = click.Context(cli, info_name="k1ctl", terminal_width=100, max_content_width=100, help_option_names=names)
    parts = [NOTE, "# Commands"]
    for path, text in _walk(cli, root):
        parts += [f"## {path}", f"```text\n{text.rstrip()}\n```"]
    codes = "\n".join(f"| {code} | {text} |" for code, text in EXIT_CODES.items())
    parts += ["## Exit codes", f"| code | meaning |\n| --- | --- |\n{codes}"]
    return "\n\n".join(parts) + "\n"


def _walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    if context.parent is not None:
        yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _walk(child, click.Context(child, info_name=name, parent=context))


def writing_plugins() -> str:
    """The page as it is, each file between ``<!-- from PATH -->`` and ``<!-- end -->`` shown anew."""

    def show(found: re.Match[str]) -> str:
        path = FOLDER.parent / found[2]
        text = path.read_text(encoding="utf-8").rstrip()
        return f"{found[1]}```{LANGUAGES[path.suffix]}\n{text}\n```\n{found[3]}"

    return SHOWN.sub(show, (FOLDER / "writing-plugins.md").read_text(encoding="utf-8"))


PAGES: dict[str, Callable[[], str]] = {
    "hooks.md": hooks,
    "commands.md": commands,
    "writing-plugins.md": writing_plugins,
    **{f"../k1ctl/metrics/data/{name}": partial(MONITORING.__getitem__, name) for name in MONITORING},
    **{f"../completions/{file}": partial(script.render, cli, shell) for shell, file in script.FILES.items()},
}


def main(argv: list[str]) -> int:
    """Write the pages, or with ``--check`` say which differ."""
    drifted = []
    for name in [word for word in argv if word != "--check"] or PAGES:
        text, path = PAGES[name](), FOLDER / name
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        # releases of click differ in where they break lines
        if there.split() != text.split() if name == "commands.md" else there != text:
            drifted.append(name)
            if "--check" not in argv:
                path.write_text(text, encoding="utf-8")
    if "--check" in argv and drifted:
        sys.stderr.write(f"drifted from the code: {', '.join(drifted)}; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
