"""k1ctl.archive.push: what goes to a store and what stays, and what a kill in between does."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from k1ctl.archive import copies
from k1ctl.archive.folder import Archive, ArchiveNotFoundError
from k1ctl.archive.push import push
from k1ctl.archive.save import save
from k1ctl.archive.tar import Writer
from k1ctl.errors import BusyError, K1ctlError, WrongDataError
from k1ctl.events import read
from k1ctl.files import Locked, write_json
from k1ctl.stores import StoreError
from k1ctl.worktrees import entries
from k1ctl_plugins.archive.stores.directory import DirectoryStore
from tests.archive.saving import archived, archived_alike, begin, facts, worked_in
from tests.archive.shelf import SECRET, Shelf, send
from tests.kit import Project


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_what_leaves_the_host(project: Project, shelf: Shelf) -> None:
    """The bundle, git.tar, files.tar and last the manifest; no byte of a secret, nor its name, nor its digest."""
    archive = archived_alike(project)
    row = send(project, shelf, archive)
    base = f"repo/{archive.id}/"
    assert shelf.puts == [f"{base}{name}" for name in ("snapshot.bundle", "files.tar", "git.tar", "manifest.json")]
    assert row["outcome"] == "pushed" and row["secrets_count"] == 1
    assert row["sent_bytes"] == sum(len(content) for content in shelf.files.values())
    told = shelf.files[f"{base}manifest.json"].decode()
    about = json.loads(told)
    assert about["copy"]["secrets_count"] == 1 and set(about["files"]) == {"snapshot.bundle", "files.tar", "git.tar"}
    assert archive.manifest["files"]["secrets.tar"]["sha256"] not in told and "fingerprint" not in about
    assert ".env" not in told and not any(SECRET in content for content in shelf.files.values())
    bundle = project.root / "bundle"
    bundle.write_bytes(shelf.files[f"{base}snapshot.bundle"])
    held = project.git("bundle", "list-heads", str(bundle))
    assert held == f"{archive.manifest['commit']} {archive.ref}"
    assert copies.of(archive)["shelf"]["bytes"] == row["sent_bytes"]
    assert not os.path.exists(os.path.join(archive.folder, ".push"))
    [event] = [e for e in read(str(project.ops / "events")) if e["event"] == "archive.pushed"]
    assert (event["archive"], event["store"], event["sent_bytes"]) == (archive.id, "shelf", row["sent_bytes"])


def test_what_is_there_is_not_sent_again(project: Project, shelf: Shelf) -> None:
    """Not by a second push, nor when the host forgot that it pushed; --dry-run sends and makes nothing."""
    archive = archived_alike(project)
    planned = send(project, shelf, archive, dry_run=True)
    assert (planned["outcome"], shelf.files, copies.of(archive)) == ("would-push", {}, {})
    assert [f["file"] for f in planned["files"]] == ["snapshot.bundle", "files.tar", "git.tar"]
    send(project, shelf, archive)
    at = copies.of(archive)["shelf"]["at"]
    os.unlink(os.path.join(archive.folder, "copies.json"))
    again = send(project, shelf, archive)
    assert (again["outcome"], again["sent_bytes"], len(shelf.puts)) == ("there", 0, 4)
    assert copies.of(archive)["shelf"]["at"] == at
    shelf.delete(f"repo/{archive.id}/git.tar")  # somebody took it
    assert [f["file"] for f in send(project, shelf, archive)["files"] if f["sent"]] == ["git.tar"]


class Deadly(DirectoryStore):
    """A folder whose user is killed before the ``fatal``-th file is put."""

    fatal = -1

    def put(self, key: str, path: str) -> None:
        if self.fatal == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.fatal -= 1
        super().put(key, path)


def test_a_push_that_is_killed_goes_on(project: Project, tmp_path: Path) -> None:
    """kill -9 before each file in turn: the copy is not whole, is listed as such and not pulled; the next push sends
    the rest, with the same bundle."""
    archive = archived_alike(project)
    for number in range(4):
        (tmp_path / f"nas{number}").mkdir()
        store = Deadly("nas", str(tmp_path / f"nas{number}"))
        store.prepare()
        child = os.fork()
        if child == 0:
            store.fatal = number
            push(*facts(project), store, "repo", archive)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        before = dict(store.list("repo/"))
        assert len(before) == number and [c.whole for c in copies.listed(store, "repo")] == [False] * (number > 0)
        with pytest.raises(ArchiveNotFoundError, match="not whole" if number else "no archive"):
            copies.find(store, "repo", archive.id)
        row = push(*facts(project), store, "repo", archive)
        assert [file["sent"] for file in row["files"]] == [i >= number for i in range(3)]
        assert before.items() <= dict(store.list("repo/")).items()
        assert [c.whole for c in copies.listed(store, "repo")] == [True]
        os.unlink(os.path.join(archive.folder, "copies.json"))


def test_what_comes_back_changed(project: Project, shelf: Shelf) -> None:
    """Each file is read back: a store that damages one fails the push, and there is no manifest."""
    archive = archived_alike(project)
    whole = shelf.put

    def damaging(key: str, path: str) -> None:
        whole(key, path)
        if key.endswith("git.tar"):
            shelf.files[key] = b"x" + shelf.files[key][1:]

    shelf.put = damaging  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="came back changed"):
        send(project, shelf, archive)
    assert not copies.listed(shelf, "repo")[0].whole and copies.of(archive) == {}


def test_what_is_not_sent(project: Project, shelf: Shelf) -> None:
    """An archive that is damaged, one that is being purged, and one that another call pushes."""
    archive = archived_alike(project)
    with Locked(os.path.join(archive.folder, ".push", "lock")), pytest.raises(BusyError, match="another call"):
        send(project, shelf, archive)
    tar = Path(archive.folder, "git.tar")
    content = tar.read_bytes()
    tar.write_bytes(content[:-1])
    with pytest.raises(WrongDataError, match="not whole"):
        send(project, shelf, archive)
    tar.write_bytes(content)
    archive.set_state("purging")
    with pytest.raises(WrongDataError, match="being purged"):
        send(project, shelf, archive)
    assert shelf.files == {}


def test_a_tracked_secret_stays_until_somebody_lets_it_go(project: Project, shelf: Shelf) -> None:
    """A commit that no remote has holds a file with a secret's name: refused, without --tracked-secrets. One that a
    remote has already is no matter."""
    project.write("deploy/id_rsa.pub", "a key\n")
    project.commit("a key is tracked")
    archive = archived(project)
    with pytest.raises(K1ctlError, match=r"1 files .* as deploy/id_rsa\.pub") as refused:
        send(project, shelf, archive)
    assert refused.value.code == "tracked-secrets" and shelf.files == {}
    remote = project.root.parent / "remote.git"
    project.git("clone", "-q", "--bare", ".", str(remote))
    project.git("remote", "add", "origin", str(remote))
    project.git("fetch", "-q", "origin")
    row = send(project, shelf, archive)
    assert row["outcome"] == "pushed" and row["prerequisites"] == [project.git("rev-parse", "HEAD")]
    other = Shelf()
    project.git("remote", "remove", "origin")
    assert send(project, other, archive, tracked_secrets=True)["prerequisites"] == []


def test_logins_stay(project: Project, shelf: Shelf) -> None:
    """A token in a URL that the branch follows, or that a reflog tells of, is not sent; the second is refused, since a
    reflog cannot go without it, and sent with a person's word."""
    token = "ghp_0123456789"
    path = worked_in(project, "oslo")
    project.git("config", "branch.oslo.remote", f"https://ada:{token}@example.org/x.git")
    project.git("config", "branch.oslo.merge", "refs/heads/oslo")
    entry = next(entry for entry in entries(str(project.root)) if entry.path == str(path))
    archive = save(*facts(project), entry, reason="archive save").archive
    assert archive.manifest["upstream"][0].endswith(f":{token}@example.org/x.git")
    assert send(project, shelf, archive)["outcome"] == "pushed"
    assert not any(token.encode() in content for content in shelf.files.values())
    manifest = json.loads(shelf.files[f"repo/{archive.id}/manifest.json"])
    assert manifest["upstream"] == ["https://example.org/x.git", "refs/heads/oslo"]
    _with_log(archive, f"pull https://ada:{token}@example.org/x.git: Fast-forward\n")
    other = Shelf()
    with pytest.raises(K1ctlError, match=r"login in a URL: logs/HEAD in git\.tar") as refused:
        send(project, other, archive)
    assert refused.value.code == "logins" and other.files == {} and token not in str(refused.value.document())
    assert send(project, other, archive, tracked_secrets=True)["outcome"] == "pushed"


def _with_log(archive: Archive, line: str) -> None:
    """As if the archive had this reflog, and nothing else of git's."""
    path = os.path.join(archive.folder, "git.tar")
    os.unlink(path)
    tar = Writer(path)
    tar.add_bytes("logs/HEAD", line.encode())
    archive.manifest["files"]["git.tar"] = tar.close()
    write_json(os.path.join(archive.folder, "manifest.json"), archive.manifest)


def test_what_the_repository_is_called(project: Project) -> None:
    """By its remote `origin`, alike in every clone; else by its folder; never by what may hold a login."""
    workspace = project.facts()
    assert copies.repository(workspace) == "repo"
    project.git("remote", "add", "origin", "x")
    for url, name in (
        ("git@github.com:k1/k1-reinvented.git", "k1-reinvented"),
        ("https://user:token@example.org/k1/lights/", "lights"),
        ("/srv/git/k1.git/", "k1"),
        ("/home/ada/k1/.git", "k1"),
        ("https://user:token@example.org", "repo"),
        ("ssh://host/~ada/my repo", "my-repo"),
    ):
        project.git("config", "remote.origin.url", url)
        assert copies.repository(workspace) == name, url
