"""k1ctl.archive.push and .pull: what goes to a store, what comes back, and what a kill or damage in between does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.archive import copies
from k1ctl.archive import pull as pulling
from k1ctl.archive.folder import Archive, ArchiveNotFoundError, archives_folder, list_archives
from k1ctl.archive.pull import pull
from k1ctl.archive.push import push
from k1ctl.archive.save import save
from k1ctl.archive.tar import Writer
from k1ctl.archive.verify import verify
from k1ctl.config import load
from k1ctl.errors import BusyError, K1ctlError, WrongDataError
from k1ctl.events import read
from k1ctl.files import Locked, write_json
from k1ctl.stores import Store, StoreError
from k1ctl.workspace import Workspace, resolve
from k1ctl.worktrees import entries
from k1ctl_plugins.archive.stores.directory import DirectoryStore
from tests.archive.saving import archived, archived_alike, begin, facts, killed_at, worked_in
from tests.kit import Project

SECRET = b"hunter2"


class Shelf(Store):
    """A store in memory that notes what is put."""

    name = "shelf"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.puts: list[str] = []

    def put(self, key: str, path: str) -> None:
        self.puts.append(key)
        self.files[key] = Path(path).read_bytes()

    def get(self, key: str, path: str) -> None:
        data = self.files[key]
        with open(path, "xb") as f:
            f.write(data)

    def list(self, prefix: str) -> list[tuple[str, int]]:
        return sorted((k, len(v)) for k, v in self.files.items() if k.startswith(prefix))

    def delete(self, key: str) -> None:
        self.files.pop(key, None)


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def send(project: Project, shelf: Store, archive: Archive, **options: Any) -> dict[str, Any]:
    return push(*facts(project), shelf, "repo", archive, **options)


def clone(project: Project, name: str = "clone") -> Workspace:
    """Another clone of the repository; its workspace."""
    path = project.root.parent / name
    subprocess.run(["git", "clone", "-q", str(project.root), str(path)], check=True)
    (path / "ops").mkdir()
    return resolve(cwd=str(path))


def fetch(workspace: Workspace, shelf: Store, reference: str, **options: Any) -> dict[str, Any]:
    return pull(workspace, load(workspace), shelf, "repo", reference, **options)


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
