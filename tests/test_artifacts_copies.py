"""Copies of artifacts in a store: sent once, fetched whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from k1ctl import artifacts, artifacts_copies, retention
from k1ctl.artifacts import Artifact
from k1ctl.config import Config, load
from k1ctl.disk import Use
from k1ctl.errors import BusyError, UsageError, WrongDataError
from k1ctl.files import read_json
from k1ctl.stores import Store, StoreError
from k1ctl.workspace import Workspace
from tests.kit import Project

FILES = {"firmware.bin": b"image", "firmware.elf": b"symbols", "a b.map": b"map"}


class Shelf(Store):
    """A store in memory that tells what it was asked, and fails where it is told to."""

    name = "nas"

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.fails_at = ""

    def put(self, key: str, path: str) -> None:
        if self.fails_at and key.endswith(self.fails_at):
            raise StoreError("the line is cut")
        self.puts.append(key)
        self.kept[key] = Path(path).read_bytes()

    def get(self, key: str, path: str) -> None:
        data = self.kept[key]
        with open(path, "xb") as f:
            f.write(data)

    def list(self, prefix: str) -> list[tuple[str, int]]:
        return sorted((key, len(data)) for key, data in self.kept.items() if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


class Desk:
    """A repository with an artifact, a clone of it without, and a store."""

    def __init__(self, project: Project) -> None:
        self.here: Workspace = project.facts()
        self.there: Workspace = Project(project.root.parent / "clone").facts()
        self.config: Config = load(self.here)
        self.store = Shelf()
        self.project = project
        self.artifact = self.keep()

    def keep(self, target: str = "fw", **more: bytes) -> Artifact:
        made = {}
        for name, data in {**FILES, **more}.items():
            made[name] = str(self.project.write(f"built/{name}", data))
        return artifacts.store(self.here, target, made, {"commit": "c", "run": "r"})

    def push(self, **kwargs: bool) -> int:
        return artifacts_copies.push(self.here, self.config, self.store, self.artifact, **kwargs)

    def pull(self, reference: str = "", target: str = "") -> tuple[Artifact, bool]:
        wanted = reference or self.artifact.id
        return artifacts_copies.pull(self.there, self.config, self.store, wanted, target=target)

    def nothing_there(self, target: str = "fw") -> bool:
        base = artifacts.target_folder(self.there, target)
        known = (".lock", artifacts.SIZES)
        left = [name for name in os.listdir(base) if name not in known] if os.path.isdir(base) else []
        return left == []


@pytest.fixture
def desk(workspace: Project) -> Desk:
    return Desk(workspace)


def test_there_and_back_again(desk: Desk) -> None:
    """Every file is the same in the clone; the manifest goes last, and what is there goes no second time."""
    assert desk.push() > sum(map(len, FILES.values()))
    assert len(desk.store.puts) == 4 and desk.store.puts[-1] == f"artifacts/fw/{desk.artifact.id}/manifest.json"
    assert desk.push() == 0 and len(desk.store.puts) == 4
    fetched, new = desk.pull(desk.artifact.id[:5])
    assert new and fetched.id == desk.artifact.id and fetched.problems() == []
    assert fetched.manifest == desk.artifact.manifest and fetched.manifest["commit"] == "c"
    assert {name: Path(fetched.folder, name).read_bytes() for name in FILES} == FILES
    assert all(os.stat(os.path.join(fetched.folder, name)).st_mode & 0o222 == 0 for name in FILES)
    assert desk.pull()[1] is False
    assert artifacts.find(desk.there, "fw", desk.artifact.id).read() == b"image"
    assert [build["pulled_from"] for build in retention.builds(fetched)] == ["nas"]
    with pytest.raises(WrongDataError):
        artifacts.find(desk.there, "fw")  # it is nothing that this worktree built


def test_any_targets_name_is_a_key(desk: Desk) -> None:
    """What a key does not take is told apart by a digest, and comes back as it was called."""
    desk.artifact = desk.keep("fw/ä ö")
    desk.push()
    desk.artifact = desk.keep("fw/ö ä")
    desk.push()
    assert len({key.split("/")[1] for key in desk.store.kept}) == 2
    fetched, _ = desk.pull(target="fw/ä ö")
    assert fetched.target == "fw/ä ö"
    with pytest.raises(UsageError, match="may be") as caught:
        desk.pull()
    assert "--target" in caught.value.hint


def test_a_push_that_was_cut_is_no_artifact_and_is_done_again(desk: Desk) -> None:
    """Without its manifest nobody finds it; a copy that lacks a file is sent anew."""
    desk.store.fails_at = "manifest.json"
    with pytest.raises(StoreError):
        desk.push()
    with pytest.raises(WrongDataError, match="no artifact"):
        desk.pull()
    desk.store.fails_at = ""
    assert desk.push() > 0
    lost = f"artifacts/fw/{desk.artifact.id}/firmware.elf"
    desk.store.delete(lost)
    with pytest.raises(WrongDataError, match=r"lacks its firmware\.elf"):
        desk.pull()
    assert desk.nothing_there()
    assert desk.push() > 0 and lost in desk.store.kept
    desk.store.kept[lost] = b"symbolz"
    assert desk.push() == 0  # its size is right, and nobody fetches it to see
    with pytest.raises(WrongDataError, match="SHA-256") as caught:
        desk.pull()
    assert caught.value.exit_code == 65 and "--again" in caught.value.hint and desk.nothing_there()
    assert desk.push(again=True) > 0 and desk.pull()[1]


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"../../evil": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {"manifest.json": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {"firmware.bin": {"bytes": -1, "sha256": "0" * 64}}},
        {"files": []},
        {"target": "../fw"},
        {"id": "0" * 16},
        {"image": "other.bin"},
        {"workspace_path": ["/"]},
        {"at": 5},
        None,
    ],
)
def test_what_a_store_tells_is_checked(desk: Desk, change: dict[str, object] | None) -> None:
    """A manifest that is none, or names files elsewhere, is refused before a file is fetched."""
    desk.push()
    key = f"artifacts/fw/{desk.artifact.id}/manifest.json"
    told = {**desk.artifact.manifest, **(change or {})}
    desk.store.kept[key] = artifacts.dumps(told).encode() if change is not None else b"{"
    with pytest.raises(WrongDataError, match="damaged"):
        desk.pull()
    assert desk.nothing_there() and not list(desk.project.root.parent.rglob("evil"))


def test_bytes_that_do_not_give_the_id_are_refused(desk: Desk) -> None:
    """Also where manifest and files agree with each other: an id says what is in it."""
    desk.push()
    top = f"artifacts/fw/{desk.artifact.id}/"
    other = desk.keep(**{"firmware.bin": b"other"})
    assert other.id != desk.artifact.id
    desk.store.kept[top + "firmware.bin"] = b"other"
    told = {**other.manifest, "id": desk.artifact.id}
    desk.store.kept[top + "manifest.json"] = artifacts.dumps(told).encode()
    with pytest.raises(WrongDataError, match="does not agree with its id"):
        desk.pull()


def test_secrets_and_damage_stay_here(desk: Desk) -> None:
    """A file with a secret's name, and bytes that are not what was built, are not sent."""
    kept = desk.artifact
    desk.artifact = desk.keep("web", **{"firmware.bin": b"web", "server.pem": b"key"})
    with pytest.raises(WrongDataError, match=r"server\.pem") as caught:
        desk.push()
    assert caught.value.code == "secret-file"
    desk.artifact = kept
    os.chmod(kept.image, 0o644)
    Path(kept.image).write_bytes(b"imagE")
    with pytest.raises(WrongDataError, match="damaged"):
        desk.push()
    assert desk.store.kept == {}


def test_a_damaged_one_here_is_replaced_by_what_is_fetched(desk: Desk) -> None:
    """The pin and the builds of it stay; the damaged one is set aside."""
    desk.push()
    first, _ = desk.pull()
    os.chmod(first.image, 0o644)
    Path(first.image).write_bytes(b"imagE")
    again, new = desk.pull()
    assert new and again.read() == b"image" and len(retention.builds(again)) == 2
    assert any(".damaged-" in name for name in os.listdir(os.path.dirname(again.folder)))


def test_without_room_nothing_is_fetched(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is looked at before a byte comes."""
    desk.push()
    monkeypatch.setattr("k1ctl.disk.use", lambda path: Use(1000, 1))
    with pytest.raises(BusyError) as caught:
        desk.pull()
    assert caught.value.code == "disk-full" and desk.nothing_there()


def test_a_pull_that_fails_in_the_middle_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one under way is neither listed nor swept by a pruning."""
    desk.push()
    seen: list[list[str]] = []

    def cut(key: str, path: str) -> None:
        if key.endswith("manifest.json"):
            return Shelf.get(desk.store, key, path)
        retention.prune(desk.there, desk.config, limit=0)
        seen.append([n for n in os.listdir(artifacts.target_folder(desk.there, "fw")) if n.startswith(".pull-")])
        raise StoreError("the line is cut")

    monkeypatch.setattr(desk.store, "get", cut)
    with pytest.raises(StoreError):
        desk.pull()
    assert len(seen[0]) == 1 and desk.nothing_there()
    assert artifacts.list_artifacts(desk.there, "fw") == []


def test_what_names_nothing(desk: Desk) -> None:
    """Too few digits, letters that are none, and an id that is not there."""
    for wrong in ("abc", "xyzw", "../.."):
        with pytest.raises(UsageError):
            desk.pull(wrong)
    desk.push()
    for wrong, target in (("0123", ""), (desk.artifact.id, "web")):
        with pytest.raises(WrongDataError) as caught:
            desk.pull(wrong, target)
        assert caught.value.code == "no-artifact"
    manifest = read_json(os.path.join(desk.artifact.folder, "manifest.json"))
    assert manifest == desk.artifact.manifest
