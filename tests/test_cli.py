"""The way in: help, exit codes, and a stdout that nobody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from k1ctl.cli import OTHERS, PURPOSES, PluginGroup, cli, purpose
from k1ctl.errors import EXIT_CODES
from k1ctl.plugins import Plugins
from tests.kit import Project

CALLS = [["-m", "k1ctl"], [os.path.join(os.path.dirname(sys.executable), "k1ctl")]]


def test_help_names_commands_and_exit_codes(workspace: Project) -> None:
    """--help lists every command with a line, and the table of exit codes."""
    told = workspace.run("--help").assert_ok().stdout
    for name in Plugins().targets:
        assert f"\n  {name} " in told
    for code in EXIT_CODES:
        assert f"\n  {code} " in told


MODULE = """
import click
from k1ctl.cli import purpose
from k1ctl.hookspecs import hookimpl

{decorator}
@click.command("{name}", help="Does {name}.")
def command(): pass

@hookimpl
def k1ctl_command(): return command
"""


def test_help_groups_commands_as_they_say_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headings in their order, unknown ones and none under the last; examples at the end; broken ones are named."""
    monkeypatch.syspath_prepend(str(tmp_path))
    decorators = {
        "p_tries": '@purpose("Try", example="k1ctl tries --hard")',
        "p_shares": '@purpose("Share")',
        "p_odd": '@purpose("Odd things", example="k1ctl odd")',
        "p_plain": "",
        "p_wrong": "",
    }
    for module, decorator in decorators.items():
        source = MODULE.format(name=module[2:], decorator=decorator)
        (tmp_path / f"{module}.py").write_text(source if module != "p_wrong" else "import no_such_module_at_all")
    group = PluginGroup("k1ctl", plugins=Plugins({module[2:]: module for module in decorators}))
    text = group.get_help(click.Context(group, info_name="k1ctl", terminal_width=100))
    told = [line for line in text.partition("exit.\n")[2].partition("Exit codes:")[0].splitlines() if line]
    assert told[:-3] == [
        "Share:",
        "  shares  Does shares.",
        "Try:",
        "  tries   Does tries.",
        f"{OTHERS}:",
        "  odd     Does odd.",
        "  plain   Does plain.",
        "Not loaded:",
        "  wrong   plugin wrong (p_wrong) did not load: ModuleNotFoundError: No module named",
        "          'no_such_module_at_all'",
    ]
    assert told[-3:] == ["Examples:", "  k1ctl tries --hard", "  k1ctl odd"]
    assert PURPOSES[0] == "Share"


def test_every_built_in_command_has_a_heading() -> None:
    """Others is for plugins that name none: nothing of ours stands there."""
    assert f"{OTHERS}:" not in CliRunner().invoke(cli, ["--help"]).output


def test_purpose_wants_a_command() -> None:
    """Below @click.command it would mark a function that nobody lists."""
    with pytest.raises(TypeError, match="above @click"):
        purpose("Try")(print)  # type: ignore[type-var]


def test_a_plugin_that_is_shut_out_says_so(workspace: Project) -> None:
    """K1CTL_PLUGINS takes a command away from the help, and calling it tells why it is not there."""
    env = {"K1CTL_PLUGINS": "-sim"}
    assert "\n  sim " not in workspace.run("--help", env=env).assert_ok().stdout
    workspace.run("sim", "status", env=env).assert_fails(2, "sim is left out by K1CTL_PLUGINS=-sim")


def commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += commands(child, f"{path} {name}")
    return found


ALL = [pair for name in sorted(Plugins().targets) for pair in commands(Plugins().command(name), name)]


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_has_help_with_an_example(path: str, command: click.Command) -> None:
    """Each command and subcommand says what it does and shows a call of itself."""
    text = command.help or ""
    assert text.strip()
    assert "k1ctl" in text


@pytest.mark.parametrize("call", CALLS, ids=["module", "script"])
@pytest.mark.parametrize("args", [["--help"], ["--version"], ["config", "show"], ["config", "show", "--json"]])
def test_a_reader_that_went_away_is_no_failure(call: list[str], args: list[str], workspace: Project) -> None:
    """A closed pipe on stdout: exit 0 and not a word."""
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, *call, *args] if call[0] == "-m" else [*call, *args]
    workspace.run("init")
    done = subprocess.run(argv, cwd=workspace.root, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_reader_that_went_away_changes_no_verdict(form: list[str], unbuffered: str, workspace: Project) -> None:
    """`k1ctl sim status | true` tells by its exit code what it would have told with a reader."""
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-m", "k1ctl", "sim", "status", *form]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(argv, cwd=workspace.root, env=env, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("args", ["--help", "--version", "config show"])
def test_a_full_disk_behind_stdout_is_told(args: str, workspace: Project) -> None:
    """What cannot be printed is a failure with an exit code of ours, not Python's 120, and no traceback."""
    with open("/dev/full", "w") as full:
        argv = [sys.executable, "-m", "k1ctl", *args.split()]
        done = subprocess.run(argv, cwd=workspace.root, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 75
    assert "Traceback" not in done.stderr


def test_a_closed_stdout_is_no_bug(workspace: Project) -> None:
    """Started with stdout closed (`>&-`), a command still ends with its own exit code."""
    script = f'"{sys.executable}" -m k1ctl config path >&-'
    assert subprocess.run(["sh", "-c", script], cwd=workspace.root).returncode == 0


def test_outside_a_repository_help_works_and_commands_say_why(
    workspace: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No repository: exit 78 with a hint, also as JSON; --help needs none."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    workspace.run("--help", cwd=nowhere).assert_ok()
    workspace.run("config", "show", cwd=nowhere).assert_fails(78, "not inside a git repository", "--root")
    error = workspace.run("config", "show", "--json", cwd=nowhere).assert_fails(78).json["error"]
    assert error["code"] == "bad-configuration"
    workspace.run("--root", workspace.root, "config", "path", cwd=nowhere).assert_ok()


def test_a_wrong_option_is_usage(workspace: Project) -> None:
    """Exit 2, one line and where to look."""
    outcome = workspace.run("config", "show", "--nonsense").assert_fails(2, "--nonsense", "config show --help")
    assert len(outcome.stderr.splitlines()) == 2


def test_the_group_is_importable_without_a_plugin() -> None:
    """Importing the command line loads no command."""
    assert cli.name == "cli"
