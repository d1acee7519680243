"""When somebody last worked in a worktree: each sign counts, and what is no sign of work does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl import worktrees
from k1ctl.archive.activity import Activity, last_activity
from k1ctl.files import write_json
from k1ctl.worktrees import entries, own_git_dir
from tests.archive.aging import DAY, age
from tests.kit import Project, wait_until


@pytest.fixture
def tree(workspace: Project) -> Path:
    """A worktree in which nobody has worked for 30 days, with one file of each kind."""
    made = workspace.add_worktree("oslo")
    workspace.write(".gitignore", "logs/\n.context/\nnode_modules/\n.env\n*.pyc\n", within=made)
    workspace.write("src/main.c", "int main;\n", within=made)
    workspace.commit("sources", cwd=made)
    for name in ("logs/run.log", ".context/deep/notes.md", "node_modules/a/index.js", ".env", "src/new.c", "src/a.pyc"):
        workspace.write(name, "x", within=made)
    worktrees.note_origin(str(made), creator="ada", base="main", branch="oslo")
    age(made)
    return made


def seen(project: Project, tree: Path) -> Activity:
    """The activity of a worktree."""
    (entry,) = (e for e in entries(str(project.root)) if e.path == str(tree))
    return last_activity(project.facts(), entry)


def recent(activity: Activity) -> bool:
    return activity.idle() < DAY


def _commit(project: Project, tree: Path) -> None:
    project.git("commit", "-q", "--allow-empty", "-m", "an idea", cwd=tree)


def _stage(project: Project, tree: Path) -> None:
    project.git("add", "src/new.c", cwd=tree)
    os.utime(tree / "src" / "new.c", (1, 1))


def _move_head(project: Project, tree: Path) -> None:
    project.git("checkout", "-q", "--detach", cwd=tree)
    os.utime(Path(own_git_dir(str(tree))) / "index", (1, 1))


def _write(name: str) -> Callable[[Project, Path], None]:
    def work(project: Project, tree: Path) -> None:
        project.write(name, "later", within=tree)

    return work


def _delete(project: Project, tree: Path) -> None:
    (tree / "src" / "main.c").unlink()


def _run(project: Project, tree: Path) -> None:
    record = {"run": "20260101-000000.000-aaaa", "workspace_path": str(tree), "label": "build fw", "state": "ended"}
    write_json(str(project.ops / "runs" / record["run"] / "run.json"), record)


def _nested(project: Project, tree: Path) -> None:
    project.git("init", "-q", "logs/inner", cwd=tree)
    project.git("commit", "-q", "--allow-empty", "-m", "within", cwd=tree / "logs" / "inner")


SIGNS = {
    "a commit": (_commit, "a commit"),
    "a staged file": (_stage, "the index"),
    "HEAD": (_move_head, "HEAD moved"),
    "a changed file": (_write("src/main.c"), "src/main.c was changed"),
    "an untracked file": (_write("src/new.c"), "src/new.c was changed"),
    "an ignored file": (_write(".env"), ".env was changed"),
    "a file in an ignored folder": (_write(".context/deep/notes.md"), ".context/deep/notes.md was changed"),
    "a deleted file": (_delete, "src/main.c was deleted"),
    "a run": (_run, "k1ctl ran: build fw"),
    "a repository in an ignored folder": (_nested, ""),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_each_sign_of_work_counts(sign: str, workspace: Project, tree: Path) -> None:
    """Alone, in a worktree that shows nothing else, it makes the worktree active, and is named."""
    assert not recent(seen(workspace, tree))
    work, said = SIGNS[sign]
    work(workspace, tree)
    activity = seen(workspace, tree)
    assert recent(activity) and said in activity.what


def test_what_is_no_work_does_not_count(workspace: Project, tree: Path) -> None:
    """The folder's own time, looking with git, a fetch, and what can be made again."""
    before = seen(workspace, tree)
    os.utime(tree)
    os.utime(tree / "src")
    workspace.git("--no-optional-locks", "status", cwd=tree)
    for name in ("FETCH_HEAD", "gitdir"):
        (Path(own_git_dir(str(tree))) / name).touch()
    for name in ("node_modules/a/index.js", "node_modules/b.js"):
        workspace.write(name, "newer", within=tree)
    assert seen(workspace, tree) == before


def test_an_operation_under_way_counts(workspace: Project, tree: Path) -> None:
    """A rebase that stopped is as recent as its own files, whatever the reflog says."""
    own = Path(own_git_dir(str(tree)))
    (own / "rebase-merge").mkdir()
    (own / "rebase-merge" / "git-rebase-todo").write_text("pick\n")
    assert "a rebase" in seen(workspace, tree).what
    age(tree)
    assert not recent(seen(workspace, tree))


def test_a_time_in_the_future_keeps_nothing_active_for_ever(
    workspace: Project, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file from an archive with a wrong date, a commit with one: they count from when they were written."""
    os.utime(tree / ".env", (time.time() + 900 * DAY,) * 2)
    found = seen(workspace, tree)
    assert found.what == ".env was changed" and found.at <= time.time()
    age(tree)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2099-01-01T00:00:00Z")
    workspace.git("commit", "-q", "--allow-empty", "-m", "an idea", cwd=tree)
    assert seen(workspace, tree).at <= time.time()


def test_its_creation_counts(workspace: Project, tree: Path) -> None:
    """Made a moment ago from an old commit, it is not idle."""
    worktrees.note_origin(str(tree), creator="ada", base="main", branch="oslo")
    assert seen(workspace, tree).what == "made by k1ctl"


def test_who_waits_in_line_works(workspace: Project, tree: Path) -> None:
    """A place in the queue makes the worktree active now, whatever its files say."""
    held = workspace.popen("queue", "run", "desk", "--", "cat", cwd=tree, stdin=-1)
    try:
        wait_until(lambda: "(run " in seen(workspace, tree).what)
        assert recent(seen(workspace, tree))
        assert seen(workspace, tree).idle() < 60
    finally:
        held.communicate()


def test_without_git_the_other_signs_are_left(workspace: Project, tree: Path) -> None:
    """A worktree whose link is broken, or whose folder is gone, has an activity all the same."""
    (entry,) = (e for e in entries(str(workspace.root)) if e.path == str(tree))
    (tree / ".git").write_text("gitdir: /nowhere\n")
    assert not recent(last_activity(workspace.facts(), entry))
    _run(workspace, tree)
    assert recent(last_activity(workspace.facts(), entry))
