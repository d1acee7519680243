"""The generated references say what the code says."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pluggy
import pytest

from k1ctl import hookspecs
from k1ctl.cli import cli
from k1ctl.plugins import Plugins

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", ["hooks.md", "commands.md", "writing-plugins.md"])
def test_references_have_not_drifted(page: str) -> None:
    """What docs/generate.py writes from the live code is what stands in docs/."""
    done = subprocess.run([sys.executable, DOCS / "generate.py", "--check", page], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_hook_has_a_heading_with_its_signature() -> None:
    """The headings of docs/hooks.md are the names and signatures of the hooks of the live plugin manager."""
    manager = pluggy.PluginManager("k1ctl")
    manager.add_hookspecs(hookspecs)
    headings = [line[3:] for line in (DOCS / "hooks.md").read_text().splitlines() if line.startswith("## ")]
    live = [(name, caller.spec) for name, caller in vars(manager.hook).items()]

    assert {h.partition("(")[0]: h for h in headings} == {
        name: name + str(inspect.signature(spec.function)).replace("'", "") for name, spec in live
    }
    assert all(spec.function.__doc__ and "Example::" in spec.function.__doc__ for _, spec in live)


def test_every_hook_is_used_by_a_plugin_that_ships() -> None:
    """A hook that nothing built in implements is a guess."""
    plugins = Plugins()
    used = {hook for name in plugins.targets for hook in plugins.hooks(name)}

    assert used == {name for name in vars(hookspecs) if name.startswith("k1ctl_")}


def leaves(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    if not isinstance(command, click.Group):
        yield command, context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, click.Context(child, info_name=name, parent=context))


def test_every_command_has_an_example_and_an_answer_for_programs() -> None:
    """What the README says of every command: an example in its help, and --json, --jsonl or --result; `top` is for
    eyes, and `status --json` its answer for programs."""
    for command, context in leaves(cli, click.Context(cli, info_name="k1ctl")):
        options = {name for parameter in command.params for name in parameter.opts}
        assert "Example" in command.get_help(context), context.command_path
        assert options & {"--json", "--jsonl", "--result"} or command.name == "top", context.command_path


def test_no_summary_is_cut() -> None:
    """The list of commands in `k1ctl --help` says each in a whole sentence, also 80 columns wide."""
    shown = cli.get_help(click.Context(cli, info_name="k1ctl", terminal_width=80)).partition("Exit codes:")[0]
    assert all(f"\n  {name} " in shown for name in Plugins().targets)
    assert "..." not in shown.partition("Options:")[2].partition("Examples:")[0]
    lines = (DOCS / "commands.md").read_text().splitlines()
    assert [line for line in lines if line.endswith("...") and "Usage: " not in line] == []


def test_the_reference_shows_the_options_as_they_are() -> None:
    """-h is an option of every command, and the reference says so."""
    text = (DOCS / "commands.md").read_text()
    assert text.count("-h, --help") == text.count("Usage: ")


def test_readme_names_every_command() -> None:
    """Every command that ships stands in the README."""
    from k1ctl.discovery import entry_points

    readme = (DOCS.parent / "README.md").read_text()

    assert [name for name in entry_points() if f"k1ctl {name}" not in readme] == []
