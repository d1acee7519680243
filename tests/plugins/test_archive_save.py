"""`k1ctl archive save` and `k1ctl archive restore`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from k1ctl.cli import cli
from k1ctl.errors import K1ctlError
from tests.kit import Project


@pytest.fixture
def oslo(workspace: Project) -> Path:
    workspace.write(".gitignore", "*.log\nnode_modules/\n.env\n")
    workspace.commit("begin")
    path = workspace.add_worktree("oslo")
    for name in ("README", "new.txt", "run.log", ".env", "node_modules/x.js"):
        workspace.write(name, f"{name} of oslo\n", within=path)
    return path


def test_a_worktree_is_saved_and_brought_back(workspace: Project, oslo: Path) -> None:
    """Saved by name or from within, once for the same content; restored by name, with what to know said on stderr."""
    first = workspace.run("archive", "save", "oslo", "--reason", "before the trip", "--json").assert_ok()
    document = first.json
    assert document["reason"] == "before the trip" and not document["reused"] and document["state"] == "saved"
    assert "1 changed, 1 untracked, 2 ignored and kept, 1 secret" in first.stderr and "node_modules" in first.stderr
    again = workspace.run("archive", "save", cwd=oslo).assert_ok()
    assert again.stdout.strip() == document["id"] and "unchanged" in again.stderr
    shutil.rmtree(oslo)
    workspace.git("worktree", "prune")
    back = workspace.run("archive", "restore", "oslo", "--json").assert_ok()
    assert (back.json["path"], back.json["branch"], back.json["detached"]) == (str(oslo), "oslo", False)
    assert "k1ctl worktree setup" in back.stderr
    assert (oslo / ".env").read_text() == ".env of oslo\n"


def test_a_dry_run_changes_nothing(workspace: Project, oslo: Path) -> None:
    """It tells what would be saved, or made, and writes no file."""
    told = workspace.run("archive", "save", "oslo", "--dry-run", "--json").assert_ok()
    assert told.json["dry_run"] and told.json["counts"]["secrets"] == 1 and told.changed == ()
    workspace.run("archive", "save", "oslo").assert_ok()
    told = workspace.run("archive", "restore", "oslo", "--to", oslo.parent / "two", "--dry-run", "--json").assert_ok()
    assert told.json["path"] == str(oslo.parent / "two") and told.json["branch"] is None and told.changed == ()
    assert "is checked out in" in told.stderr


def test_bad_calls_name_the_cause(workspace: Project, oslo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line and a hint, and nothing is made."""
    workspace.run("archive", "save", "oslo").assert_ok()
    monkeypatch.chdir(workspace.root)
    cases: list[tuple[list[str], int, str]] = [
        (["save", "bergen"], 2, "usage"),
        (["save", "."], 1, "main-checkout"),
        (["restore", "bergen"], 1, "no-such-archive"),
        (["restore", "oslo"], 1, "path-exists"),
        (["restore", "oslo", "--to", "two", "--branch", "main"], 1, "branch-exists"),
        (["restore", "oslo", "--to", "two", "--branch", "a..b"], 2, "usage"),
    ]
    for args, exit_code, code in cases:
        failed = CliRunner().invoke(cli, ["archive", *args]).exception
        assert isinstance(failed, K1ctlError) and failed.hint and (failed.exit_code, failed.code) == (exit_code, code)
    assert not (workspace.root / "two").exists()
