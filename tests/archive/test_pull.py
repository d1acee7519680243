"""k1ctl.archive.pull: what comes back from a store, into another clone too, and what a kill or damage does to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.archive import copies
from k1ctl.archive import pull as pulling
from k1ctl.archive.folder import archives_folder, list_archives
from k1ctl.archive.save import save
from k1ctl.archive.verify import verify
from k1ctl.errors import BusyError, WrongDataError
from k1ctl.files import Locked
from k1ctl.workspace import resolve
from k1ctl.worktrees import entries
from tests.archive.saving import archived, archived_alike, begin, facts, killed_at, worked_in
from tests.archive.shelf import Shelf, clone, fetch, send
from tests.kit import Project


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_an_archive_comes_into_another_clone(project: Project, shelf: Shelf) -> None:
    """Its commit, tree and tar files are the same there, it is whole, it survives gc, and it says that secrets are
    missing; what was pulled is not pulled again."""
    archive = archived_alike(project)
    send(project, shelf, archive)
    there = clone(project)
    assert copies.find(shelf, "repo", "oslo").id == archive.id
    planned = fetch(there, shelf, archive.id[:12], dry_run=True)
    assert planned["outcome"] == "would-pull" and list_archives(there) == []
    row = fetch(there, shelf, archive.id[:12])
    assert (row["outcome"], row["secrets_count"]) == ("pulled", 1)
    [pulled] = list_archives(there)
    assert verify(there, pulled) == [] and pulled.state["state"] == "archived"
    assert sorted(os.listdir(pulled.folder)) == ["copies.json", "files.tar", "git.tar", "manifest.json", "state.json"]
    assert os.stat(pulled.folder).st_mode & 0o077 == 0
    for name in ("files.tar", "git.tar"):
        assert Path(pulled.folder, name).read_bytes() == Path(archive.folder, name).read_bytes()
    subprocess.run(["git", "gc", "-q", "--prune=now"], cwd=there.root, check=True)
    assert verify(there, pulled) == []
    assert pulled.manifest["tree"] == archive.manifest["tree"] and pulled.manifest["pulled"]["secrets_count"] == 1
    assert fetch(there, shelf, archive.id)["outcome"] == "here"
    assert send(project, shelf, archive)["outcome"] == "there"
    assert os.path.exists(there.ops_path("archive", archive.id, "manifest.json"))


def test_a_clone_without_what_the_bundle_builds_on(project: Project, shelf: Shelf) -> None:
    """It says which commits are missing and how they come; after a fetch the pull works. Nothing was left before."""
    there = clone(project)
    remote = project.root.parent / "remote.git"
    tip = project.commit("after the clone was made")
    project.git("clone", "-q", "--bare", ".", str(remote))
    project.git("remote", "add", "origin", str(remote))
    project.git("fetch", "-q", "origin")
    archive = archived(project)
    assert send(project, shelf, archive)["prerequisites"] == [tip]
    with pytest.raises(WrongDataError, match=f"1 commits that this clone has not, as {tip}") as missing:
        fetch(there, shelf, archive.id)
    assert missing.value.code == "missing-commits" and "fetch" in missing.value.hint
    assert list_archives(there) == []
    subprocess.run(["git", "fetch", "-q", "--all"], cwd=there.root, check=True)
    assert fetch(there, shelf, archive.id)["outcome"] == "pulled"


def test_a_repository_of_other_digests(project: Project, shelf: Shelf, tmp_path: Path) -> None:
    """An archive of SHA-1 does not go into a repository of SHA-256, and that is said. What was got is swept by a pull
    of any archive, a week after and not before."""
    first, second = archived_alike(project), archived(project, "tokyo")
    for archive in (first, second):
        send(project, shelf, archive)
    subprocess.run(["git", "init", "-q", "--object-format=sha256", tmp_path / "other"], check=True)
    (tmp_path / "other" / "ops").mkdir()
    there = resolve(cwd=str(tmp_path / "other"))
    for archive in (first, second):
        with pytest.raises(WrongDataError, match="other digests than sha256") as refused:
            fetch(there, shelf, archive.id)
        assert refused.value.code == "other-repository"
    left = Path(archives_folder(there), f".pull-{first.id}")
    assert left.is_dir()
    os.utime(left / "lock", (1, 1))
    with pytest.raises(WrongDataError):
        fetch(there, shelf, second.id)
    assert os.listdir(archives_folder(there)) == [f".pull-{second.id}"]


def _bad_manifests(good: dict[str, Any]) -> list[dict[str, Any]]:
    copy, files = good["copy"], good["files"]
    some = next(iter(files.values()))
    return [
        {**good, "format": 2},
        {**good, "id": "another"},
        {**good, "commit": "--upload-pack=x"},
        {**good, "copy": {**copy, "format": 2}},
        {**good, "copy": {**copy, "prerequisites": ["HEAD"]}},
        {**good, "files": {**files, "../../hooks/post-checkout": some}},
        {**good, "files": {**files, "secrets.tar": some}},
        {**good, "files": [1]},
        {**good, "empty_folders": ["a/../../b"]},
        {**good, "modes": [["/etc/passwd", "777"]]},
        {**good, "modes": [["a", "rwx"]]},
        {**good, "nested": ["/etc"]},
        {**good, "tree": "HEAD"},
        {**good, "head": "ref: refs/heads/main"},
        {**good, "branch": "a/../../x"},
        {**good, "rebasing": ["main\n", good["commit"]]},
        {**good, "upstream": ["--file=/tmp/x", "refs/heads/main"]},
        {**good, "stashes": [{"commit": "$(x)", "subject": ""}]},
        {**good, "path": "oslo"},
        {**good, "path": "/w/../etc/oslo"},
        {**good, "entry": ".."},
        {**good, "umask": "x"},
        {**good, "at": "soon"},
        {**good, "files": {name: {**about, "bytes": 1 << 50} for name, about in files.items()}},
        {**good, "files": {name: {"bytes": about["bytes"]} for name, about in files.items()}},
        {},
    ]


def test_a_damaged_copy_is_refused(project: Project, shelf: Shelf) -> None:
    """A changed byte in any file, a file that is gone, a manifest that names other files or no commits: the pull fails
    with 65, and no archive and no ref is there; the whole one is pulled after that."""
    archive = archived_alike(project)
    send(project, shelf, archive)
    there, base, good = clone(project), f"repo/{archive.id}/", dict(shelf.files)

    def refused() -> None:
        with pytest.raises(WrongDataError) as exc:
            fetch(there, shelf, archive.id)
        assert exc.value.code == "damaged-copy", exc.value
        assert list_archives(there) == []
        assert os.listdir(archives_folder(there)) == [f".pull-{archive.id}"]
        shutil.rmtree(archives_folder(there))
        assert subprocess.check_output(["git", "for-each-ref", archive.ref], cwd=there.root) == b""

    for name in ("snapshot.bundle", "git.tar", "files.tar"):
        for content in (good[base + name][:-1], good[base + name][:-9] + b"x" + good[base + name][-8:]):
            shelf.files = {**good, base + name: content}
            refused()
        shelf.files = {k: v for k, v in good.items() if k != base + name}
        refused()
    bad = [json.dumps(each).encode() for each in _bad_manifests(json.loads(good[f"{base}manifest.json"]))]
    for data in (*bad, b"[" * 100_000, b"\xff", b""):
        shelf.files = {**good, f"{base}manifest.json": data}
        refused()
    shelf.files = good
    assert fetch(there, shelf, archive.id)["outcome"] == "pulled"


def test_what_git_would_run_of_a_copy(project: Project, shelf: Shelf) -> None:
    """Settings of the worktree that name a command: not pulled into a clone but with a person's word; nothing of the
    archive is here before. An archive of this host is mended from its copy all the same."""
    path, mark = worked_in(project, "oslo"), project.root.parent / "it ran"
    project.git("config", "extensions.worktreeConfig", "true")
    project.git("config", "--worktree", "core.fsmonitor", f"touch '{mark}'", cwd=path)
    entry = next(entry for entry in entries(str(project.root)) if entry.path == str(path))
    archive = save(*facts(project), entry, reason="archive save").archive
    mark.unlink(missing_ok=True)
    send(project, shelf, archive)
    there = clone(project)
    with pytest.raises(WrongDataError, match=r"git\.tar: 'config\.worktree' sets core\.fsmonitor") as refused:
        fetch(there, shelf, archive.id)
    assert refused.value.code == "runs-commands" and str(mark) not in str(refused.value.document())
    assert list_archives(there) == [] and not mark.exists()
    assert fetch(there, shelf, archive.id, trust=True)["outcome"] == "pulled"
    Path(archive.folder, "git.tar").unlink()
    assert fetch(project.facts(), shelf, archive.id)["outcome"] == "repaired"


def test_an_archive_is_whole_without_its_trash(project: Project, shelf: Shelf) -> None:
    """Who emptied the trash by hand can push what was saved, and pull finds nothing to mend; so while the worktree is
    being removed."""
    archive = archived_alike(project)
    for state in ("archived", "removing"):
        archive.set_state(state, tree=str(project.root.parent / "gone"))
        assert len(verify(project.facts(), archive)) == 1
        shelf.files.clear()
        assert send(project, shelf, archive)["outcome"] == "pushed"
        assert fetch(project.facts(), shelf, archive.id)["outcome"] == "here"


def test_a_pull_that_is_stopped_goes_on(project: Project, shelf: Shelf) -> None:
    """What it got is not got again; nobody else pulls the same meanwhile."""
    archive = archived_alike(project)
    send(project, shelf, archive)
    there, got, whole = clone(project), list[str](), shelf.get

    def counting(key: str, path: str) -> None:
        if key.endswith("files.tar") and key not in got:
            got.append(key)
            raise KeyboardInterrupt
        got.append(key)
        whole(key, path)

    shelf.get = counting  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        fetch(there, shelf, archive.id)
    with Locked(os.path.join(archives_folder(there), f".pull-{archive.id}", "lock")):
        with pytest.raises(BusyError, match="another call"):
            fetch(there, shelf, archive.id)
    assert fetch(there, shelf, archive.id)["outcome"] == "pulled"
    assert sum(key.endswith("snapshot.bundle") for key in got) == 1
    assert [a.id for a in list_archives(there)] == os.listdir(archives_folder(there)) == [archive.id]


def test_a_pull_that_is_killed_at_any_step(project: Project, shelf: Shelf) -> None:
    """Before each rename and each call of git: the archive is whole, or not there; the next pull brings it, whole, and
    nothing else is left."""
    archive = archived_alike(project)
    send(project, shelf, archive)
    there, there_after = clone(project), list[int]()
    while killed_at(len(there_after), lambda: fetch(there, shelf, archive.id), pulling, ("rename", "replace")):
        there_after.append(len(list_archives(there)))
        assert fetch(there, shelf, archive.id)["outcome"] == ("here" if there_after[-1] else "pulled")
        [pulled] = list_archives(there)
        assert verify(there, pulled) == []
        assert os.listdir(archives_folder(there)) == [archive.id]
        assert not [name for name in os.listdir(pulled.folder) if name.startswith(".")]
        shutil.rmtree(archives_folder(there))
        subprocess.run(["git", "update-ref", "-d", archive.ref], cwd=there.root, check=True)
    assert set(there_after) == {0, 1} and len(there_after) > 5


def test_a_damaged_archive_is_mended_from_its_copy(project: Project, shelf: Shelf) -> None:
    """A ref, an object and a tar that are gone come back; a secret, of which there is no copy, is told and does not."""
    archive = archived_alike(project)
    send(project, shelf, archive)
    oid = project.git("rev-parse", f"{archive.manifest['tree']}:new")
    damages: list[Callable[[], object]] = [
        lambda: project.git("update-ref", "-d", archive.ref),
        lambda: (project.root / ".git" / "objects" / oid[:2] / oid[2:]).unlink(),
        lambda: Path(archive.folder, "git.tar").unlink(),
        lambda: Path(archive.folder, "files.tar").write_bytes(b""),
    ]
    for damage in damages:
        damage()
    assert len(verify(project.facts(), archive)) == 4
    assert fetch(project.facts(), shelf, archive.id)["outcome"] == "repaired"
    assert verify(project.facts(), archive) == []
    assert os.listdir(archives_folder(project.facts())) == [archive.id]
    Path(archive.folder, "secrets.tar").unlink()
    with pytest.raises(WrongDataError, match=r"mended but for this: secrets\.tar is gone"):
        fetch(project.facts(), shelf, archive.id)
