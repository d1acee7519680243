"""The worktrees of a repository, as git tells of them."""

from __future__ import annotations

import shutil

import pytest

from k1ctl.worktrees import entries
from k1ctl_plugins.worktree.listing import git_entries
from tests.kit import Project


def test_a_git_without_z_will_do(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.36 `git worktree list` refuses -z; its answer without tells the same."""
    path = workspace.add_worktree("oslo")
    workspace.git("worktree", "lock", "--reason", "on a trip", str(path))
    known = entries(str(workspace.root))
    old = workspace.root.parent / "old" / "git"
    old.parent.mkdir()
    old.write_text(f'#!/bin/sh\ncase " $* " in *" -z "*) exit 129 ;; esac\nexec {shutil.which("git")} "$@"\n')
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    assert entries(str(workspace.root)) == git_entries(workspace.facts()) == known
    assert [entry.locked for entry in known] == [None, "on a trip"]
