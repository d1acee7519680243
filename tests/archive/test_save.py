"""Saving a worktree: what is kept where, when it is refused, and that nothing of the worktree is changed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from k1ctl import disk
from k1ctl.archive import contents
from k1ctl.archive.calls import Calls
from k1ctl.archive.files import UnreadableError
from k1ctl.archive.folder import Archive, archives_folder
from k1ctl.archive.nested import NestedWorktreeError
from k1ctl.archive.planning import TooLargeError, plan
from k1ctl.archive.restore import Restored, restore
from k1ctl.archive.save import Saved, save, unchanged
from k1ctl.archive.snapshot import known_objects, names_in_tables, objects_told
from k1ctl.config import load
from k1ctl.errors import BusyError, ConfigError, K1ctlError
from k1ctl.worktrees import Entry, entries
from tests.kit import Project


def entry(project: Project, path: Path) -> Entry:
    return next(e for e in entries(str(project.root)) if e.path == str(path))


def keep(project: Project, path: Path) -> Saved:
    workspace = project.facts()
    return save(workspace, load(workspace), entry(project, path), reason="a test")


def same(project: Project, path: Path, archive: Archive) -> bool:
    workspace = project.facts()
    return unchanged(workspace, load(workspace), entry(project, path), archive) is not None


def members(archive: Archive, name: str) -> dict[bytes, bytes | None]:
    """{name: content of a file, None of anything else} of one of its tar files."""
    with tarfile.open(os.path.join(archive.folder, name), errors="surrogateescape") as tar:
        return {os.fsencode(m.name): (f.read() if m.isreg() and (f := tar.extractfile(m)) else None) for m in tar}


def in_commit(project: Project, archive: Archive) -> dict[bytes, bytes]:
    """{path: bytes} of the snapshot's files, as git holds them."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", archive.manifest["commit"]], cwd=project.root, capture_output=True, check=True
    )
    found = {}
    for row in filter(None, listed.stdout.split(b"\0")):
        about, _, path = row.partition(b"\t")
        if about.split()[1] == b"blob":
            argv = ["git", "cat-file", "blob", about.split()[2].decode()]
            found[path] = subprocess.run(argv, cwd=project.root, capture_output=True, check=True).stdout
    return found


def run(project: Project, *args: str, cwd: Path | None = None) -> bytes:
    return subprocess.run(["git", *args], cwd=cwd or project.root, capture_output=True, check=True).stdout


def bring_back(project: Project, archive: Archive, **how: str) -> Restored:
    workspace = project.facts()
    return restore(workspace, load(workspace), archive, **how)


def state_of(path: Path) -> dict[str, str]:
    """Everything that git says of a worktree, without refreshing anything in it."""
    calls = {
        "status": ["status", "--porcelain=v2", "--branch", "-z", "-uall", "--ignored"],
        "index": ["ls-files", "-s", "-v", "-f", "-z"],
        "head": ["log", "-g", "--format=%H %gs", "HEAD"],
        "refs": ["for-each-ref"],
    }
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    return {
        name: subprocess.run(["git", *argv], cwd=path, env=env, capture_output=True).stdout.decode(
            errors="surrogateescape"
        )
        for name, argv in calls.items()
    }


@pytest.fixture
def oslo(workspace: Project) -> Path:
    """A worktree with work of each kind in it."""
    workspace.write(".gitignore", "*.log\n.env*\nnode_modules/\n.context/\n")
    workspace.write("a.txt", "as committed\n")
    workspace.commit("begin")
    path = workspace.add_worktree("oslo")
    for name, text in {
        "a.txt": "changed\n",
        "new.txt": "new\n",
        "run.log": "a line\n",
        ".context/notes.md": "notes\n",
        ".env": "KEY=hunter2\n",
        "node_modules/p/index.js": "made\n",
        "deploy.pem": "not ignored\n",
    }.items():
        workspace.write(name, text, within=path)
    return path


def test_each_file_is_kept_where_it_belongs(workspace: Project, oslo: Path) -> None:
    """Tracked and untracked files are in the commit, what git ignores, or holds under no such name, is in files.tar,
    secrets are in secrets.tar and in nothing else, and what can be made again is nowhere; the folder is its owner's."""
    (oslo / "git~1").write_text("git on Windows would take it for .git\n")
    archive = keep(workspace, oslo).archive
    assert in_commit(workspace, archive) == {
        b".gitignore": b"*.log\n.env*\nnode_modules/\n.context/\n",
        b"README": b"a repository for a test\n",
        b"a.txt": b"changed\n",
        b"new.txt": b"new\n",
    }
    assert members(archive, "files.tar") == {
        b"run.log": b"a line\n",
        b".context/notes.md": b"notes\n",
        b"git~1": b"git on Windows would take it for .git\n",
    }
    secret = {b"tree/.env": b"KEY=hunter2\n", b"tree/deploy.pem": b"not ignored\n"}
    assert members(archive, "secrets.tar") == secret
    assert {b"HEAD", b"index", b"logs/HEAD"} <= set(members(archive, "git.tar"))
    manifest = archive.manifest
    assert manifest["regenerable"] == ["node_modules"] and manifest["branch"] == "oslo"
    counts = {"changed": 1, "untracked": 3, "ignored_kept": 3, "secrets": 2, "nested": 0}
    assert manifest["counts"] == counts
    assert stat.S_IMODE(os.stat(archive.folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(os.path.join(archive.folder, "secrets.tar")).st_mode) == 0o600
    assert sorted(os.listdir(archive.folder)) == ["files.tar", "git.tar", "manifest.json", "secrets.tar", "seen.json"]
    assert json.loads((workspace.ops / "archive" / archive.id / "manifest.json").read_text()) == manifest
    assert [e["archive"] for e in workspace.events("archive.saved")] == [archive.id]


def test_a_tracked_secret_becomes_no_history(workspace: Project, oslo: Path) -> None:
    """What was committed of files with a secret's name is in the commit; what was changed, staged or hidden since is
    in secrets.tar only, and comes back with the index as it was."""
    names = ("same.key", "edited.key", "staged.key", "hidden.key")
    shutil.rmtree(oslo / "node_modules")
    for name in names:
        workspace.write(name, f"{name}\n", within=oslo)
    workspace.git("add", "-f", *names, cwd=oslo)
    workspace.git("commit", "-q", "-m", "keys", cwd=oslo)
    workspace.git("update-index", "--skip-worktree", "hidden.key", cwd=oslo)
    for name in names[1:]:
        workspace.write(name, f"hush {name}\n", within=oslo)
    workspace.write("added.key", "hush added\n", within=oslo)
    workspace.git("add", "-f", "staged.key", "added.key", cwd=oslo)
    workspace.write("staged.key", "hush again\n", within=oslo)
    before = state_of(oslo)
    archive = keep(workspace, oslo).archive
    listed = workspace.git("rev-list", "--objects", "--no-object-names", archive.ref).split()
    assert not [oid for oid in listed if b"hush" in run(workspace, "cat-file", "-p", oid)]
    assert in_commit(workspace, archive)[b"same.key"] == b"same.key\n"
    assert b"hush again\n" in members(archive, "secrets.tar").values()
    shutil.rmtree(oslo)
    workspace.git("worktree", "prune")
    workspace.git("gc", "-q", "--prune=now")
    bring_back(workspace, archive)
    after = state_of(oslo)
    assert (after["index"], after["status"]) == (before["index"], before["status"])
    assert run(workspace, "show", ":staged.key", cwd=oslo) == b"hush staged.key\n"
    assert (oslo / "hidden.key").read_text() == "hush hidden.key\n"


def on_the_disk(top: Path, *but: str) -> dict[str, tuple[Any, ...]]:
    """{path: inode, mode, size, times and bytes} of all in ``top``, ``but`` for some folders."""
    found: dict[str, tuple[Any, ...]] = {}
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if os.path.relpath(f"{folder}/{name}", top) not in but]
        for name in (".", *files):
            path = Path(folder, name)
            facts = path.lstat()
            row = (facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            found[str(path)] = (*row, path.read_bytes() if path.is_file() else b"")
    return found


def test_saving_changes_nothing(workspace: Project, oslo: Path) -> None:
    """Of the worktree, and of the repository but for the archive and its ref, no byte, time or inode is another after;
    also where git has to compare contents, for line ends are converted, and finds files that were only touched."""
    workspace.git("config", "core.autocrlf", "input")
    workspace.git("init", "-q", str(oslo / "inner"))
    for path in ("README", ".gitignore"):
        os.utime(oslo / path, (1, 1))
    git = workspace.root / ".git"
    (git / "k1ctl").mkdir(exist_ok=True)
    (git / "refs" / "k1ctl").mkdir(exist_ok=True)
    kept = on_the_disk(oslo), on_the_disk(git, "objects", "k1ctl", "refs/k1ctl")
    assert not keep(workspace, oslo).reused
    assert (on_the_disk(oslo), on_the_disk(git, "objects", "k1ctl", "refs/k1ctl")) == kept


def test_the_same_is_saved_once(workspace: Project, oslo: Path) -> None:
    """Saved again without a change it is the same archive, also when only stat data in the index changed; after a
    change of any kind it is another one."""
    first = keep(workspace, oslo)
    again = keep(workspace, oslo)
    assert not first.reused and again.reused and again.archive.id == first.archive.id
    os.utime(oslo / "README", ns=(1, 1))
    workspace.git("status", cwd=oslo)
    assert keep(workspace, oslo).archive.id == first.archive.id
    ids = {first.archive.id}
    for name, change in {
        "top": lambda: oslo.chmod(0o750),
        "mode": lambda: (oslo / "new.txt").chmod(0o600),
        "ignored": lambda: (oslo / "run.log").write_text("another\n"),
        "index": lambda: workspace.git("add", "new.txt", cwd=oslo),
        "flag": lambda: workspace.git("update-index", "--assume-unchanged", "README", cwd=oslo),
        "folder": lambda: (oslo / "empty").mkdir(),
        "reflog": lambda: workspace.git("commit", "-q", "--amend", "--no-edit", cwd=oslo),
    }.items():
        change()
        saved = keep(workspace, oslo)
        assert not saved.reused and saved.archive.id not in ids, name
        ids.add(saved.archive.id)


def test_a_change_after_the_save_is_seen(workspace: Project, oslo: Path) -> None:
    """Whatever changes, `unchanged` says so; it is true of what was saved, and true again once that was saved anew."""
    archive = keep(workspace, oslo).archive
    assert same(workspace, oslo, archive)
    size = (oslo / "run.log").stat()
    (oslo / "run.log").write_text("A LINE\n")
    os.utime(oslo / "run.log", ns=(size.st_atime_ns, size.st_mtime_ns))
    assert not same(workspace, oslo, archive)
    archive = keep(workspace, oslo).archive
    assert same(workspace, oslo, archive)
    (oslo / "node_modules" / "p" / "more.js").write_text("made again\n")
    assert same(workspace, oslo, archive)
    workspace.git("add", "new.txt", cwd=oslo)
    assert not same(workspace, oslo, archive)
    (oslo / ".git").unlink()
    assert not same(workspace, oslo, archive)


def test_a_worktree_that_keeps_changing_is_refused(
    workspace: Project, oslo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three attempts; one change is only saved with it. Nothing is left of the attempts."""
    real, changes = contents.write, iter(range(1))

    def write(*args: Any) -> dict[str, Any]:
        for number in changes:
            (oslo / "a.txt").write_text(f"{number} more\n")
            break
        return real(*args)

    monkeypatch.setattr(contents, "write", write)
    monkeypatch.setattr("k1ctl.archive.save._PAUSE", 0)
    archive = keep(workspace, oslo).archive
    assert in_commit(workspace, archive)[b"a.txt"] == b"0 more\n"
    changes = iter(range(1000))
    with pytest.raises(BusyError, match=r"a\.txt") as error:
        keep(workspace, oslo)
    assert error.value.code == "worktree-busy"
    assert os.listdir(archives_folder(workspace.facts())) == [archive.id]
    assert workspace.git("for-each-ref", "--format=%(refname)", "refs/k1ctl").split() == [archive.ref]


def test_more_than_the_limit_is_refused(workspace: Project, oslo: Path) -> None:
    """The largest files are named; a dry run says the same."""
    workspace.configure('[archive]\nlimit = "50k"\n')
    (oslo / "big.log").write_bytes(bytes(60_000))
    with pytest.raises(TooLargeError, match=r"big\.log \(58\.6 KiB\)"):
        keep(workspace, oslo)
    with pytest.raises(TooLargeError):
        plan(workspace.facts(), load(workspace.facts()), entry(workspace, oslo))
    assert os.listdir(archives_folder(workspace.facts())) == []


def test_a_full_disk_is_refused_before_anything_is_written(
    workspace: Project, oslo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive is the way to more room: it only has to fit, whatever disk.stop_percent is."""
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 100, 99, 99, 0, 255))
    monkeypatch.setattr(disk, "statvfs", lambda path: full)
    with pytest.raises(BusyError) as error:
        keep(workspace, oslo)
    assert error.value.code == "disk-full"
    assert os.listdir(archives_folder(workspace.facts())) == []
    nearly = os.statvfs_result((4096, 4096, 1_000_000, 20_000, 20_000, 100, 99, 99, 0, 255))
    monkeypatch.setattr(disk, "statvfs", lambda path: nearly)
    keep(workspace, oslo)
    assert len(os.listdir(archives_folder(workspace.facts()))) == 1


def test_what_cannot_be_read_is_named(workspace: Project, oslo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a folder without permission is a refusal: half an archive is none."""
    (oslo / "run.log").chmod(0o000)
    (oslo / "locked").mkdir(0o000)
    real_access, real_scandir = os.access, os.scandir

    def access(path: Any, mode: int) -> bool:  # root may read everything
        return real_access(path, mode) and not str(path).endswith("run.log")

    def scandir(path: Any) -> Any:
        if str(path).endswith("/locked"):
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UnreadableError, match=r"2 of .*: (locked/, run\.log|run\.log, locked/)"):
        keep(workspace, oslo)
    assert os.listdir(archives_folder(workspace.facts())) == []


def test_only_worktrees_of_the_repository_are_saved(workspace: Project, oslo: Path) -> None:
    """Not the main checkout, nothing whose links do not agree, and none with another worktree inside."""
    with pytest.raises(K1ctlError) as error:
        keep(workspace, workspace.root)
    assert error.value.code == "main-checkout"
    workspace.git("worktree", "add", "-q", "--detach", str(oslo / ".context" / "inner"))
    with pytest.raises(NestedWorktreeError, match="inner"):
        keep(workspace, oslo)
    there = entry(workspace, oslo)
    other = workspace.add_worktree("bergen")
    (oslo / ".git").write_text((other / ".git").read_text())
    workspace_facts = workspace.facts()
    with pytest.raises(ConfigError, match="points to"):
        save(workspace_facts, load(workspace_facts), there, reason="a test")


def test_repositories_in_it_are_kept_whole(workspace: Project, oslo: Path) -> None:
    """One with work of its own wherever it lies; one that can be cloned again is regenerable where its folder is."""
    away = workspace.root.parent / "away.git"
    workspace.git("clone", "-q", "--bare", str(workspace.root), str(away))
    for name in ("node_modules/mine", "node_modules/theirs", ".context/clone"):
        workspace.git("clone", "-q", str(away), str(oslo / name))
    (oslo / "node_modules" / "mine" / "a.txt").write_text("patched\n")
    archive = keep(workspace, oslo).archive
    assert archive.manifest["nested"] == [".context/clone", "node_modules/mine"]
    kept = members(archive, "files.tar")
    assert kept[b"node_modules/mine/a.txt"] == b"patched\n" and b"node_modules/mine/.git/HEAD" in kept
    assert not [name for name in kept if name.startswith(b"node_modules/theirs")]
    workspace.git("stash", "-q", cwd=oslo / "node_modules" / "mine")
    assert "node_modules/mine" in keep(workspace, oslo).archive.manifest["nested"]
    workspace.git("worktree", "add", "-q", "--detach", str(away.parent / "linked"), cwd=oslo / "node_modules/theirs")
    assert "node_modules/theirs" in keep(workspace, oslo).archive.manifest["nested"], "its worktree needs it"


@pytest.mark.parametrize("harm", ["ref", "tar"])
def test_an_archive_that_is_not_whole_is_not_the_same(workspace: Project, oslo: Path, harm: str) -> None:
    """Its ref was deleted, or a file of it damaged: the worktree is saved anew, for it may be removed next."""
    first = keep(workspace, oslo).archive
    if harm == "ref":
        workspace.git("update-ref", "-d", first.ref)
    else:
        tar = Path(first.folder) / "files.tar"
        tar.write_bytes(tar.read_bytes().replace(b"a line", b"A LINE"))
    saved = keep(workspace, oslo)
    assert not saved.reused and saved.archive.id != first.id
    assert keep(workspace, oslo).archive.id == saved.archive.id


def test_a_split_index_is_saved(workspace: Project, oslo: Path) -> None:
    """Each git that reads it gives its shared part a new time, and git gives one to an object that it finds there when
    it writes it, which a clone may share: those are no changes."""
    lib = oslo / "node_modules" / "lib"  # git looks into it to learn whether it can be cloned again
    workspace.git("clone", "-q", str(workspace.root), str(lib))
    for path in (oslo, lib):
        workspace.git("update-index", "--split-index", cwd=path)
        workspace.git("commit", "-q", "--allow-empty", "-m", "only here", cwd=path)
    before = state_of(oslo)
    first = keep(workspace, oslo)
    assert any(name.startswith(b"sharedindex.") for name in members(first.archive, "git.tar"))
    assert same(workspace, oslo, first.archive)
    there = Path(bring_back(workspace, first.archive, to=str(oslo.parent / "two")).path)
    assert state_of(there)["index"] == before["index"]


def test_refs_in_tables_are_asked_of_git(workspace: Project, oslo: Path) -> None:
    """Where no files hold the worktree's own refs and its reflog, git tells what they name."""
    first, second = (workspace.commit(name, cwd=oslo) for name in ("first", "second"))
    workspace.git("reset", "-q", "--hard", "HEAD~2", cwd=oslo)
    workspace.git("update-ref", "refs/worktree/mine", first, cwd=oslo)
    with Calls(str(oslo), str(workspace.root.parent)) as calls:
        named = names_in_tables(calls)
        known = objects_told(known_objects(calls, named))
    assert {first, second} <= named and set(known.values()) == {"commit"}


def test_any_folder_can_be_saved(workspace: Project, oslo: Path) -> None:
    """Also one whose name cannot be a part of a ref; HEAD may point to what is no branch."""
    path = oslo.parent / "v1...2.lock"
    workspace.git("worktree", "add", "-q", "--detach", str(path))
    workspace.git("symbolic-ref", "HEAD", "refs/wip/x", cwd=path)
    archive = keep(workspace, path).archive
    assert archive.manifest["branch"] is None and archive.manifest["workspace"] == path.name
    there = Path(bring_back(workspace, archive, to=str(oslo.parent / "two")).path)
    assert workspace.git("symbolic-ref", "HEAD", cwd=there) == "refs/wip/x"


def test_a_replaced_object_is_kept_as_it_was_checked_out(workspace: Project, oslo: Path) -> None:
    """git takes the file for unchanged, and its size is that of the object that it was replaced for."""
    (workspace.root.parent / "other").write_text("AS COMMITTED\n")
    other = workspace.git("hash-object", "-w", str(workspace.root.parent / "other"))
    committed = workspace.git("rev-parse", "HEAD:a.txt")
    workspace.git("replace", committed, other)
    (oslo / "a.txt").unlink()
    workspace.git("checkout", "a.txt", cwd=oslo)
    os.utime(workspace.git("rev-parse", "--git-path", "index", cwd=oslo), (2e9, 2e9))  # no entry of it is racy
    assert "a.txt" not in workspace.git("diff-files", "--name-only", cwd=oslo)
    archive = keep(workspace, oslo).archive
    workspace.git("replace", "-d", committed)
    assert in_commit(workspace, archive)[b"a.txt"] == b"AS COMMITTED\n"


def test_leftovers_of_killed_calls_are_cleared(workspace: Project, oslo: Path) -> None:
    """A folder that was not finished goes with its ref; what was finished stays, whatever its name begins with."""
    archive = keep(workspace, oslo).archive
    base = Path(archives_folder(workspace.facts()))
    for name in ("20260101-000000-oslo-aaaaaa", archive.id):
        (base / f".tmp-{name}" / "scratch").mkdir(parents=True)
    workspace.git("update-ref", "refs/k1ctl/archive/20260101-000000-oslo-aaaaaa", "HEAD")
    assert keep(workspace, oslo).reused
    assert os.listdir(base) == [archive.id]
    assert workspace.git("for-each-ref", "--format=%(refname)", "refs/k1ctl").split() == [archive.ref]


def test_a_reflog_that_lost_its_past_does_no_harm(workspace: Project, oslo: Path) -> None:
    """Commits that gc has taken are passed over; those that are there are pinned, and gc and fsck go on working."""
    lost = workspace.commit("lost", cwd=oslo)
    child = workspace.commit("child of the lost one", cwd=oslo)
    workspace.git("reset", "-q", "--hard", "HEAD~2", cwd=oslo)
    kept = workspace.commit("kept", cwd=oslo)
    workspace.git("reset", "-q", "--hard", "HEAD~1", cwd=oslo)
    (workspace.root / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    archive = keep(workspace, oslo).archive
    assert (archive.manifest["pinned"], archive.manifest["not_pinned"]) == ([kept], [child])
    workspace.git("rev-list", "--objects", archive.ref)


def test_many_new_files_go_to_one_pack(workspace: Project, oslo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git can write one (since 2.37), and each comes out of it as it is: empty ones, links and odd names, too."""
    monkeypatch.setattr("k1ctl.archive.snapshot._MANY", 5)
    for number in range(12):
        workspace.write(f"many/{number}\n", f"{number}" * number, within=oslo)
    (oslo / "many" / "link").symlink_to("nowhere")
    before = len(list((workspace.root / ".git" / "objects" / "pack").glob("*.pack")))
    commit = in_commit(workspace, keep(workspace, oslo).archive)
    assert {commit[f"many/{number}\n".encode()] for number in range(12)} == {b"%d" % n * n for n in range(12)}
    assert commit[b"many/link"] == b"nowhere"
    packs = len(list((workspace.root / ".git" / "objects" / "pack").glob("*.pack"))) - before
    version = tuple(int(n) for n in workspace.git("version").split()[2].split(".")[:2])
    assert packs == (1 if version >= (2, 38) else 0)
