"""Removing a worktree: what stands against it, what is kept of it; what cannot be told is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.archive.checks import PASSING, Finding, examine, made_by_conductor
from k1ctl.archive.processes import Processes
from k1ctl.config import load
from k1ctl.worktrees import Entry, entries, own_git_dir
from tests.kit import Project, finish, wait_until


@pytest.fixture
def tree(workspace: Project) -> Path:
    """A worktree with everything committed, and pushed, as git knows of a remote."""
    made = workspace.add_worktree("oslo")
    workspace.write(".gitignore", "logs/\nbuild/\n*.pem\n", within=made)
    workspace.write("code", "1\n2\n3\n", within=made)
    workspace.commit("code", cwd=made)
    workspace.git("update-ref", "refs/remotes/origin/oslo", "oslo")
    return made


def entry_of(project: Project, tree: Path) -> Entry:
    return next(e for e in entries(str(project.root)) if os.path.realpath(e.path) == os.path.realpath(tree))


def found(project: Project, tree: Path, *, cwd: Path | None = None) -> dict[str, Finding]:
    """{code: finding} of a worktree."""
    facts = project.facts(cwd)
    return {f.code: f for f in examine(facts, load(facts), entry_of(project, tree), Processes())}


def refused(project: Project, tree: Path, **kwargs: Path) -> list[str]:
    return [code for code, finding in found(project, tree, **kwargs).items() if finding.level == "refuse"]


def test_nothing_stands_against_a_clean_worktree(workspace: Project, tree: Path) -> None:
    """Committed, pushed, used by nobody: no finding at all; what can be made again is none either."""
    workspace.write("build/firmware.bin", "x", within=tree)
    assert found(workspace, tree) == {}


def _change(project: Project, tree: Path) -> None:
    project.write("code", "other\n", within=tree)


def _untracked(project: Project, tree: Path) -> None:
    project.git("config", "status.showUntrackedFiles", "no")
    project.write("a\nname", "x", within=tree)


def _ignored(project: Project, tree: Path) -> None:
    project.write("logs/run", "x", within=tree)
    project.write("server.pem", "x", within=tree)


def _hidden(project: Project, tree: Path) -> None:
    project.git("update-index", "--assume-unchanged", "code", cwd=tree)
    _change(project, tree)


def _skipped(project: Project, tree: Path) -> None:
    project.git("update-index", "--skip-worktree", "code", cwd=tree)
    _change(project, tree)


def _unpushed(project: Project, tree: Path) -> None:
    project.git("branch", "--set-upstream-to", "oslo", "main")
    project.commit("one", cwd=tree)
    project.commit("two", cwd=tree)


def _detached(project: Project, tree: Path) -> None:
    project.git("checkout", "-q", "--detach", cwd=tree)
    project.commit("loose", cwd=tree)


def _conflict(project: Project, tree: Path) -> None:
    project.write("code", "main's\n")
    project.commit("main's")
    _change(project, tree)
    project.commit("ours", cwd=tree)
    subprocess.run(["git", "merge", "-q", "main"], cwd=tree, capture_output=True)


def _private(project: Project, tree: Path) -> None:
    project.git("update-ref", "refs/worktree/mark", "HEAD", cwd=tree)


def _stash(project: Project, tree: Path) -> None:
    _change(project, tree)
    project.git("stash", "-q", cwd=tree)


KEPT: dict[str, tuple[Callable[[Project, Path], None], str, str]] = {
    "a change": (_change, "changed", "1 changed file: code"),
    "an untracked file that git is told to hide": (_untracked, "untracked", "1 untracked file: a\nname"),
    "ignored files": (_ignored, "ignored", "2 git-ignored files"),
    "a change marked assume-unchanged": (_hidden, "hidden", "code"),
    "a change marked skip-worktree": (_skipped, "hidden", "code"),
    "commits, though upstream has them": (_unpushed, "unpushed", "2 commits on no remote"),
    "commits on a detached HEAD": (_detached, "detached", "HEAD is detached"),
    "a conflict": (_conflict, "conflicted", "1 file in conflict: code"),
    "a merge under way": (_conflict, "operation", "a merge is under way"),
    "private refs": (_private, "private-refs", "refs/worktree/mark"),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_only_here_is_told_and_no_hindrance(case: str, workspace: Project, tree: Path) -> None:
    """Whatever git's display settings and flags hide; the archive will hold it."""
    work, code, told = KEPT[case]
    work(workspace, tree)
    there = found(workspace, tree)
    assert there[code].level == "keep" and told in there[code].message
    assert refused(workspace, tree) == []


def test_a_stash_is_told(workspace: Project, tree: Path) -> None:
    """It belongs to the repository and survives; that it was made here is worth a note."""
    _stash(workspace, tree)
    assert found(workspace, tree)["stash"].level == "note"


def test_a_branch_without_a_commit(workspace: Project, tree: Path) -> None:
    """An unborn branch has no history to look at; its files are told as ever."""
    workspace.git("checkout", "-q", "--orphan", "new", cwd=tree)
    assert {"unborn", "changed"} <= set(found(workspace, tree)) and refused(workspace, tree) == []


def test_without_a_remote_other_branches_count(workspace: Project, tree: Path) -> None:
    """Commits that no other branch has, instead of the whole history."""
    workspace.git("update-ref", "-d", "refs/remotes/origin/oslo")
    assert found(workspace, tree)["unpushed"].message == "1 commit on no other branch"


def _lock(project: Project, tree: Path) -> None:
    project.git("worktree", "lock", "--reason", "ada needs it", str(tree))


def _index_lock(project: Project, tree: Path) -> None:
    (Path(own_git_dir(str(tree))) / "index.lock").touch()


def _nested(project: Project, tree: Path) -> None:
    project.git("worktree", "add", "-q", str(tree / "build" / "inner"), "-b", "inner")


def _gone(project: Project, tree: Path) -> None:
    tree.rename(tree.parent / "elsewhere")


def _behind_a_link(project: Project, tree: Path) -> None:
    _gone(project, tree)
    tree.symlink_to(tree.parent / "elsewhere")


def _a_clone_in_its_place(project: Project, tree: Path) -> None:
    _gone(project, tree)
    project.git("clone", "-q", str(project.root), str(tree))


def _another_repository(project: Project, tree: Path) -> None:
    other = Project(project.root.parent / "other")
    (tree / ".git").write_bytes((other.add_worktree("oslo") / ".git").read_bytes())


def _moved_by_hand(project: Project, tree: Path) -> None:
    other = project.add_worktree("rome")
    (tree / ".git").write_bytes((other / ".git").read_bytes())


def _broken_submodule(project: Project, tree: Path) -> None:
    project.write("broken/.git", "gitdir: /nowhere\n", within=tree)
    project.git("update-index", "--add", "--cacheinfo", f"160000,{project.git('rev-parse', 'HEAD')},broken", cwd=tree)


def _broken_index(project: Project, tree: Path) -> None:
    (Path(own_git_dir(str(tree))) / "index").write_bytes(b"DIRC of nothing")


REFUSED: dict[str, tuple[Callable[[Project, Path], None], str, str]] = {
    "locked": (_lock, "worktree-locked", "ada needs it"),
    "git at work": (_index_lock, "index-lock", "index.lock"),
    "a worktree below": (_nested, "nested-worktree", "inner"),
    "gone": (_gone, "folder-gone", "only git's record"),
    "a link": (_behind_a_link, "not-a-folder", "elsewhere"),
    "a clone in its place": (_a_clone_in_its_place, "not-linked", ".git"),
    "another repository's": (_another_repository, "not-linked", "no worktree of"),
    "another worktree's link": (_moved_by_hand, "not-linked", "leads to"),
    "a submodule that is broken": (_broken_submodule, "status-unreadable", "git status"),
    "an index that is broken": (_broken_index, "status-unreadable", "index"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_used_or_not_surely_whole_is_refused(case: str, workspace: Project, tree: Path) -> None:
    """Each with its own code, and words that say what was found; no removal passes it."""
    work, code, told = REFUSED[case]
    entry = entry_of(workspace, tree)
    work(workspace, tree)
    facts = workspace.facts()
    entry = next((e for e in entries(str(workspace.root)) if e.path == str(tree)), entry)
    there = {f.code: f for f in examine(facts, load(facts), entry, Processes())}
    assert there[code].level == "refuse" and told in there[code].message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_git_cannot_read_is_refused(workspace: Project, tree: Path) -> None:
    """git only warns, and would pass over what is in it."""
    workspace.write("secret/file", "x", within=tree)
    (tree / "secret").chmod(0)
    try:
        assert refused(workspace, tree) == ["status-unreadable"]
    finally:
        (tree / "secret").chmod(0o700)


def test_a_warning_of_git_is_enough(workspace: Project, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it could not open a folder ends with exit code 0; it counts as not knowing."""
    from k1ctl.archive import checks
    from k1ctl.git import Answer

    answer = Answer(0, "", "warning: could not open directory 'secret/': Permission denied\n")
    monkeypatch.setattr(checks, "call", lambda *args, **kwargs: answer)
    assert refused(workspace, tree) == ["status-unreadable"]


def test_the_main_checkout_and_the_caller(workspace: Project, tree: Path) -> None:
    """The main checkout never goes, nor the worktree that the call came from."""
    assert refused(workspace, workspace.root) == ["main-checkout"]
    assert refused(workspace, tree, cwd=tree) == ["current-worktree"]
    assert refused(workspace, tree, cwd=workspace.root) == []


def test_the_caller_in_a_repository_inside(workspace: Project, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says by K1CTL_ROOT whose worktree is meant still stands in it."""
    inner = Project(tree / "build" / "inner")
    monkeypatch.chdir(inner.root)
    entry, facts = entry_of(workspace, tree), workspace.facts()
    (finding,) = examine(facts, load(facts), entry, Processes())
    assert finding.code == "process" and f"(pid {os.getpid()}) is in" in finding.message


def test_a_process_in_it(workspace: Project, tree: Path) -> None:
    """Also one that only stands there: a shell somebody left open."""
    argv = [sys.executable, "-c", "import os, sys\nos.write(1, b'x')\nsys.stdin.read()"]
    with subprocess.Popen(argv, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdout.read(1)
        message = found(workspace, tree)["process"].message
        process.stdin.close()
        assert f"(pid {process.pid}) is in" in message and finish(process) == 0


def test_a_place_in_line(workspace: Project, tree: Path) -> None:
    """What k1ctl runs in it, from wherever."""
    waiting = workspace.popen(
        "queue", "run", "desk", "--", "cat", cwd=tree, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: "in-use" in refused(workspace, tree))
    finally:
        waiting.communicate()


def test_whose_worktree_it_is(workspace: Project, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conductor's by the folder it lies in, or because Conductor says so itself."""
    config = load(workspace.facts())
    assert not made_by_conductor(config, str(tree))
    assert made_by_conductor(config, os.path.expanduser("~/conductor/workspaces/repo/oslo"))
    assert made_by_conductor(config, "/x/repo/.conductor/oslo")
    monkeypatch.setenv("CONDUCTOR_WORKSPACE_PATH", str(tree))
    assert made_by_conductor(config, str(tree)) and "conductor" in found(workspace, tree)


def test_what_passes_by_itself_is_a_refusal_that_exists() -> None:
    """Nothing in the list of harmless refusals is misspelt."""
    from k1ctl.archive import checks

    sources = [path.read_text() for path in Path(checks.__file__).parent.glob("*.py")]
    assert [code for code in PASSING if sum(text.count(f'"{code}"') for text in sources) < 2] == []
