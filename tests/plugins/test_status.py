"""`k1ctl status`: what it prints, where, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from k1ctl.cli import Context
from k1ctl.errors import ConfigError
from k1ctl.overview import PARTS
from k1ctl.overview.watch import Looks
from k1ctl.plugins import Plugins
from k1ctl_plugins.status import status
from tests.kit import Project, finish


def shown(root: Path, *words: str) -> Result:
    return CliRunner().invoke(status, words, obj=Context(Plugins(), str(root)), catch_exceptions=False)


def test_an_empty_repository_says_what_comes_next(workspace: Project) -> None:
    """Nothing set up is one short screen that names the next command; then the next one."""
    text = shown(workspace.root).stdout
    assert "all well" in text and "k1ctl init" in text and len(text.splitlines()) < 12
    workspace.configure('[targets.fw]\n[devices.k1]\nhost = "127.0.0.1"\n')
    assert "next       k1ctl build" in shown(workspace.root).stdout
    assert json.loads(shown(workspace.root, "--json").stdout)["next"] == "k1ctl build"


def test_json_has_every_part(workspace: Project) -> None:
    """One document with all parts, also when things are bad; the exit code stays 0."""
    workspace.configure('[targets.fw]\n[devices.k1]\nhost = "127.0.0.1"\n')
    (workspace.ops / "state.db").write_bytes(b"")
    done = shown(workspace.root, "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and set(PARTS) <= set(document) and document["errors"]["budget"]
    assert document["problems"][0]["level"] == "error"
    text = shown(workspace.root)
    assert text.exit_code == 0 and text.stdout.startswith("1 error")


def test_outside_a_repository(tmp_path: Path) -> None:
    """It is an error that says what to do."""
    done = subprocess.run([sys.executable, "-m", "k1ctl", "status"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 78 and "not inside a git repository" in done.stderr and "--root" in done.stderr


def test_it_is_drawn_again_until_it_is_told_to_stop(workspace: Project) -> None:
    """--watch prints a document a line as it looks, and ^C ends it with exit code 0."""
    argv = [sys.executable, "-m", "k1ctl", "status", "--watch", "200ms", "--json"]
    process = subprocess.Popen(argv, cwd=workspace.root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    process.send_signal(signal.SIGINT)
    assert finish(process) == 0 and first["at"] < second["at"]
    process.stdout.close()


def test_a_look_in_the_middle_of_an_edit(workspace: Project) -> None:
    """While the configuration cannot be read the last good one holds, and the screen says so."""
    workspace.configure("[targets.fw]\n")
    looks = Looks(workspace.facts())
    assert looks().problems == []
    workspace.configure("[targets.fw\n")
    found = looks()
    assert "k1ctl.toml:1" in found.problems[0]["text"] and [r["resource"] for r in found.slots.rows] == ["build:fw"]
    with pytest.raises(ConfigError):
        Looks(workspace.facts())()


def test_a_pause_that_is_too_short_is_refused(workspace: Project) -> None:
    """Nobody looks hundreds of times a second by mistake."""
    workspace.run("status", "--watch", "10ms").assert_fails(2, "0.2 s apart")
