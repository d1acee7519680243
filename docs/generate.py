"""Write docs/hooks.md, docs/commands.md and completions/ from the code; ``--check`` only says what has drifted."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from k1ctl import hookspecs
from k1ctl.cli import cli
from k1ctl.errors import EXIT_CODES
from k1ctl_plugins.completion import script

FOLDER = Path(__file__).parent
NOTE = "<!-- made by docs/generate.py; change the code, then run `make docs` -->"


def hooks() -> str:
    """The hook reference: a heading with the exact signature for each hook, and its docstring."""
    parts = [
        NOTE,
        "# Hooks",
        "A plugin is a Python module that a distribution names in the entry-point group `k1ctl.plugins`; the entry "
        "point's name is the name of its command. It implements hooks with `k1ctl.hookspecs.hookimpl`, taking any "
        "subset of the arguments. A plugin that cannot be loaded is named in `k1ctl --help`, fails alone and "
        "disturbs nobody.",
        '```toml\n[project.entry-points."k1ctl.plugins"]\nhello = "k1ctl_hello"\n```',
    ]
    for name, function in vars(hookspecs).items():
        if name.startswith("k1ctl_"):
            text = inspect.cleandoc(function.__doc__ or "").replace("Example::\n", "Example:\n")
            signature = str(inspect.signature(function)).replace("'", "")
            parts += [f"## {name}{signature}", text]
    return "\n\n".join(parts) + "\n"


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


def written() -> dict[Path, str]:
    """Everything that is made from the code: {file: text}."""
    found = {FOLDER / "hooks.md": hooks(), FOLDER / "commands.md": commands()}
    shells = {FOLDER.parent / "completions" / file: script.render(cli, shell) for shell, file in script.FILES.items()}
    return found | shells


def main() -> int:
    """Write the files, or with ``--check`` say which differ."""
    drifted = []
    for path, text in written().items():
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        if there.split() != text.split():  # releases of click differ in where they break lines
            drifted.append(str(path.relative_to(FOLDER.parent)))
            if "--check" not in sys.argv:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and drifted:
        sys.stderr.write(f"drifted from the code: {', '.join(drifted)}; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
