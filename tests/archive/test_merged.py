"""Whether a branch is merged: each step proves its case, what is not merged is not taken for it, deletion is exact."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.archive import merged
from k1ctl.archive.merged import default_branch, delete, judge, proof
from k1ctl.worktrees import RepositoryLock
from tests.kit import Project

LINES = "".join(f"line {n}\n" for n in range(40))


_made: list[Path] = []  # one: what `project` gives, made once


@pytest.fixture
def project(workspace: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """``main`` with a file of some lines; branch ``topic``, checked out nowhere, changes it in two commits."""
    if _made:
        shutil.rmtree(workspace.root)
        shutil.copytree(_made[0], workspace.root)
        workspace.git("update-index", "-q", "--refresh")
        return workspace
    workspace.write("code", LINES)
    workspace.commit("code")
    workspace.git("checkout", "-q", "-b", "topic")
    for number in (3, 30):
        edit(workspace, number, f"topic {number}")
        workspace.commit(f"topic {number}")
    workspace.git("checkout", "-q", "main")
    _made.append(tmp_path_factory.mktemp("made") / "repo")
    shutil.copytree(workspace.root, _made[0])
    return workspace


def edit(project: Project, number: int, text: str) -> None:
    """Replace one line of ``code``."""
    lines = (project.root / "code").read_text().splitlines()
    lines[number] = text
    project.write("code", "\n".join(lines) + "\n")


def squash(project: Project) -> None:
    project.git("merge", "-q", "--squash", "topic")
    project.commit("topic, in one")


def _fast_forward(project: Project) -> None:
    project.git("merge", "-q", "--ff-only", "topic")


def _merge(project: Project) -> None:
    project.git("merge", "-q", "--no-ff", "-m", "merge", "topic")


def _undone(project: Project) -> None:
    project.git("checkout", "-q", "topic")
    project.git("revert", "--no-edit", "HEAD", "HEAD^")
    project.git("checkout", "-q", "main")
    project.write("other", "x")
    project.commit("other")


def _squashed(project: Project) -> None:
    squash(project)


def _squashed_and_gone_on(project: Project) -> None:
    squash(project)
    project.write("other", "x")
    project.commit("other")


def _squashed_and_changed_on(project: Project) -> None:
    squash(project)
    edit(project, 3, "changed again")
    project.commit("further")


def _squashed_lower_down(project: Project) -> None:
    project.write("code", "a new first line\n" * 9 + (project.root / "code").read_text())
    project.commit("moved down")
    squash(project)
    edit(project, 12, "changed again")
    project.commit("further")


MERGED = {
    "same-commit": _fast_forward,
    "ancestor": _merge,
    "no-change": _undone,
    "equal-trees": _squashed,
    "adds-nothing": _squashed_and_gone_on,
    "squashed": _squashed_and_changed_on,
    "squashed lower down": _squashed_lower_down,
}


def ids(project: Project) -> tuple[str, str]:
    """The commits of branch and default branch."""
    return project.git("rev-parse", "topic"), project.git("rev-parse", "main")


@pytest.mark.parametrize("step", MERGED)
def test_each_step_proves_its_case(step: str, project: Project) -> None:
    """A merge, a squash merge, what changed nothing, also after the target went on."""
    assert proof(str(project.root), *ids(project)) == ""
    MERGED[step](project)
    assert proof(str(project.root), *ids(project)) == step.split()[0]


def _half(project: Project) -> None:
    project.git("cherry-pick", "topic^")


def _white_space(project: Project) -> None:
    edit(project, 3, "topic  3")
    edit(project, 30, "topic 30")
    project.commit("nearly the same")
    edit(project, 3, "changed again")
    project.commit("further")


def _reverted(project: Project) -> None:
    squash(project)
    project.git("revert", "--no-edit", "HEAD")


def _another_mode(project: Project) -> None:
    squash(project)
    (project.root / "code").chmod(0o755)
    project.git("commit", "-q", "--amend", "-a", "-m", "with another mode")
    edit(project, 3, "changed again")
    project.commit("further")


def _unrelated(project: Project) -> None:
    project.git("checkout", "-q", "--orphan", "another")
    project.write("code", "nothing of it\n")
    project.commit("a new beginning")
    project.git("branch", "-M", "main")


@pytest.mark.parametrize("work", [_half, _white_space, _another_mode, _unrelated])
def test_what_is_not_merged_is_not_taken_for_it(work: Callable[[Project], None], project: Project) -> None:
    """Half of it, the same but for white space, a history that shares nothing."""
    work(project)
    assert proof(str(project.root), *ids(project)) == ""


def _merge_reverted(project: Project) -> None:
    project.write("other", "x")
    project.commit("other")
    _merge(project)
    project.git("revert", "--no-edit", "-m", "1", "HEAD")


def _squash_reverted_later(project: Project) -> None:
    squash(project)
    edit(project, 30, "changed again")
    project.commit("further")
    edit(project, 30, "topic 30")
    project.commit("back again")
    project.git("revert", "--no-edit", "HEAD~2")
    edit(project, 3, "changed again")
    project.commit("further")


@pytest.mark.parametrize("work", [_reverted, _merge_reverted, _squash_reverted_later])
def test_what_was_reverted_is_not_merged(work: Callable[[Project], None], project: Project) -> None:
    """It is to come again. Once the reverting is reverted, it has."""
    work(project)
    assert proof(str(project.root), *ids(project)) == ""
    project.git("reset", "-q", "--hard", project.git("rev-list", "-1", "--grep=^Revert", "main"))
    project.git("revert", "--no-edit", "HEAD")
    assert proof(str(project.root), *ids(project)) in ("adds-nothing", "ancestor", "equal-trees")


def test_a_merge_driver_proves_nothing(project: Project) -> None:
    """A driver that keeps one side would make any branch look merged."""
    edit(project, 3, "ours")
    project.write(".gitattributes", "code merge=ours\n")
    project.commit("ours")
    project.git("config", "merge.ours.driver", "true")
    assert proof(str(project.root), *ids(project)) == ""


def test_binary_files_are_compared_byte_for_byte(project: Project) -> None:
    """A squash of another binary file is another change."""
    project.git("checkout", "-q", "topic")
    project.write("code.bin", b"\0one" * 99)
    project.commit("binary")
    project.git("checkout", "-q", "main")
    squash(project)
    project.write("code.bin", b"\0two" * 99)
    project.git("add", "code.bin")
    project.git("commit", "-q", "--amend", "-m", "another")
    edit(project, 3, "changed again")
    project.commit("further")
    assert proof(str(project.root), *ids(project)) == ""


def test_which_branch_is_the_default(project: Project, tmp_path: Path) -> None:
    """What origin/HEAD names, else the main checkout's branch; without a commit or a branch there is none."""
    assert default_branch(project.facts()) == ("main", "refs/heads/main", ids(project)[1])
    project.git("clone", "-q", "--bare", str(project.root), str(tmp_path / "remote"))
    project.git("remote", "add", "origin", str(tmp_path / "remote"))
    project.git("fetch", "-q", "origin")
    project.git("remote", "set-head", "origin", "topic")
    found = default_branch(project.facts())
    assert found is not None and found.name == "origin/topic"
    assert judge(project.facts(), "topic").why == "topic is the default branch"
    project.git("remote", "remove", "origin")
    project.git("checkout", "-q", "--detach")
    assert default_branch(project.facts()) is None
    assert not judge(project.facts(), "topic").step


def test_a_merged_branch_is_deleted_at_the_judged_commit_only(project: Project) -> None:
    """Judged merged, it goes; moved meanwhile, checked out or being rebased somewhere, not merged, it stays."""
    facts = project.facts()
    assert "not merged into main" in judge(facts, "topic").why
    squash(project)
    judged = judge(facts, "topic")
    assert (judged.step, judged.deleted) == ("equal-trees", False)
    project.git("update-ref", "refs/heads/pin", "topic")
    tree = project.worktree("oslo")
    with RepositoryLock(facts) as lock:
        project.git("update-ref", "refs/heads/topic", "topic^")
        assert delete(facts, "topic", judged, "refs/heads/pin", lock).why == "topic moved meanwhile"
        project.git("update-ref", "refs/heads/topic", judged.tip)
        project.git("worktree", "add", "-q", str(tree), "topic")
        assert "in use in oslo" in delete(facts, "topic", judged, "refs/heads/pin", lock).why
        project.git("bisect", "start", cwd=tree)
        project.git("checkout", "-q", "--detach", cwd=tree)
        assert "in use in oslo" in delete(facts, "topic", judged, "refs/heads/pin", lock).why
        project.git("worktree", "remove", "-f", str(tree))
        assert delete(facts, "topic", judged, "refs/heads/pin", lock).deleted
    assert project.git("branch", "--list", "topic") == ""


def test_what_only_the_reflog_has_keeps_the_branch(project: Project) -> None:
    """git deletes a branch's reflog with it: an amended commit that nothing else reaches would be lost."""
    facts = project.facts()
    project.git("checkout", "-q", "topic")
    project.git("commit", "-q", "--amend", "-m", "amended")
    project.git("checkout", "-q", "main")
    squash(project)
    judged = judge(facts, "topic")
    with RepositoryLock(facts) as lock:
        kept = delete(facts, "topic", judged, "refs/heads/main", lock)
        assert not kept.deleted and "reflog" in kept.why
        project.git("update-ref", "refs/k1ctl/pin", "topic@{1}")
        assert delete(facts, "topic", judged, "refs/k1ctl/pin", lock).deleted


def test_before_git_could_merge_without_a_working_tree(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """git before 2.38 fails at that step; the others still prove what they can."""
    _squashed_and_gone_on(project)
    monkeypatch.setattr(merged, "_merged_tree", lambda *args: "")
    assert proof(str(project.root), *ids(project)) == "squashed"
