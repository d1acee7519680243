"""Restoring a worktree: as it was, where it was or elsewhere, and over nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from k1ctl import disk, ports
from k1ctl.archive import rebuild
from k1ctl.archive import restore as restoring
from k1ctl.archive.restore import restore
from k1ctl.config import load
from k1ctl.errors import BusyError, K1ctlError, UsageError, WrongDataError
from tests.archive.test_save import bring_back, keep, state_of
from tests.archive.trees import Node, described, plant, trees
from tests.kit import Project

IGNORED = "*.log\n.env*\nnode_modules/\n.context/\n/ignored/\n"


def lose(project: Project, path: Path) -> None:
    """The worktree goes, and git forgets all that nothing points to."""
    shutil.rmtree(path)
    project.git("worktree", "prune")
    project.git("reflog", "expire", "--all", "--expire=now", "--expire-unreachable=now")
    project.git("gc", "-q", "--prune=now")


@pytest.fixture
def oslo(workspace: Project) -> Path:
    """A worktree with changes of each kind."""
    workspace.write(".gitignore", IGNORED)
    for number in range(3):
        workspace.write(f"src/{number}.c", f"int x{number};\n")
    workspace.commit("begin")
    path = workspace.add_worktree("oslo")
    (path / "src" / "0.c").write_text("changed\n")
    (path / "src" / "1.c").unlink()
    workspace.write("staged", "staged\n", within=path)
    workspace.git("add", "staged", cwd=path)
    for name in ("new.txt", "run.log", ".env", ".context/notes.md", "node_modules/x.js"):
        workspace.write(name, f"{name}\n", within=path)
    (path / "empty" / "deep").mkdir(parents=True)
    (path / "new.txt").chmod(0o640)
    return path


def test_it_comes_back_as_it_was(workspace: Project, oslo: Path) -> None:
    """Files, modes, folders, index, status, HEAD and reflog are the same; only what can be made again is not there, and
    that is told. It is on its branch, has ports, and an event tells of it."""
    shutil.rmtree(oslo / "node_modules")
    before, files = state_of(oslo), described(oslo)
    workspace.write("node_modules/x.js", "made\n", within=oslo)
    archive = keep(workspace, oslo).archive
    lose(workspace, oslo)
    done = bring_back(workspace, archive)
    after = state_of(oslo)
    after["refs"] = "".join(line for line in after["refs"].splitlines(True) if archive.ref not in line)
    assert (after, described(oslo)) == (before, files)
    assert (done.path, done.branch, done.detached) == (str(oslo), "oslo", False)
    assert any("node_modules" in warning and "worktree setup" in warning for warning in done.warnings)
    assert archive.state["state"] == "restored"
    assert [e["archive"] for e in workspace.events("archive.restored")] == [archive.id]
    workspace.git("fsck", "--strict")
    workspace.git("worktree", "prune")
    assert workspace.git("status", "--porcelain", cwd=oslo)
    assert [holder.path for holder in ports.holders()] == [str(oslo)]


def test_it_can_be_put_elsewhere(workspace: Project, oslo: Path) -> None:
    """While the first still is there: then HEAD is detached, or on a new branch, and both work for themselves."""
    archive = keep(workspace, oslo).archive
    with pytest.raises(K1ctlError) as error:
        bring_back(workspace, archive)
    assert error.value.code == "path-exists" and "--to" in error.value.hint
    second = bring_back(workspace, archive, to=str(oslo.parent / "new" / "again"))
    assert second.detached and any(str(oslo) in warning for warning in second.warnings)
    third = bring_back(workspace, archive, to=str(oslo.parent / "third"), branch="third")
    assert workspace.git("symbolic-ref", "HEAD", cwd=Path(third.path)) == "refs/heads/third"
    assert described(Path(second.path)) == described(Path(third.path))
    listed = workspace.git("worktree", "list", "--porcelain")
    assert {f"worktree {path}" for path in (oslo, second.path, third.path)} <= set(listed.splitlines())
    assert "locked" not in listed
    workspace.commit("go on", cwd=Path(third.path))
    fourth = bring_back(workspace, archive, to=f"{third.path}/in/it/oslo")
    assert any(f"lies in the worktree {third.path}" in warning for warning in fourth.warnings)
    assert any(f"{oslo} has the same name" in warning for warning in fourth.warnings)


@pytest.mark.parametrize(
    ("since", "branch", "words"),
    [
        (["branch", "-D", "oslo"], "oslo", ""),
        (["update-ref", "refs/heads/oslo", "main"], "", "moved from"),
        (["worktree", "add", "-q", "../taken", "oslo"], "", "is checked out in"),
        (["branch", "-m", "oslo", "oslo/two"], "", "there is oslo/two in its place"),
    ],
)
def test_the_branch_is_not_taken_from_anybody(
    workspace: Project, oslo: Path, since: list[str], branch: str, words: str
) -> None:
    """Deleted, it is made again with its reflog and what it follows; moved or checked out elsewhere, it stays as it is,
    and HEAD is detached at the commit that it was at."""
    for key, value in (("remote", "."), ("merge", "refs/heads/main")):
        workspace.git("config", f"branch.oslo.{key}", value)
    head = workspace.commit("work", cwd=oslo)
    log = workspace.git("reflog", "oslo")
    archive = keep(workspace, oslo).archive
    lose(workspace, oslo)
    workspace.git(*since)
    tip = workspace.git("for-each-ref", "--format=%(objectname)", "refs/heads/oslo")
    done = bring_back(workspace, archive)
    assert done.branch == branch and workspace.git("rev-parse", "HEAD", cwd=oslo) == head
    if branch:
        assert log and workspace.git("reflog", "oslo") == log
        assert workspace.git("rev-parse", "--abbrev-ref", "oslo@{upstream}") == "main"
    else:
        assert workspace.git("for-each-ref", "--format=%(objectname)", "refs/heads/oslo") == tip
        assert any(words in warning for warning in done.warnings)


def test_bad_calls_are_refused_and_leave_nothing(workspace: Project, oslo: Path) -> None:
    """A branch that is there, a word that is no branch, a target that is there, a name with a slash."""
    archive = keep(workspace, oslo).archive
    lose(workspace, oslo)
    before = described(oslo.parent.parent)
    cases: list[tuple[type[Exception], dict[str, str]]] = [
        (K1ctlError, {"branch": "main"}),
        (UsageError, {"branch": "a..b"}),
        (UsageError, {"branch": "-b"}),
        (K1ctlError, {"to": str(workspace.root)}),
        (UsageError, {"name": "a/b"}),
        (UsageError, {"to": str(workspace.root / ".git" / "oslo")}),
        (OSError, {"to": str(workspace.root / "README" / "oslo")}),
    ]
    for error, how in cases:
        with pytest.raises(error):
            bring_back(workspace, archive, **how)
    oslo.symlink_to("nowhere")
    with pytest.raises(K1ctlError, match="exists already"):
        bring_back(workspace, archive)
    oslo.unlink()
    after = described(oslo.parent.parent)
    changed = {path for path in after.keys() | before.keys() if after.get(path) != before.get(path)}
    assert {path for path in changed if not path.endswith(b".lock") and b"k1ctl" not in path} == set()
    assert bring_back(workspace, archive).branch == "oslo"


def test_a_full_disk_is_told_before_anything_is_made(
    workspace: Project, oslo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files have to fit, those in the commit too."""
    (oslo / "large").write_bytes(bytes(300_000))
    archive = keep(workspace, oslo).archive
    assert archive.manifest["restored_bytes"] > 300_000 > archive.manifest["bytes"]
    lose(workspace, oslo)
    nearly = os.statvfs_result((4096, 4096, 1000, 100, 100, 100, 99, 99, 0, 255))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "statvfs", lambda path: nearly)
        with pytest.raises(BusyError) as error:
            bring_back(workspace, archive)
    assert error.value.code == "disk-full" and os.listdir(oslo.parent) == []


@pytest.mark.parametrize("harm", ["missing", "other", "commit"])
def test_a_damaged_archive_is_not_restored(workspace: Project, oslo: Path, harm: str) -> None:
    """A tar file that is gone or another, or a commit that is gone, is told before anything is written."""
    archive = keep(workspace, oslo).archive
    lose(workspace, oslo)
    tar = Path(archive.folder) / "files.tar"
    if harm == "missing":
        tar.unlink()
    elif harm == "other":
        tar.write_bytes(tar.read_bytes().replace(b"run.log", b"rum.log"))
    else:
        workspace.git("update-ref", "-d", archive.ref)
        workspace.git("gc", "-q", "--prune=now")
    with pytest.raises(WrongDataError) as error:
        bring_back(workspace, archive)
    assert error.value.code == "bad-archive"
    assert not oslo.exists() and os.listdir(oslo.parent) == []


STEPS: dict[str, Callable[..., object]] = {
    "fill": rebuild.fill,
    "refresh": rebuild.refresh,
    "set_folder_modes": rebuild.set_folder_modes,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_call_that_was_killed_is_cleared_up(
    workspace: Project, oslo: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it had made goes, folders that nobody may write to, too, and the next call succeeds."""
    (oslo / "empty").chmod(0o500)
    archive = keep(workspace, oslo).archive
    files = described(oslo)
    lose(workspace, oslo)
    workspace.git("branch", "-D", "oslo")

    def die(*args: object) -> None:
        STEPS[step](*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rebuild, step, die)
        patched.setattr(restoring, "undo", lambda *args: None)
        patched.setattr(os, "unlink", lambda *args, **kwargs: None)
        with pytest.raises(KeyboardInterrupt):
            bring_back(workspace, archive, to=str(oslo.parent / "in" / "new" / "folders"))
    assert (oslo.parent / "in" / "new").exists()
    done = bring_back(workspace, archive)
    files = {path: facts for path, facts in files.items() if not path.startswith(b"node_modules")}
    assert (done.branch, described(oslo)) == ("oslo", files)
    assert os.listdir(oslo.parent) == ["oslo"]
    assert os.listdir(workspace.root / ".git" / "worktrees") == ["oslo"]


def test_a_call_that_was_killed_at_its_end_had_done_it(
    workspace: Project, oslo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worktree is there: the next call says so, and does not make another."""
    archive = keep(workspace, oslo).archive
    lose(workspace, oslo)
    with monkeypatch.context() as patched:
        patched.setattr(restoring, "_unlock", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bring_back(workspace, archive)
    assert "locked" in workspace.git("worktree", "list", "--porcelain")
    done = bring_back(workspace, archive)
    assert (done.path, done.branch) == (str(oslo), "oslo")
    assert "locked" not in workspace.git("worktree", "list", "--porcelain")
    assert archive.state["state"] == "restored"


def test_submodules_follow_to_another_place(workspace: Project, oslo: Path) -> None:
    """Their repositories, with commits that nobody else has and dirty files, work beside the worktree's new path."""
    source = Project(workspace.root.parent / "lib", {"lib.c": "int lib;\n"})
    allow = ("-c", "protocol.file.allow=always")
    workspace.git(*allow, "submodule", "-q", "add", str(source.root), "lib", cwd=oslo)
    workspace.git("commit", "-q", "-m", "lib", cwd=oslo)
    (oslo / "lib" / "lib.c").write_text("int mine;\n")
    only_here = workspace.commit("only here", cwd=oslo / "lib")
    (oslo / "lib" / "dirty.c").write_text("dirty\n")
    archive = keep(workspace, oslo).archive
    assert archive.manifest["submodules"] == ["lib"]
    lose(workspace, oslo)
    there = Path(bring_back(workspace, archive, to=str(oslo.parent / "far" / "away")).path)
    assert workspace.git("rev-parse", "HEAD", cwd=there / "lib") == only_here
    assert workspace.git("status", "--porcelain", cwd=there / "lib") == "?? dirty.c"
    assert workspace.git("rev-parse", "--show-toplevel", cwd=there / "lib") == str(there / "lib")
    assert "lib" in workspace.git("status", "--porcelain", cwd=there)
    workspace.git("submodule", "absorbgitdirs", cwd=there)


def test_a_stash_that_was_dropped_can_be_listed_again(workspace: Project, oslo: Path) -> None:
    """Which stashes were made in it is told; a dropped one with the words that bring it back."""
    workspace.git("stash", "push", "-q", "-m", "half done", cwd=oslo)
    stash = workspace.git("rev-parse", "refs/stash")
    archive = keep(workspace, oslo).archive
    workspace.git("stash", "drop", "-q", cwd=oslo)
    lose(workspace, oslo)
    done = bring_back(workspace, archive)
    assert any(f"git stash store -m NAME {stash}" in warning for warning in done.warnings)
    workspace.git("stash", "store", "-m", "half done", stash)
    workspace.git("stash", "pop", "-q", cwd=oslo)
    assert (oslo / "staged").read_text() == "staged\n"


def test_a_repository_without_a_main_checkout(workspace: Project, tmp_path: Path) -> None:
    """A bare repository, whose folder has another name, is as good as one beside its files."""
    bare = tmp_path / "k1.git"
    workspace.git("clone", "-q", "--bare", str(workspace.root), str(bare))
    path = tmp_path / "trees" / "oslo"
    workspace.git("worktree", "add", "-q", "-b", "oslo", str(path), cwd=bare)
    (path / "new.txt").write_text("new\n")
    from k1ctl.archive.save import save
    from k1ctl.workspace import resolve
    from k1ctl.worktrees import entries

    here = resolve(cwd=str(path))
    entry = next(e for e in entries(str(bare)) if e.path == str(path))
    archive = save(here, load(here), entry, reason="a test").archive
    shutil.rmtree(path)
    workspace.git("worktree", "prune", cwd=bare)
    here.path = str(bare)
    assert restore(here, load(here), archive).branch == "oslo"
    assert workspace.git("status", "--porcelain", cwd=path) == "?? new.txt"


@settings(max_examples=5)
@given(tree=trees())
def test_any_tree_comes_back(tree: dict[bytes, Node], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Random names, contents, modes and links, untracked, ignored and in a repository inside, are the same after."""
    project = Project(
        tmp_path_factory.mktemp("any") / "r", {".gitignore": IGNORED, ".gitattributes": "* text eol=crlf\n"}
    )
    path = project.add_worktree("w")
    for folder in ("tree", "ignored", "ignored/inner"):
        (path / folder).mkdir()
        plant(path / folder, tree)
    project.git("init", "-q", str(path / "ignored" / "inner"))
    before, status = described(path), state_of(path)["status"]
    archive = keep(project, path).archive
    shutil.rmtree(path)
    project.git("worktree", "prune")
    bring_back(project, archive)
    assert described(path) == before
    assert state_of(path)["status"] == status


def test_the_place_of_another_host_is_not_taken_unasked(workspace: Project, oslo: Path, tmp_path: Path) -> None:
    """A pulled archive goes where worktrees of this repository are, or where the caller says."""
    archive = keep(workspace, oslo).archive
    lose(workspace, oslo)
    strange = tmp_path / "strange" / "oslo"
    archive.manifest |= {"pulled": {"store": "nas"}, "path": str(strange)}
    with pytest.raises(UsageError, match="comes from a store"):
        restore(workspace.facts(), load(workspace.facts()), archive)
    assert not strange.parent.exists()
    assert restore(workspace.facts(), load(workspace.facts()), archive, to=str(strange)).path == str(strange)
    archive.manifest["path"] = str(oslo)
    shutil.rmtree(strange)
    workspace.git("worktree", "prune")
    assert restore(workspace.facts(), load(workspace.facts()), archive).path == str(oslo)
