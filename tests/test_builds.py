from __future__ import annotations

import os
from pathlib import Path

import pytest

from k1ctl import groups
from k1ctl.builds import BuildRequest, SourceState, fitting
from tests.kit import Project, finish, wait_until


def state(project: Project) -> dict[str, object]:
    return SourceState(str(project.root), str(project.root / "firmware")).document()


def test_the_commit_and_whether_the_project_differs_from_it(workspace: Project) -> None:
    """Changes and new files of the project make it dirty; the rest of the tree and .pio do not."""
    workspace.write("firmware/a.c", "1")
    commit = workspace.commit()
    assert state(workspace) == {"commit": commit, "dirty": False}
    workspace.write("elsewhere/b", "1")
    workspace.write("firmware/.pio/x", "1")
    assert state(workspace) == {"commit": commit, "dirty": False}
    new = workspace.write("firmware/b.c", "1")
    assert state(workspace) == {"commit": commit, "dirty": True}
    new.unlink()
    workspace.write("firmware/a.c", "2")
    assert state(workspace) == {"commit": commit, "dirty": True}


def test_two_dirty_states_are_told_apart(workspace: Project) -> None:
    """The fingerprint is of the changed files: equal while nothing changes, another after each change."""

    def look() -> str:
        seen = SourceState(str(workspace.root), str(workspace.root / "firmware"))
        seen.document()
        return seen.fingerprint()

    workspace.write("firmware/a b.c", "1")
    workspace.commit()
    assert look() == ""
    workspace.write("firmware/a b.c", "22")
    first = look()
    assert first and look() == first
    workspace.write("firmware/a b.c", "333")
    second = look()
    workspace.write("firmware/new.c", "1")
    assert len({first, second, look()}) == 3


def test_git_ends_whether_anybody_asks_or_not(workspace: Project) -> None:
    """More output than a pipe holds does not keep git running; nor is it in the session that a stop waits for."""
    folder = workspace.root / "firmware"
    folder.mkdir()
    (folder / "kept").touch()
    workspace.commit()
    for number in range(3000):
        (folder / f"a-new-file-with-a-long-name-{number}").touch()
    seen = SourceState(str(workspace.root), str(folder))
    process = seen._process
    assert process is not None and os.getsid(process.pid) != os.getsid(0)
    wait_until(lambda: not groups.living(process.pid))
    assert seen.document()["dirty"] is True
    assert len(seen._changes) == 3000


def test_a_git_that_hangs_is_given_up(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its limit git is killed and the state unknown, with a note."""
    slow = workspace.write("bin/git", "#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("k1ctl.builds._GIT_SECONDS", 0.2)
    seen = SourceState(str(workspace.root), str(workspace.root))
    process = seen._process
    assert process is not None
    told = seen.document()
    assert (told["commit"], told["dirty"]) == ("", None) and "git status" in told["source_note"]
    assert finish(process) == -9


def test_outside_a_repository_the_state_is_unknown(workspace: Project) -> None:
    """No commit is invented."""
    assert SourceState("/", "/").document() == {"commit": "", "dirty": None}


def test_kept_lines_fit_their_limit() -> None:
    """Lines are kept from the first on, as long as their JSON fits."""
    assert fitting(["abc", "defg", "h"], 12) == ["abc"]
    assert fitting(["é" * 100], 100) == []


def test_a_request_knows_its_project_folder(workspace: Project) -> None:
    """The target's path is taken from the worktree, not from the root or the current folder."""
    from k1ctl.config import load

    workspace.configure('[targets.fw]\npath = "sub/firmware"\n')
    tree = workspace.add_worktree("a")
    facts = workspace.facts(tree)
    assert BuildRequest(facts, load(facts), "fw").project == str(tree / "sub/firmware")
