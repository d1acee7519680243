"""`k1ctl completion`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k1ctl.testing.distributions import add_distribution
from k1ctl_plugins.completion import script
from tests.completions.shells import FILES, At, offers
from tests.kit import Project, needs


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_packaged_file_is_printed(shell: str, workspace: Project) -> None:
    """What comes out is the file itself; --json tells where it is."""
    text = (FILES / script.FILES[shell]).read_text()

    assert workspace.run("completion", shell).assert_ok().stdout == text
    assert workspace.run("completion", shell, "--json").assert_ok().json == {
        "ok": True,
        "shell": shell,
        "path": str(FILES / script.FILES[shell]),
        "script": text,
    }


def test_a_shell_that_it_does_not_know(workspace: Project) -> None:
    """A usage error that names those it knows; --dry-run alone says that there is nothing to try."""
    workspace.run("completion", "tcsh").assert_fails(2, "bash", "zsh", "fish")
    workspace.run("completion", "bash", "--dry-run").assert_fails(2, "--install")


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/k1ctl.bash"),
        ("zsh", ".local/share/zsh/site-functions/_k1ctl"),
        ("fish", ".config/fish/completions/k1ctl.fish"),
    ],
)
def test_install_links_the_file_where_the_shell_looks(shell: str, place: str, workspace: Project) -> None:
    """A link, so an upgrade is an upgrade of the completion; a second call changes nothing, --dry-run neither."""
    path = Path(os.environ["HOME"]) / place
    planned = workspace.run("completion", shell, "--install", "--dry-run", "--json").assert_ok().json
    assert planned["path"] == str(path) and planned["changed"] and not path.exists()

    done = workspace.run("completion", shell, "--install").assert_ok()

    assert path.is_symlink() and path.read_text() == (FILES / script.FILES[shell]).read_text()
    assert str(path) in done.stderr and done.stdout == ""
    again = workspace.run("completion", shell, "--install", "--json").assert_ok().json
    assert again["changed"] is False and again["target"] == str(FILES / script.FILES[shell])


def test_install_follows_the_variables_of_the_shells(workspace: Project, tmp_path: Path) -> None:
    """BASH_COMPLETION_USER_DIR, XDG_DATA_HOME and XDG_CONFIG_HOME move the place."""
    env = {name: str(tmp_path / name) for name in ("BASH_COMPLETION_USER_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    told = [
        workspace.run("completion", shell, "--install", "--json", env=env).assert_ok().json["path"]
        for shell in ("bash", "zsh", "fish")
    ]

    assert told == [
        f"{env['BASH_COMPLETION_USER_DIR']}/completions/k1ctl.bash",
        f"{env['XDG_DATA_HOME']}/zsh/site-functions/_k1ctl",
        f"{env['XDG_CONFIG_HOME']}/fish/completions/k1ctl.fish",
    ]


def test_a_file_of_somebody_else_stays(workspace: Project) -> None:
    """What was not made here is not replaced; a link that leads nowhere is."""
    path = Path(os.environ["HOME"]) / ".config" / "fish" / "completions" / "k1ctl.fish"
    path.parent.mkdir(parents=True)
    path.write_text("complete -c k1ctl -a mine\n")
    workspace.run("completion", "fish", "--install").assert_fails(1, "is not k1ctl's", str(path))
    assert path.read_text() == "complete -c k1ctl -a mine\n"
    path.unlink()
    path.symlink_to("/nowhere/k1ctl.fish")
    workspace.run("completion", "fish", "--install").assert_ok()
    assert path.read_text() == (FILES / "k1ctl.fish").read_text()


def test_a_packaged_file_that_lies_there_already_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`pip install --user` puts the file where --install would link it: it is not made a link to itself."""
    path = tmp_path / "zsh" / "site-functions" / "_k1ctl"
    path.parent.mkdir(parents=True)
    path.write_bytes((FILES / "_k1ctl").read_bytes())
    monkeypatch.setattr(script, "packaged", lambda shell: str(path))

    done = script.install("zsh", {"XDG_DATA_HOME": str(tmp_path)})

    assert done.changed is False and path.read_bytes() == (FILES / "_k1ctl").read_bytes()


@needs("fish")
def test_fish_finds_what_was_installed(workspace: Project) -> None:
    """Nothing is sourced: fish loads the file at the first TAB."""
    workspace.run("completion", "fish", "--install").assert_ok()
    done = subprocess.run(["fish", "-c", "complete -C 'k1ctl que'"], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("queue\t")


HELLO = """\
import click
from k1ctl.hookspecs import hookimpl

@click.command()
@click.argument("device")
@click.option("--loud", is_flag=True)
def hello():
    "Greet a device."

@hookimpl
def k1ctl_command():
    return hello
"""


@pytest.fixture
def third_party(tmp_path: Path) -> dict[str, str | None]:
    """An environment with a plugin of somebody else, and one that does not load."""
    site = tmp_path / "site"
    add_distribution(site, "k1ctl-hello", {"hello": "k1ctl_hello"}, {"k1ctl_hello": HELLO})
    add_distribution(site, "k1ctl-bad", {"bad": "k1ctl_bad"}, {"k1ctl_bad": "import no_such_module_at_all\n"})
    return {"PYTHONPATH": str(site)}


def test_commands_of_other_plugins(
    workspace: Project, third_party: dict[str, str | None], environment: dict[str, str], tmp_path: Path
) -> None:
    """--plugins writes a file that completes them as well, their devices included; without it they are not in it."""
    workspace.configure("[devices.k1]\n")
    plain = workspace.run("completion", "bash", env=third_party).assert_ok().stdout
    text = workspace.run("completion", "bash", "--plugins", env=third_party).assert_ok().stdout
    assert " hello'" not in plain and " bad" not in text
    (tmp_path / "k1ctl.bash").write_text(text)
    lines = ["k1ctl hel", "k1ctl hello --l", "k1ctl hello k", "k1ctl que"]

    found = offers("bash", [At(workspace.root, line) for line in lines], environment, tmp_path, tmp_path / "k1ctl.bash")

    assert found == [{"hello"}, {"--loud"}, {"k1"}, {"queue"}]


def test_install_with_plugins_writes_a_copy_that_is_kept_up_to_date(
    workspace: Project, third_party: dict[str, str | None]
) -> None:
    """--install --plugins puts the text itself, and replaces the link of an earlier call, not what it leads to."""
    packaged = (FILES / "k1ctl.bash").read_bytes()
    path = Path(workspace.run("completion", "bash", "--install", "--json").assert_ok().json["path"])
    workspace.run("completion", "bash", "--install", "--plugins", env=third_party).assert_ok()
    assert "hello" in path.read_text() and not path.is_symlink()
    again = workspace.run("completion", "bash", "--install", "--plugins", "--json", env=third_party).assert_ok().json
    assert again["changed"] is False
    assert (FILES / "k1ctl.bash").read_bytes() == packaged
