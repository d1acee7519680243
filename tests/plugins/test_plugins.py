"""`k1ctl plugins`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl.testing import add_distribution
from tests.kit import Project

GOOD = """
import click
from k1ctl.hookspecs import hookimpl

@click.command()
def hello(): "Say hello."

@hookimpl
def k1ctl_command(): return hello
"""
KINDS = "from k1ctl.hookspecs import hookimpl\n@hookimpl\ndef k1ctl_build_kinds(): return []\n"


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str | None]:
    """An environment with third-party distributions: a good one, one without a command, a broken one, two of a name."""
    site = tmp_path / "site"
    add_distribution(site, "k1ctl-hello", {"hello": "p_hello", "kinds": "p_kinds"}, {"p_hello": GOOD, "p_kinds": KINDS})
    add_distribution(site, "k1ctl-sad", {"sad": "p_sad"}, {"p_sad": "raise RuntimeError('one\\ntwo')"}, version="0.3")
    late = add_distribution(tmp_path / "late", "late", {"hello": "late_hello", "queue": "late_queue"})
    return {"PYTHONPATH": f"{site}:{late}"}


def test_every_plugin_is_told_with_its_state(workspace: Project, site: dict[str, str | None]) -> None:
    """Name, module, distribution, version, hooks and status of each; a broken one does not make the command fail."""
    document = workspace.run("plugins", "--json", env=site).assert_ok().json
    rows = {(row["name"], row["distribution"]): row for row in document["plugins"]}
    assert document["ok"] is True
    assert rows["hello", "k1ctl-hello"] == {
        "name": "hello",
        "module": "p_hello",
        "distribution": "k1ctl-hello",
        "version": "1.0",
        "built_in": False,
        "hooks": ["k1ctl_command"],
        "status": "ok",
        "why": "",
        "shadowed_by": None,
    }
    assert (rows["kinds", "k1ctl-hello"]["status"], rows["kinds", "k1ctl-hello"]["hooks"]) == (
        "ok",
        ["k1ctl_build_kinds"],
    )
    sad = rows["sad", "k1ctl-sad"]
    assert (sad["status"], sad["version"], sad["hooks"]) == ("broken", "0.3", [])
    assert "RuntimeError: one two" in sad["why"]
    assert (rows["hello", "late"]["status"], rows["hello", "late"]["shadowed_by"]) == ("shadowed", "k1ctl-hello")
    assert (rows["queue", "late"]["status"], rows["queue", "late"]["shadowed_by"]) == ("shadowed", "k1ctl")
    assert rows["queue", "k1ctl"]["status"] == "ok" and rows["queue", "k1ctl"]["built_in"]


def test_the_table_names_what_is_wrong(workspace: Project, site: dict[str, str | None]) -> None:
    """For people: one line each, with the cause behind the status, and help that goes on."""
    lines = workspace.run("plugins", env=site).assert_ok().stdout.splitlines()
    assert lines[0].split() == ["NAME", "DISTRIBUTION", "VERSION", "HOOKS", "STATUS"]
    (sad,) = [line for line in lines if line.startswith("sad ")]
    assert sad.split()[:4] == ["sad", "k1ctl-sad", "0.3", "-"] and "broken: plugin sad (p_sad)" in sad
    told = workspace.run("--help", env=site).assert_ok().stdout
    assert "\n  hello " in told and "\n  kinds " not in told and "Not loaded:\n  sad " in told
    workspace.run("kinds", env=site).assert_fails(1, "adds no command; it adds k1ctl_build_kinds")


def test_check_fails_for_a_broken_one(workspace: Project, site: dict[str, str | None]) -> None:
    """--check is for CI: exit 1 with the names, in JSON beside the list; 0 when all that may be loaded work."""
    workspace.run("plugins", "--check", env=site).assert_fails(1, "1 of", "are broken: sad")
    document = workspace.run("plugins", "--check", "--json", env=site).assert_fails(1).json
    assert (document["ok"], document["error"]["code"]) == (False, "broken-plugin")
    assert "sad" in [row["name"] for row in document["plugins"]]
    workspace.run("plugins", "--check", env={**site, "K1CTL_PLUGINS": "-sad"}).assert_ok()
    workspace.run("plugins", "--check").assert_ok()


def test_the_rule_is_told_and_unknown_names_in_it(workspace: Project, site: dict[str, str | None]) -> None:
    """What K1CTL_PLUGINS shuts out is blocked and not loaded; a name that nothing has is a word of warning."""
    env = {**site, "K1CTL_PLUGINS": "hello,-sim,helo"}
    outcome = workspace.run("plugins", "--json", env=env).assert_ok()
    assert outcome.stderr == "K1CTL_PLUGINS names helo, which is not installed\n"
    states = {(row["name"], row["distribution"]): row["status"] for row in outcome.json["plugins"]}
    assert outcome.json["rule"] == "hello,-sim,helo"
    assert states["hello", "k1ctl-hello"] == states["queue", "k1ctl"] == "ok"
    assert states["sad", "k1ctl-sad"] == states["kinds", "k1ctl-hello"] == states["sim", "k1ctl"] == "blocked"


def test_a_trace_goes_with_any_command(workspace: Project, site: dict[str, str | None]) -> None:
    """K1CTL_TRACE_PLUGINS tells on stderr what a command loads; stdout stays what it was, and no setting is missed."""
    env = {**site, "K1CTL_TRACE_PLUGINS": "1"}
    outcome = workspace.run("config", "path", env=env).assert_ok()
    assert outcome.stdout == f"{workspace.config_file}\n"
    assert [line.split(" in ")[0] for line in outcome.stderr.splitlines()][:1] == [
        "k1ctl: plugin config (k1ctl_plugins.config) loaded"
    ]
    assert "is no setting" not in workspace.run("config", "show", env=env).assert_ok().stderr


def test_it_needs_no_repository_and_no_metadata_package(tmp_path: Path) -> None:
    """Anywhere, and without importlib.metadata."""
    code = (
        "import sys\nsys.argv = ['k1ctl', 'plugins', '--json']\nfrom k1ctl.__main__ import main\n"
        "main()\nsys.exit('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done
    assert [row["name"] for row in json.loads(done.stdout)["plugins"]] == sorted(
        row["name"] for row in json.loads(done.stdout)["plugins"]
    )
