from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from k1ctl.artifacts import Artifact, file_name, find, list_artifacts, note_failed, store
from k1ctl.errors import UsageError, WrongDataError
from k1ctl.files import read_json
from tests.kit import Project

FACTS = {"commit": "c" * 40, "dirty": False, "environment": "e", "run": "r1"}


def keep(project: Project, content: bytes, *, cwd: Path | None = None, target: str = "fw", **more: bytes) -> Artifact:
    """Store an image, and further files by name."""
    folder = project.root / "built"
    folder.mkdir(exist_ok=True)
    files = {"firmware.bin": folder / "firmware.bin", **{n: folder / n for n in more}}
    for name, data in {"firmware.bin": content, **more}.items():
        files[name].write_bytes(data)
    return store(project.facts(cwd), target, {n: str(p) for n, p in files.items()}, FACTS)


def builds_of(artifact: Artifact) -> list[str]:
    return (Path(artifact.folder) / "builds.jsonl").read_text().splitlines()


def test_an_artifact_is_named_by_its_content_and_whole(workspace: Project) -> None:
    """Id, digests, sizes and bytes agree, for every file."""
    kept = keep(workspace, b"image", elf=b"symbols")
    assert kept.id == hashlib.sha256(b"image").hexdigest()[:16]
    assert kept.read() == b"image" and kept.size == 5
    manifest = read_json(os.path.join(kept.folder, "manifest.json"))
    assert manifest["files"]["elf"] == {"bytes": 7, "sha256": hashlib.sha256(b"symbols").hexdigest()}
    assert manifest["workspace"] == "repo" and manifest["commit"] == "c" * 40


def test_files_cannot_be_changed_by_accident(workspace: Project) -> None:
    """Image and manifest are read-only."""
    kept = keep(workspace, b"image")
    for name in ("firmware.bin", "manifest.json"):
        assert os.stat(os.path.join(kept.folder, name)).st_mode & 0o222 == 0


def test_the_same_bytes_are_kept_once_and_every_build_is_recorded(workspace: Project) -> None:
    """A second build of equal content adds a line, and both workspaces find their newest."""
    other = workspace.add_worktree("other")
    first = keep(workspace, b"same")
    inode = os.stat(first.image).st_ino
    second = keep(workspace, b"same", cwd=other)
    assert (second.id, os.stat(second.image).st_ino) == (first.id, inode)
    assert second.manifest["workspace"] == "repo"
    builders = [line.split('"workspace":"')[1].split('"')[0] for line in builds_of(first)]
    assert builders == ["repo", "other"]
    assert find(workspace.facts(other), "fw").id == find(workspace.facts(), "fw").id == first.id


def test_the_newest_is_the_worktrees_own_whatever_it_is_called(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that two worktrees share, by an inherited variable or by equal folders, leads to nobody else's build."""
    trees = [workspace.add_worktree("a"), workspace.add_worktree("b"), workspace.root.parent / "else" / "a"]
    workspace.git("worktree", "add", "-q", "-b", "c", str(trees[2]))
    monkeypatch.setenv("CONDUCTOR_WORKSPACE_NAME", "one")
    keep(workspace, b"of a", cwd=trees[0])
    for tree in trees[1:]:
        assert workspace.facts(tree).name == "one"
        with pytest.raises(WrongDataError, match="no artifact"):
            find(workspace.facts(tree), "fw")
    monkeypatch.setenv("CONDUCTOR_WORKSPACE_NAME", "two")
    assert find(workspace.facts(trees[0]), "fw").read() == b"of a"


def test_the_newest_is_the_last_one_built_also_when_it_is_an_old_one_again(workspace: Project) -> None:
    """A, B, A again: the newest is A."""
    a = keep(workspace, b"a")
    keep(workspace, b"b")
    keep(workspace, b"a")
    assert find(workspace.facts(), "fw").id == a.id
    assert {x.id for x in list_artifacts(workspace.facts(), "fw")} == {a.id, hashlib.sha256(b"b").hexdigest()[:16]}


def test_a_failed_build_takes_the_newest_away_until_the_next_good_one(workspace: Project) -> None:
    """An older build is sent only by its name; where there is none, there is nothing to forget."""
    note_failed(workspace.facts(), "fw", "r0")
    assert not (workspace.ops / "artifacts").exists()
    a = keep(workspace, b"a")
    note_failed(workspace.facts(), "fw", "r2")
    with pytest.raises(WrongDataError) as caught:
        find(workspace.facts(), "fw")
    assert caught.value.code == "build-failed-since" and f"--artifact {a.id}" in caught.value.hint
    assert caught.value.details["failed"]["run"] == "r2"
    assert find(workspace.facts(), "fw", a.id).id == a.id
    keep(workspace, b"a")
    assert find(workspace.facts(), "fw").id == a.id


def test_an_artifact_is_found_by_the_beginning_of_its_id(workspace: Project) -> None:
    """Four digits or more; less, or none that fits, is an error that names the next step."""
    kept = keep(workspace, b"image")
    assert find(workspace.facts(), "fw", kept.id[:4].upper()).id == kept.id
    assert find(workspace.facts(), "fw", kept.sha256).id == kept.id
    for wrong in (kept.id[:3], "0123", "../../x"):
        with pytest.raises(WrongDataError):
            find(workspace.facts(), "fw", wrong)


def test_an_ambiguous_beginning_is_refused(workspace: Project) -> None:
    """Two artifacts with the same beginning are both named."""
    kept = keep(workspace, b"image")
    twin = Path(kept.folder).with_name(kept.id[:8] + "0" * 8)
    os.rename(keep(workspace, b"other").folder, twin)
    with pytest.raises(UsageError, match=twin.name):
        find(workspace.facts(), "fw", kept.id[:6])


def test_a_workspace_without_builds_has_no_artifact(workspace: Project) -> None:
    """The hint is to build."""
    with pytest.raises(WrongDataError) as caught:
        find(workspace.facts(), "fw")
    assert (caught.value.code, caught.value.hint) == ("no-artifact", "k1ctl build fw")


def test_a_damaged_artifact_is_never_read_and_replaced_by_the_next_build(workspace: Project) -> None:
    """Changed bytes are noticed; building again makes it whole and keeps the damaged one aside."""
    kept = keep(workspace, b"image")
    os.chmod(kept.image, 0o644)
    Path(kept.image).write_bytes(b"imaGe")
    with pytest.raises(WrongDataError, match="damaged"):
        find(workspace.facts(), "fw").read()
    assert keep(workspace, b"image").read() == b"image"
    assert any(".damaged-" in name for name in os.listdir(workspace.ops / "artifacts" / "fw"))


def test_any_file_of_a_damaged_artifact_is_made_whole_by_the_next_build(workspace: Project) -> None:
    """Also one that is not the image, and one whose manifest is none."""
    made = {"firmware.bin": str(workspace.write("i", "image")), "firmware.elf": str(workspace.write("e", "symbols"))}
    kept = store(workspace.facts(), "fw", made, FACTS)
    for name, content in (("firmware.elf", b"symbolz"), ("manifest.json", b'{"id": "5"}')):
        path = Path(kept.folder, name)
        path.chmod(0o644)
        path.write_bytes(content)
        again = store(workspace.facts(), "fw", made, FACTS)
        assert again.folder == kept.folder and again.problems() == []


def test_a_leftover_that_cannot_be_removed_keeps_no_build_out(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of another user: the artifact is stored beside it."""
    keep(workspace, b"one")
    (workspace.ops / "artifacts" / "fw" / f".tmp-{os.getpid()}").mkdir()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("k1ctl.artifacts.discard", refuse)
    assert keep(workspace, b"two").read() == b"two"


def test_what_a_killed_store_left_is_removed_and_never_listed(workspace: Project) -> None:
    """A temporary folder is no artifact, and the next store takes it away."""
    keep(workspace, b"one")
    left = workspace.ops / "artifacts" / "fw" / ".tmp-1"
    left.mkdir()
    (left / "firmware.bin").write_bytes(b"half")
    assert len(list_artifacts(workspace.facts(), "fw")) == 1
    keep(workspace, b"two")
    assert not left.exists()


def test_a_build_that_left_no_image_is_an_error_and_leaves_nothing(workspace: Project) -> None:
    """The missing file is named; no empty artifact appears."""
    with pytest.raises(WrongDataError, match=r"nothing\.bin"):
        store(workspace.facts(), "fw", {"firmware.bin": str(workspace.root / "nothing.bin")}, FACTS)
    assert list_artifacts(workspace.facts(), "fw") == []
    assert not [n for n in os.listdir(workspace.ops / "artifacts" / "fw") if n.startswith(".tmp")]


def test_many_stores_at_once_keep_everything(workspace: Project) -> None:
    """Twenty writers, four contents: four whole artifacts and twenty recorded builds."""
    facts = workspace.facts()
    sources = []
    for i in range(4):
        path = workspace.root / f"image{i}"
        path.write_bytes(bytes([i]) * 50000)
        sources.append(str(path))
    threads = [
        threading.Thread(target=store, args=(facts, "fw", {"firmware.bin": sources[i % 4]}, FACTS)) for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = list_artifacts(facts, "fw")
    assert len(kept) == 4 and all(len(a.read()) == 50000 for a in kept)
    assert sum(len(builds_of(a)) for a in kept) == 20


@pytest.mark.parametrize("name", ["fw", "a/b", "..", ".hidden", "ä\n", "x" * 300, "a%2Fb", "\udcff", ""])
def test_any_name_is_a_safe_file_name(name: str) -> None:
    """Targets and workspaces may be called anything; what becomes of it stays in its folder."""
    made = file_name(name)
    assert "/" not in made and not made.startswith(".") and len(made) < 200
    assert made != file_name(name + "y")
